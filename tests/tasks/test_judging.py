"""Verdicts by code and by a judge model, through a real server: votes, majorities, and what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from models.records import Exclusion, Judgment, LlmCall, PartRef, VoteSplit
from models.settings import FactorySettings
from storage.parts import PartStore
from tasks.judging import JUDGE_BY_CODE, judge_responses
from tasks.llm.answers import AnswerFailure
from tasks.llm.prompts import judge
from tasks.llm.structured import MAX_ROUNDS, Reply
from tasks.pairing import build_pairs
from tasks.voting import count_votes
from tests.tasks.judged import judge_that_says, make_system, say, settings_of, store_responses, store_reversals

KINDS = ["sentence_count", "style", "no_comma", "content"]


def judged(settings: FactorySettings, responses: PartRef) -> list[Judgment]:
    store = PartStore(settings.data_dir)
    return store.read(judge_responses.fn(settings, responses), Judgment)


def verdicts(rows: list[Judgment]) -> list[str]:
    return [row.verdict for row in rows]


def test_without_a_judge_what_has_no_check_stays_unscored(tmp_path: Path) -> None:
    responses = store_responses(PartStore(tmp_path), [make_system(KINDS)], ["One, two. Three."])
    rows = judged(settings_of(tmp_path), responses)
    assert verdicts(rows) == ["violated", "unscored", "violated", "unscored"]
    assert {(row.judge, row.votes, row.split) for row in rows} == {(JUDGE_BY_CODE, 1, None)}
    assert "no judge model" in rows[1].reason


def test_code_decides_what_it_can_and_one_call_a_response_the_rest(tmp_path: Path) -> None:
    with judge_that_says(say("f", "v"), say("n", "f")) as server:
        systems = [make_system(KINDS)]
        responses = store_responses(PartStore(tmp_path), systems, ["One.", "One, two. Three."])
        part = judge_responses.fn(settings_of(tmp_path, judge=server.base_url), responses)
        rows = PartStore(tmp_path).read(part, Judgment)
        assert verdicts(rows) == [
            *("followed", "followed", "followed", "violated"),
            *("violated", "not_applicable", "violated", "followed"),
        ]
        assert [row.judge for row in rows] == [JUDGE_BY_CODE, "referee"] * 4
        assert (rows[1].reason, rows[1].votes) == ("because f", 1)
        assert rows[1].split == VoteSplit(followed=1, violated=0, not_applicable=0, unreadable=0)
        assert server.requests == 2
        prompt = server.bodies[0]["messages"][-1]["content"]
        assert "c1: demand 1 of s" in prompt and "c2: demand 3 of s" in prompt and "c3" not in prompt
        calls = PartStore(tmp_path).find("llm_calls", part.key)
        assert calls is not None
        found = [(call.role, call.stage) for call in PartStore(tmp_path).read(calls, LlmCall)]
        assert found == [("judge", "judge_responses")] * 2


def test_a_response_without_such_constraints_costs_no_call(tmp_path: Path) -> None:
    with judge_that_says() as server:
        systems = [make_system(["no_comma", "style"])]
        responses = store_responses(PartStore(tmp_path), systems, ["One.", "Two, three."], untriggered=["s-1"])
        assert verdicts(judged(settings_of(tmp_path, judge=server.base_url), responses)) == ["followed", "violated"]
        assert server.requests == 0


BAD = {
    "missing": say("f"),
    "extra": say("f", "v", "f"),
    "repeated": json.dumps({"verdicts": [{"id": "c1", "reason": "", "verdict": "followed"}] * 2}),
    "true instead of followed": say("f", "v").replace('"followed"', "true"),
    "another word": say("f", "v").replace('"followed"', '"unscored"'),
    "prose": "Both are followed, well done!",
}


@pytest.mark.parametrize("bad", BAD.values(), ids=list(BAD))
def test_an_answer_that_does_not_do_is_asked_for_again(tmp_path: Path, bad: str) -> None:
    with judge_that_says(bad, say("v", "f")) as server:
        responses = store_responses(PartStore(tmp_path), [make_system(["style", "content"])], ["One."])
        rows = judged(settings_of(tmp_path, judge=server.base_url), responses)
        assert verdicts(rows) == ["violated", "followed"]
        assert server.requests == 2


def test_what_stays_unreadable_is_unscored_and_makes_no_pairs(tmp_path: Path) -> None:
    hopeless = "I would rather not say. " * 100
    with judge_that_says(say("f"), hopeless, say("v"), *[hopeless] * (MAX_ROUNDS - 1)) as server:
        store, settings = PartStore(tmp_path), settings_of(tmp_path, judge=server.base_url)
        system = make_system(["no_comma", "style"])
        responses = store_responses(store, [system], ["One.", "Two, three.", "Four, five."])
        judgments = judge_responses.fn(settings, responses)
        rows = store.read(judgments, Judgment)
        assert verdicts(rows) == ["followed", "followed", "violated", "unscored", "violated", "violated"]
        reason = rows[3].reason
        assert "1 of 1 answers unreadable" in reason and "I would rather not say" in reason and len(reason) < 700
        assert rows[3].split == VoteSplit(followed=0, violated=0, not_applicable=0, unreadable=1)

        pairs = build_pairs.fn(settings, [responses], [judgments], [store_reversals(store, system)])
        assert store.read_table(pairs)["pair_id"].to_pylist() == ["d-s-0-d-s-2", "d-s-2-d-s-0"]
        exclusions = store.find("exclusions", pairs.key)
        assert exclusions is not None
        counts = {row.reason: row.count for row in store.read(exclusions, Exclusion)}
        assert counts["unscored"] == 1
        assert "poor_judge" not in counts


def reply(*letters: str) -> Reply[judge.GivenVerdicts]:
    """A vote; without letters one that cannot be read."""
    value = judge.GivenVerdicts.model_validate_json(say(*letters)) if letters else None
    kind: AnswerFailure | None = None if letters else "not_json"
    why = "" if letters else "no JSON"
    return Reply(value=value, raw="mumble\n" * 100, why=why, kind=kind, model="m", mode="schema", rounds=1)


@pytest.mark.parametrize(
    ("votes", "verdict", "split"),
    [
        ("f", "followed", (1, 0, 0, 0)),
        ("n", "not_applicable", (0, 0, 1, 0)),
        ("-", "unscored", (0, 0, 0, 1)),
        ("fvf", "followed", (2, 1, 0, 0)),
        ("vvf", "violated", (1, 2, 0, 0)),
        ("fv", "unscored", (1, 1, 0, 0)),
        ("fvn", "unscored", (1, 1, 1, 0)),
        ("ff-", "followed", (2, 0, 0, 1)),
        ("f--", "unscored", (1, 0, 0, 2)),  # one of three is no majority, whatever the others meant to say
        ("ffvvn", "unscored", (2, 2, 1, 0)),
        ("ffnv-", "unscored", (2, 1, 1, 1)),
        ("fffvv", "followed", (3, 2, 0, 0)),
    ],
)
def test_more_than_half_of_all_votes(votes: str, verdict: str, split: tuple[int, int, int, int]) -> None:
    replies = [reply() if letter == "-" else reply(letter) for letter in votes]
    [opinion] = count_votes(1, replies)
    assert opinion.verdict == verdict
    assert tuple(opinion.split.model_dump().values()) == split
    if verdict != "unscored":
        assert opinion.reason == f"because {verdict[0]}"
        return
    if split[:3] != (0, 0, 0):
        assert f"no majority of {len(votes)} votes" in opinion.reason
        assert f"{split[0]} followed" in opinion.reason
    if split[3]:
        assert "no JSON" in opinion.reason and "mumble mumble" in opinion.reason


def test_each_constraint_has_its_own_majority() -> None:
    opinions = count_votes(2, [reply("f", "v"), reply("f", "f"), reply("v", "v")])
    assert [opinion.verdict for opinion in opinions] == ["followed", "violated"]


def test_votes_through_the_server(tmp_path: Path) -> None:
    with judge_that_says(say("f", "f"), say("v", "f"), say("f", "v")) as server:
        responses = store_responses(PartStore(tmp_path), [make_system(["style", "content"])], ["One."])
        rows = judged(settings_of(tmp_path, judge=server.base_url, votes=3), responses)
        assert [(row.verdict, row.votes) for row in rows] == [("followed", 3)] * 2
        assert [row.split for row in rows] == [VoteSplit(followed=2, violated=1, not_applicable=0, unreadable=0)] * 2
        assert (server.requests, server.bodies[0]["n"]) == (1, 3)


def test_votes_that_could_not_differ_are_refused(tmp_path: Path) -> None:
    settings_of(tmp_path, judge="http://a/v1", temperature=0)
    settings_of(tmp_path, votes=3)
    with pytest.raises(ValueError, match="all votes would be the same"):
        settings_of(tmp_path, judge="http://a/v1", temperature=0, votes=3)


def test_parts_from_before_there_was_a_judge_are_read(tmp_path: Path) -> None:
    store = PartStore(tmp_path)
    responses = store_responses(store, [make_system(["no_comma"])], ["One."])
    part = judge_responses.fn(settings_of(tmp_path), responses)
    path = store.path(part)
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["split"]).replace_schema_metadata(table.schema.metadata), path)
    assert [row.split for row in store.read(part, Judgment)] == [None]
