"""Reference responses: the best of some, mended by the critic, and dialogues that end where nothing is good enough."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from models.base import Language
from models.constraints import QueryMentions, QuerySituation, parse_check
from models.records import SystemProfile, Turn
from storage.parts import PartStore
from tests.tasks.answering import Start
from tests.tasks.conftest import Serve
from tests.tasks.played import (
    NO_COMMA,
    SHORT,
    constraint,
    inside,
    play,
    rewrite,
    settings_for,
    situations,
    system,
    user,
    verdicts,
)  # fmt: skip

LANGUAGES: list[Language] = ["en", "zh"]
TWO = system(constraint("no commas", check=NO_COMMA), constraint("be brief", check=SHORT))


def test_the_best_of_the_samples_continues_the_history(tmp_path: Path, answer_with: Start) -> None:
    server = answer_with(lambda name, prompt: ["Left, then. Right.", "Left, then.", "Left."])
    settings = settings_for(tmp_path, server, "responder", reference_samples=3)
    turns, left_out, _ = play(settings, TWO)
    assert [(t.reference, t.reference_score, t.reference_origin) for t in turns] == [("Left.", 1, "sampled")] * 2
    assert {turn.reference_model for turn in turns} == {"responder"} and not left_out
    # the request of the second turn: clean queries in the history, a reminder after its own
    system_prompt, *history, last = server.chats[1]
    assert "no commas" in system_prompt["content"]
    assert [message["content"] for message in history] == [turns[0].query, "Left."]
    assert last["content"].startswith(turns[1].query) and "- be brief" in last["content"]
    assert not any("be brief" in turn.query for turn in turns)


def test_what_has_no_check_is_scored_by_the_judge(tmp_path: Path, answer_with: Start) -> None:
    guide = system(constraint("no commas", check=NO_COMMA), constraint("be kind"), constraint("be wise"))

    def reply(name: str, prompt: str) -> Any:
        if name != "GivenVerdicts":
            return ["Well, friend.", "Dear friend.", "Fool."]
        assert "c1: be kind\nc2: be wise" in prompt and "no commas\n" not in inside(prompt, "constraints")
        return verdicts(c1="v" if "Fool" in prompt else "f", c2="n" if "Dear" in prompt else "f")

    settings = settings_for(tmp_path, answer_with(reply), "judge", turns=1, reference_samples=3)
    [turn], _, _ = play(settings, guide)
    assert (turn.reference, turn.reference_score) == ("Dear friend.", 1)


def test_without_a_judge_only_checks_count(tmp_path: Path, answer_with: Start) -> None:
    guide = system(constraint("no commas", check=NO_COMMA), constraint("be kind"))
    server = answer_with(lambda name, prompt: ["Well, friend.", "Friend."])
    [turn], _, _ = play(settings_for(tmp_path, server, turns=1), guide)
    assert (turn.reference, turn.reference_score) == ("Friend.", 1)
    assert {name for name, _ in server.asked} == {"policy"}


def test_what_the_judge_cannot_read_does_not_win(tmp_path: Path, answer_with: Start) -> None:
    guide = system(constraint("be kind"), constraint("be wise"))

    def reply(name: str, prompt: str) -> Any:
        if name != "GivenVerdicts":
            return ["Riddle.", "Friend."]
        return "Hm." if "Riddle" in prompt else verdicts(c1="f", c2="v")

    settings = settings_for(tmp_path, answer_with(reply), "judge", turns=1, min_score=0.5)
    [turn], _, _ = play(settings, guide)
    assert (turn.reference, turn.reference_score) == ("Friend.", 0.5)


def test_an_empty_response_is_the_last_choice(tmp_path: Path, answer_with: Start) -> None:
    server = answer_with(lambda name, prompt: ["", "Left, right."])
    [turn], _, _ = play(settings_for(tmp_path, server, turns=1, min_score=0), TWO)
    assert turn.reference == "Left, right."


@pytest.mark.parametrize(("min_score", "kept"), [(0.7, 1), (0.5, 3), (0, 3)])
def test_a_dialogue_ends_before_a_turn_that_nobody_does_well(
    tmp_path: Path, answer_with: Start, min_score: float, kept: int
) -> None:
    server = answer_with(lambda name, prompt: "Left, right." if len(server.asked) > 1 else "Left.")
    turns, left_out, _ = play(settings_for(tmp_path, server, turns=3, min_score=min_score), TWO)
    assert [turn.turn for turn in turns] == list(range(1, kept + 1))
    assert left_out == ({} if kept == 3 else {("below_min_score", "dialogues"): 1})
    # nobody is asked after the end
    assert len(server.asked) == min(kept + 1, 3)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_critic_mends_what_is_violated(tmp_path: Path, answer_with: Start, language: Language) -> None:
    guide = system(*TWO.constraints, language=language)
    answers = {"policy": "Left, right.", "Rewrite": rewrite(" Left. \n", "c1")}
    server = answer_with(lambda name, prompt: answers[name])
    [turn], left_out, _ = play(settings_for(tmp_path, server, "critic", turns=1), guide)
    assert (turn.reference, turn.reference_score, turn.reference_origin) == ("Left.", 1, "refined")
    assert turn.reference_model == "critic" and not left_out
    [prompt] = server.prompts("Rewrite")
    assert inside(prompt, "response") == "Left, right."
    assert inside(prompt, "violated") == "c1: no commas" and inside(prompt, "followed") == "- be brief"


def test_rounds_go_on_from_the_best_until_they_are_used_up(tmp_path: Path, answer_with: Start) -> None:
    guide = system(*TWO.constraints, constraint("say ay", check=None))
    texts = iter(["Left, one. Two.", "Left, right.", "Left, three. Four.", "Ay, no."])
    score_of = {"Left, right.": "v", "Ay, no.": "f"}

    def reply(name: str, prompt: str) -> Any:
        if name == "GivenVerdicts":
            return verdicts(c1=score_of.get(inside(prompt, "response"), "v"))
        if name == "Rewrite":
            return rewrite(next(texts), *[line.split(":")[0] for line in inside(prompt, "violated").splitlines()])
        return next(texts)

    settings = settings_for(tmp_path, server := answer_with(reply), "critic", "judge", turns=1, reference_samples=1)
    turns, left_out, _ = play(settings, guide)
    # 0/3, then 1/3, then worse again (the better one is rewritten), then 2/3: still under 0.7
    shown = [inside(prompt, "response") for prompt in server.prompts("Rewrite")]
    assert shown == ["Left, one. Two.", "Left, right.", "Left, right."]
    assert turns == [] and left_out == {("below_min_score", "dialogues"): 1}
    assert len(set(server.prompts("Rewrite"))) == 3

    texts = iter(["Left, one. Two.", "Left, right.", "Left, three. Four.", "Ay, no."])
    settings = settings_for(
        tmp_path / "b", server, "critic", "judge", turns=1, reference_samples=1, min_score=0.6, refinements=4
    )
    [turn], _, _ = play(settings, guide)
    assert turn.reference == "Ay, no." and turn.reference_score == pytest.approx(2 / 3)


def test_a_rewrite_that_cannot_be_used_is_counted_and_the_next_round_tries_again(
    tmp_path: Path, answer_with: Start
) -> None:
    bad = ["I would rather not.", rewrite("Left, right.", "c1"), rewrite("Left.", "c1", "c9")]
    said = iter([*bad, rewrite("Left.", "c1")])
    server = answer_with(lambda name, prompt: next(said) if name == "Rewrite" else "Left, right.")
    [turn], left_out, _ = play(settings_for(tmp_path, server, "critic", turns=1), TWO)
    assert turn.reference == "Left."
    assert left_out == {("unreadable", "rewrites"): 1}
    assert len(server.prompts("Rewrite")) == 4


def test_a_critic_who_cannot_be_asked_leaves_it_to_the_threshold(tmp_path: Path, answer_with: Start) -> None:
    server = answer_with(lambda name, prompt: None if name == "Rewrite" else "Left, right.")
    turns, left_out, _ = play(settings_for(tmp_path, server, "critic"), TWO)
    assert turns == []
    assert left_out == {("failed", "rewrites"): 3, ("below_min_score", "dialogues"): 1}


def test_what_nobody_could_judge_is_not_rewritten(tmp_path: Path, answer_with: Start) -> None:
    server = answer_with(lambda name, prompt: "Hm." if name == "GivenVerdicts" else "Left.")
    turns, left_out, _ = play(settings_for(tmp_path, server, "critic", "judge"), system(constraint("be kind")))
    assert turns == [] and left_out == {("below_min_score", "dialogues"): 1}
    assert not server.prompts("Rewrite")


def test_a_dialogue_without_a_reference_ends_and_the_others_go_on(tmp_path: Path, answer_with: Start) -> None:
    mute = system(constraint("stay mute", check=NO_COMMA), name="mute")
    server = answer_with(lambda name, prompt: None if "stay mute" in prompt else "Left.")
    turns, left_out, _ = play(settings_for(tmp_path, server), mute, TWO)
    assert {turn.system_id for turn in turns} == {"s-guide"} and len(turns) == 2
    assert left_out == {("failed", "dialogues"): 1}


def test_turns_of_before_there_was_a_critic_are_read(tmp_path: Path, answer_with: Start) -> None:
    _, _, part = play(settings_for(tmp_path, answer_with(lambda name, prompt: "Left.")), TWO)
    store = PartStore(tmp_path)
    table = pq.read_table(path := store.path(part))
    older = table.drop_columns(["reference_origin", "repeats_opening"])
    pq.write_table(older.replace_schema_metadata(table.schema.metadata), path)
    assert [(t.reference_origin, t.repeats_opening) for t in store.read(part, Turn)] == [("sampled", None)] * 2


NO_QUESTION = parse_check({"kind": "question_count", "relation": "at_most", "count": 0})


def guides(language: Language) -> list[SystemProfile]:
    sea = "the user asks about the sea" if language == "en" else "用户问到海"
    return [
        system(
            constraint(f"ask nothing {n}", check=NO_QUESTION),
            constraint(f"be brief {n}", QueryMentions(words=["letter", "计划"]), SHORT),
            constraint(f"be kind {n}", QuerySituation(situation=sea)),
            constraint(f"be wise {n}"),
            name=f"guide{n}",
            language=language,
        )
        for n in range(8)
    ]


ALL_ROLES = ("user", "responder", "critic", "judge")


@pytest.mark.parametrize("language", LANGUAGES)
def test_another_cut_makes_the_same_dialogues_and_no_other_call(
    tmp_path: Path, serve: Serve, language: Language
) -> None:
    server = serve(faults={"malformed_json": 0.1, "missing_ids": 0.1})
    settings = settings_for(tmp_path, server.base_url, *ALL_ROLES, turns=3, min_score=0.9)
    people = [user(language, user_id=f"u{n}", profile=f"Person {n}.") for n in range(3)]
    systems = guides(language)
    whole = play(settings, *systems, by=people)
    asked = server.requests
    one, other = (play(settings, *systems[cut : cut + 4], by=people, first=cut) for cut in (0, 4))
    assert [*one.turns, *other.turns] == whole.turns
    assert Counter(one.left_out) + Counter(other.left_out) == Counter(whole.left_out)
    assert server.requests == asked
    assert {turn.reference_origin for turn in whole.turns} == {"sampled", "refined"}
    assert whole.left_out["below_min_score", "dialogues"] > 0


def test_faults_are_asked_again_or_counted_and_every_dialogue_is_accounted_for(tmp_path: Path, serve: Serve) -> None:
    faults = dict.fromkeys(
        ("rate_limit", "internal", "drop", "malformed_json", "missing_ids", "extra_ids", "wrong_value_types"), 0.05
    )
    server = serve(faults=faults, retry_after="0")
    settings = settings_for(tmp_path, server.base_url, *ALL_ROLES, turns=3, min_score=0.5, tries=2)
    systems = guides("en")
    turns, left_out, _ = play(settings, *systems)
    length = Counter(turn.dialogue_id for turn in turns)
    whole = sum(number == 3 for number in length.values())
    ended = sum(count for (_, what), count in left_out.items() if what == "dialogues")
    assert whole + ended == len(systems) and whole > 0
    assert max(server.completed.values()) == 1


def test_situations_reach_the_judge_with_the_dialogue(tmp_path: Path, answer_with: Start) -> None:
    """The whole of a turn, in the order in which the models are asked."""
    guide = system(constraint("be kind", QuerySituation(situation="the user is cold")))
    answers = {
        "user": "Brr.",
        "GivenSituations": situations(c1=True),
        "responder": "Pah.",
        "GivenVerdicts": verdicts(c1="v"),
        "Rewrite": rewrite("Dear me.", "c1"),
    }
    server = answer_with(
        lambda name, prompt: verdicts(c1="f") if "Dear me" in prompt and name == "GivenVerdicts" else answers[name]
    )
    [turn], _, _ = play(settings_for(tmp_path, server, *ALL_ROLES, turns=1, reference_samples=1), guide)
    assert [name for name, _ in server.asked] == [
        *("user", "GivenSituations", "responder", "GivenVerdicts", "Rewrite", "GivenVerdicts")
    ]
    assert (turn.query, turn.reference, turn.triggered_ids) == ("Brr.", "Dear me.", ["id of be kind"])
    assert json.loads(answers["Rewrite"])["needs"][0]["id"] == "c1"
