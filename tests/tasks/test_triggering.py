"""Which constraints a query triggers: by code, by the judge, and where the judge cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.base import Language
from models.constraints import QueryIsQuestion, QueryMentions, QuerySituation
from models.records import SystemProfile
from tasks.llm.structured import MAX_ROUNDS
from tests.tasks.answering import Start, as_json
from tests.tasks.played import NO_COMMA, constraint, inside, play, settings_for, situations, system, verdicts

LANGUAGES: list[Language] = ["en", "zh"]
JUDGE = {"GivenVerdicts": verdicts(c1="f"), "policy": "Left."}


def guide(language: Language = "en") -> SystemProfile:
    return system(
        constraint("always", check=NO_COMMA),
        constraint("money", QuerySituation(situation="the user asks about money")),
        constraint("sea", QueryMentions(words=["sea", "海"]), NO_COMMA),
        constraint("never", QueryMentions(words=["volcano"]), NO_COMMA),
        constraint("asked", QueryIsQuestion(), NO_COMMA),
        constraint("cold", QuerySituation(situation="the user is cold")),
        constraint("money again", QuerySituation(situation="the user asks about money")),
        language=language,
    )


def ids(*names: str) -> list[str]:
    return [f"id of {name}" for name in names]


@pytest.mark.parametrize("language", LANGUAGES)
def test_code_decides_what_it_can_and_the_judge_the_situations(
    tmp_path: Path, answer_with: Start, language: Language
) -> None:
    query = "Off to the sea" if language == "en" else "我去海边"
    answers = {**JUDGE, "user": query, "GivenSituations": situations(c1=False, c2=True)}
    server = answer_with(lambda name, prompt: answers[name])
    turns, left_out, _ = play(settings_for(tmp_path, server, "user", "judge", turns=1), guide(language))
    assert [turn.triggered_ids for turn in turns] == [ids("always", "sea", "cold")]
    assert not left_out
    [prompt] = server.prompts("GivenSituations")
    # each situation once, whatever it demands; nothing of what code has decided
    assert inside(prompt, "situations") == "c1: the user asks about money\nc2: the user is cold"
    assert inside(prompt, "message") == query


def test_without_a_judge_every_situation_counts(tmp_path: Path, answer_with: Start) -> None:
    server = answer_with(lambda name, prompt: "Left.")
    turns, _, _ = play(settings_for(tmp_path, server, turns=1), guide())
    assert set(ids("always", "money", "cold", "money again")) <= set(turns[0].triggered_ids)
    assert {name for name, _ in server.asked} == {"policy"}


def test_without_situations_nobody_is_asked_and_nothing_need_be_triggered(tmp_path: Path, answer_with: Start) -> None:
    server = answer_with(lambda name, prompt: "Left.")
    quiet = system(constraint("never", QueryMentions(words=["volcano"])))
    turns, left_out, _ = play(settings_for(tmp_path, server, "judge"), quiet)
    assert [turn.triggered_ids for turn in turns] == [[], []] and not left_out
    assert [turn.reference_score for turn in turns] == [1, 1]
    assert {name for name, _ in server.asked} == {"policy"}


BAD = {
    "missing": situations(c1=True),
    "extra": situations(c1=True, c2=True, c3=True),
    "repeated": as_json({"situations": [{"id": "c1", "evidence": "", "applies": True}] * 2}),
    "a word": situations(c1=True, c2=True).replace("true", '"yes"'),
    "prose": "All of them, I think.",
}


@pytest.mark.parametrize("bad", BAD.values(), ids=list(BAD))
def test_an_answer_that_does_not_do_is_asked_for_again(tmp_path: Path, answer_with: Start, bad: str) -> None:
    said = iter([bad, situations(c1=True, c2=False)])
    server = answer_with(lambda name, prompt: next(said) if name == "GivenSituations" else JUDGE.get(name, "Left."))
    turns, left_out, _ = play(settings_for(tmp_path, server, "judge", turns=1, min_score=0), guide())
    assert (
        set(turns[0].triggered_ids) >= set(ids("money", "money again")) and "id of cold" not in turns[0].triggered_ids
    )
    assert len(server.prompts("GivenSituations")) == 2 and not left_out


def test_what_stays_unreadable_is_not_triggered_and_counted(tmp_path: Path, answer_with: Start) -> None:
    server = answer_with(lambda name, prompt: "I'd rather not." if name == "GivenSituations" else "Left.")
    turns, left_out, _ = play(settings_for(tmp_path, server, "judge", turns=1), guide())
    assert not set(turns[0].triggered_ids) & set(ids("money", "cold", "money again"))
    assert "id of always" in turns[0].triggered_ids
    assert left_out == {("unreadable", "situations"): 2}
    assert len(server.prompts("GivenSituations")) == MAX_ROUNDS


def test_a_question_that_gets_no_answer_ends_the_dialogue(tmp_path: Path, answer_with: Start) -> None:
    server = answer_with(lambda name, prompt: None if name == "GivenSituations" else "Left.")
    calm = system(constraint("always", check=NO_COMMA), name="calm")
    turns, left_out, _ = play(settings_for(tmp_path, server, "judge"), guide(), calm)
    assert {turn.system_id for turn in turns} == {"s-calm"}
    assert left_out == {("failed", "dialogues"): 1}
