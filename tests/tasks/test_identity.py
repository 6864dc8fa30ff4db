"""Which settings change which parts."""

from __future__ import annotations

from typing import Any

import pytest

from models.base import digest
from models.loading import validate_settings
from tasks.identity import KEY_VERSION, stage_identity
from tasks.llm.prompts import judge

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
        {"max_failed_share": 0.5},
        endpoint(base_url="http://b/v1"),
        endpoint(max_concurrency=2),
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
    assert changed({"constraints": {"max_per_system": 9}}) == {"expand_systems"}
    assert changed({"pairs": {"min_margin": 2}}) == {"build_pairs"}
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
