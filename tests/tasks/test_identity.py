"""Which settings change which parts."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from models.base import digest
from models.loading import validate_settings
from tasks.identity import KEY_VERSION, stage_identity
from tasks.llm.prompts import critic, judge, reference_response, rephrase, triggers, user_query

STAGES = ("expand_systems", "play_dialogues", "sample_responses", "judge_responses", "build_pairs")
BASE: dict[str, Any] = {
    "endpoints": {"a": {"model": "m", "base_url": "http://a/v1"}},
    "roles": {"policy": {"endpoint": "a"}},
}


def changed(update: dict[str, Any]) -> set[str]:
    """The stages whose parts are other ones after an update of the settings."""
    before, after = validate_settings(BASE), validate_settings(BASE | update)
    return {stage for stage in STAGES if stage_identity(stage, before) != stage_identity(stage, after)}


def endpoint(**values: Any) -> dict[str, Any]:
    return {"endpoints": {"a": BASE["endpoints"]["a"] | values}}


@pytest.mark.parametrize(
    "update",
    [
        {"run": "other"},
        {"data": "/elsewhere"},
        {"batch_size": 7},
        {"export": {"validation_share": 0.5}},
        {"seeds": {"license": "cc0-1.0"}},
        {"max_failed_share": 0.5},
        {"runner": {"engine": "dask", "workers": 3}},
        endpoint(base_url="http://b/v1"),
        endpoint(max_concurrency=2),
        endpoint(shared_limit="models"),
        endpoint(api_key_env="KEY"),
        endpoint(price_in=1.0),
        endpoint(samples_in_one_request=False),
    ],
)
def test_what_does_not_belong(update: dict[str, Any]) -> None:
    assert changed(update) == set()


def test_what_belongs() -> None:
    assert changed(endpoint(model="n")) == {"play_dialogues", "sample_responses"}
    assert changed(endpoint(identity="lora-3")) == {"play_dialogues", "sample_responses"}
    assert changed({"roles": {"policy": {"endpoint": "a", "temperature": 0.5}}}) == {
        "play_dialogues",
        "sample_responses",
    }
    assert changed({"samples": 9}) == {"sample_responses"}
    assert changed({"dialogues": {"turns": 9}}) == {"play_dialogues"}
    assert changed({"dialogues": {"min_score": 0.5}}) == {"play_dialogues"}
    assert changed({"dialogues": {"refinements": 1}}) == set()
    assert changed({"constraints": {"max_per_system": 9}}) == {"expand_systems"}
    assert changed({"pairs": {"min_margin": 2}}) == {"build_pairs"}
    assert changed({"pairs": {"refined": "drop"}}) == {"build_pairs"}
    assert changed({"seed": 1}) == {"expand_systems", "play_dialogues", "sample_responses"}


def judged_by(judge: dict[str, Any] | None, **judging: Any) -> dict[str, str]:
    """The identities of the stages that a judge has to do with."""
    roles = BASE["roles"] | ({"judge": {"endpoint": "a", **judge}} if judge is not None else {})
    settings = validate_settings(BASE | {"roles": roles, "judging": judging})
    return {stage: stage_identity(stage, settings) for stage in ("judge_responses", "calibrate_judge", "build_pairs")}


def test_keys_from_before_there_was_a_judge() -> None:
    plain = judged_by(None)
    assert plain["judge_responses"] == digest([KEY_VERSION, "judge_responses", 1, {"judge": None}])
    rules = {"min_margin": 1, "max_per_turn": None, "max_per_dialogue": None}
    assert plain["build_pairs"] == digest([KEY_VERSION, "build_pairs", 1, rules])
    for unused in ({"votes": 3}, {"calibration_share": 0.5}):
        assert judged_by(None, **unused)["judge_responses"] == plain["judge_responses"]


def test_what_a_judgment_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def differs(judge: dict[str, Any], **judging: Any) -> set[str]:
        before, after = judged_by({}), judged_by(judge, **judging)
        return {stage for stage in before if before[stage] != after[stage]}

    both = {"judge_responses", "calibrate_judge"}
    assert judged_by({})["judge_responses"] != judged_by(None)["judge_responses"]
    assert differs({}) == set()
    assert differs({"temperature": 0.5}) == both
    assert differs({}, votes=3) == both
    assert differs({}, calibration_share=0.5) == {"calibrate_judge"}
    assert differs({}, min_calibrations=7) == set()
    assert differs({}, min_kappa=0.5) == {"build_pairs"}
    before = judged_by({})
    monkeypatch.setattr(judge, "VERSION", judge.VERSION + 1)
    assert {stage for stage, key in judged_by({}).items() if key != before[stage]} == both


def played_by(*roles: str, dialogues: dict[str, Any] | None = None, **of_role: Any) -> dict[str, str]:
    """The identities of self-play and sampling, with models in some roles."""
    others = {name: {"endpoint": "a", **of_role.get(name, {})} for name in roles}
    settings = validate_settings(BASE | {"roles": BASE["roles"] | others, "dialogues": dialogues or {}})
    return {stage: stage_identity(stage, settings) for stage in ("play_dialogues", "sample_responses")}


def test_responses_of_before_there_was_a_critic_are_found_again() -> None:
    stored = "35b0ca662d99648e9774b1b22053a0d5"
    for roles in ((), ("judge",), ("user", "judge")):
        for rules in ({}, {"min_score": 0.2, "refinements": 1}):
            assert played_by(*roles, dialogues=rules)["sample_responses"] == stored
    refined = {played_by("critic", dialogues=rules)["sample_responses"] for rules in ({}, {"min_score": 0.2})}
    assert len(refined | {stored, played_by("critic", "judge")["sample_responses"]}) == 4


@pytest.mark.parametrize(
    ("prompt", "wording", "asked"),
    [
        (user_query, "MOODS", {("user",): {"play_dialogues"}}),
        (rephrase, "_REQUEST", {("user",): {"play_dialogues"}}),
        (triggers, "_REQUEST", {("judge",): {"play_dialogues"}}),
        (
            judge,
            "_REQUEST",
            {("judge",): {"play_dialogues"}, ("critic", "judge"): {"play_dialogues", "sample_responses"}},
        ),
        (critic, "_REQUEST", {("critic",): {"play_dialogues", "sample_responses"}}),
        (reference_response, "_REMINDER", {(): {"play_dialogues"}}),
    ],
)
def test_a_prompt_is_part_of_the_key_where_somebody_is_asked_by_it(
    prompt: ModuleType, wording: str, asked: dict[tuple[str, ...], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody = ((), ("user",), ("judge",), ("critic",), ("critic", "judge"))
    before = {roles: played_by(*roles) for roles in everybody}
    monkeypatch.setattr(prompt, wording, {"en": "Otherwise.", "zh": "不同。"})
    for roles in everybody:
        after = played_by(*roles)
        changed_stages = {stage for stage in after if after[stage] != before[roles][stage]}
        expected = set().union(*(stages for of, stages in asked.items() if set(of) <= set(roles)))
        assert changed_stages == expected, roles


def test_who_plays_is_part_of_the_key() -> None:
    for role, stages in {"user": 1, "judge": 1, "critic": 2}.items():
        plain, warm = played_by(role), played_by(role, **{role: {"temperature": 0.5}})
        assert sum(plain[stage] != warm[stage] for stage in plain) == stages
    assert played_by("critic") != played_by("critic", dialogues={"refinements": 1})
