"""Which settings change which parts."""

from __future__ import annotations

from typing import Any

import pytest

from models.loading import validate_settings
from tasks.identity import stage_identity

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
