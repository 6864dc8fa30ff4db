"""Policy responses, and rewrites of the best one where it follows too little."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.base import Language
from models.records import Exclusion, Judgment, PartRef, Response, SystemProfile
from models.settings import FactorySettings
from storage.parts import PartStore
from tasks.judging import judge_responses
from tasks.llm.gateways import close_gateway
from tasks.pairing import build_pairs
from tasks.sampling import sample_responses
from tests.tasks.answering import AnsweringServer, Start
from tests.tasks.judged import store_reversals
from tests.tasks.played import NO_COMMA, SHORT, constraint, inside, play, rewrite, settings_for, system, verdicts

LANGUAGES: list[Language] = ["en", "zh"]


def guide(language: Language = "en", name: str = "guide") -> SystemProfile:
    return system(
        constraint(f"no commas for {name}", check=NO_COMMA),
        constraint(f"be brief, {name}", check=SHORT),
        constraint(f"be kind, {name}"),
        language=language,
        name=name,
    )


def reply(name: str, prompt: str) -> Any:
    """References follow all; the policy's samples one or two of three; a rewrite follows one more."""
    if name == "GivenVerdicts":
        return verdicts(c1="f" if "friend" in inside(prompt, "response") else "v")
    if name == "Rewrite":
        ids = [line.split(":")[0] for line in inside(prompt, "violated").splitlines()]
        return rewrite("Friend." if "Right" not in inside(prompt, "response") else "My friend.", *ids)
    return ["Left, right. Yes.", "Right."] if name == "policy" else "My friend."


def sampled(settings: FactorySettings, *systems: SystemProfile) -> tuple[list[Response], PartRef]:
    turns = play(settings, *systems)
    part = sample_responses.fn(settings, turns.part)
    return PartStore(settings.data_dir).read(part, Response), part


def asked(server: AnsweringServer, name: str) -> int:
    return len(server.prompts(name))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_rewrite_is_a_response_of_its_own(tmp_path: Path, answer_with: Start, language: Language) -> None:
    server = answer_with(reply)
    settings = settings_for(tmp_path, server, "responder", "judge", "critic", turns=1)
    rows, _ = sampled(settings, guide(language))
    assert [(r.sample, r.text, r.origin, r.model) for r in rows] == [
        (0, "Left, right. Yes.", "sampled", "policy"),
        (1, "Right.", "sampled", "policy"),
        (2, "My friend.", "refined", "critic"),
    ]
    assert len({row.response_id for row in rows}) == 3
    [prompt] = server.prompts("Rewrite")
    assert inside(prompt, "response") == "Right." and inside(prompt, "violated") == "c1: be kind, guide"


def test_a_rewrite_that_is_still_too_poor_is_kept_and_rewritten(tmp_path: Path, answer_with: Start) -> None:
    def stubborn(name: str, prompt: str) -> Any:
        return rewrite(f"Right {asked(server, 'Rewrite')}.", "c1") if name == "Rewrite" else reply(name, prompt)

    server = answer_with(stubborn)
    settings = settings_for(tmp_path, server, "responder", "judge", "critic", turns=1, refinements=2)
    rows, _ = sampled(settings, guide())
    assert [(r.sample, r.origin) for r in rows] == [(0, "sampled"), (1, "sampled"), (2, "refined"), (3, "refined")]


def test_good_enough_is_left_alone(tmp_path: Path, answer_with: Start) -> None:
    server = answer_with(reply)
    settings = settings_for(tmp_path, server, "responder", "judge", "critic", turns=1, min_score=0.6)
    rows, _ = sampled(settings, guide())
    assert {row.origin for row in rows} == {"sampled"} and asked(server, "Rewrite") == 0


def test_without_a_critic_nothing_is_scored(tmp_path: Path, answer_with: Start) -> None:
    server = answer_with(reply)
    settings = settings_for(tmp_path, server, "responder", "judge", turns=1)
    turns = play(settings, guide())
    before = asked(server, "GivenVerdicts")
    part = sample_responses.fn(settings, turns.part)
    assert part.rows == 2 and asked(server, "GivenVerdicts") == before


def test_the_judge_is_not_paid_twice(tmp_path: Path, answer_with: Start) -> None:
    server = answer_with(reply)
    settings = settings_for(tmp_path, server, "responder", "judge", "critic")
    rows, part = sampled(settings, guide(), guide(name="other"))
    close_gateway()
    scored = len(server.asked)
    judgments = PartStore(tmp_path).read(judge_responses.fn(settings, part), Judgment)
    # each response has a verdict of the judge, and all of them were known
    assert len([row for row in judgments if row.judge == "judge"]) == len(rows) == 2 * 2 * 3
    assert len(server.asked) == scored > 0


def test_refined_responses_can_be_left_out_of_the_pairs(tmp_path: Path, answer_with: Start) -> None:
    server = answer_with(reply)
    settings = settings_for(tmp_path, server, "responder", "judge", "critic", turns=1)
    store = PartStore(tmp_path)
    _, responses = sampled(settings, guide())
    judgments = judge_responses.fn(settings, responses)
    reversals = store_reversals(store, guide())

    def pairs(refined: str) -> tuple[set[str], dict[str, int]]:
        rules = settings.model_copy(update={"pairs": settings.pairs.model_copy(update={"refined": refined})})
        part = build_pairs.fn(rules, [responses], [judgments], [reversals])
        found = store.find("exclusions", part.key)
        assert found is not None
        ids = store.read_table(part)["pair_id"].to_pylist()
        return set(ids), {row.reason: row.count for row in store.read(found, Exclusion)}

    (kept, counted), (dropped, left_out) = pairs("keep"), pairs("drop")
    assert len(kept) == 6 and len(dropped) == 2 and dropped < kept
    assert "refined" not in counted and left_out["refined"] == 1


def test_a_call_that_failed_is_a_missing_response(tmp_path: Path, answer_with: Start) -> None:
    server = answer_with(
        lambda name, prompt: None if name == "policy" and "old mill" in prompt else reply(name, prompt)
    )
    settings = settings_for(tmp_path, server, "responder", "judge", "critic", turns=3)
    turns = play(settings, guide())
    part = sample_responses.fn(settings, turns.part)
    store = PartStore(tmp_path)
    rows = store.read(part, Response)
    mill = [turn.turn for turn in turns.turns if "old mill" in turn.query]
    assert len(mill) == 1 and {row.turn for row in rows} == {1, 2, 3} - set(mill)
    found = store.find("exclusions", part.key)
    assert found is not None
    assert [(r.reason, r.what, r.count) for r in store.read(found, Exclusion)] == [("failed", "responses", 2)]
