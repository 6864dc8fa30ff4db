"""An author's prompts belong to the keys of what it writes; without an author nothing of it does."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from models.loading import validate_settings
from models.settings import FactorySettings
from tasks.identity import stage_identity
from tasks.llm.prompts import reversal, reversal_check, system_profile, user_profile

WITHOUT_AUTHOR = {
    "expand_systems": "1c11b728ff444d5d735803b73e1a039d",
    "expand_users": "34e844fd07663e217146c475830b9949",
    "reverse_constraints": "576611fe3b6babce69d61eb011d54a29",
}
"""Identities as they were before there was an author: parts of that time are found again."""


def identities(**roles: Any) -> dict[str, str]:
    endpoints = {"a": {"model": "m", "base_url": "http://a/v1"}}
    settings: FactorySettings = validate_settings(
        {"endpoints": endpoints, "roles": {"policy": {"endpoint": "a"}, **roles}}
    )
    return {stage: stage_identity(stage, settings) for stage in WITHOUT_AUTHOR}


def test_without_an_author_keys_are_those_of_before() -> None:
    assert identities() == identities(judge={"endpoint": "a"}) == WITHOUT_AUTHOR


def test_an_author_changes_what_it_writes() -> None:
    authored = identities(author={"endpoint": "a"})
    assert not set(authored.values()) & set(WITHOUT_AUTHOR.values())
    assert identities(author={"endpoint": "a", "temperature": 0.7}) != authored


@pytest.mark.parametrize(
    ("prompt", "stage"),
    [
        (user_profile, "expand_users"),
        (system_profile, "expand_systems"),
        (reversal, "reverse_constraints"),
        (reversal_check, "reverse_constraints"),
    ],
)
def test_a_prompt_is_part_of_the_key(prompt: ModuleType, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = identities(author={"endpoint": "a"})
    monkeypatch.setattr(prompt, "_REQUEST", {"en": "Otherwise.", "zh": "不同。"})
    after = identities(author={"endpoint": "a"})
    assert {name for name in before if before[name] != after[name]} == {stage}
    assert identities() == WITHOUT_AUTHOR
