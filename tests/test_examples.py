"""Every example is a settings file that loads as it is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from models.endpoints import Roles
from models.loading import load_settings
from models.settings import FactorySettings

EXAMPLES = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.toml"))


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def example(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_it_loads(example: Path) -> None:
    settings = load_settings(example)
    used = {role.endpoint for _, role in settings.roles if role is not None}
    # none that nobody plays on: it would show nothing
    assert used == set(settings.endpoints)
    given = tomllib.loads(example.read_text("utf-8"))
    # an endpoint or a role that is given by name only would take a default that the example does not show
    assert set(given["endpoints"]) == used and "policy" in given["roles"]


def test_keys_are_named_and_never_written_down(example: Path) -> None:
    for endpoint in load_settings(example).endpoints.values():
        assert endpoint.api_key_env is None or re.fullmatch(r"[A-Z][A-Z0-9_]*_API_KEY", endpoint.api_key_env)
        # somebody's API costs money, and wants a key
        if "openai.com" in str(endpoint.base_url):
            assert endpoint.api_key_env and endpoint.price_in and endpoint.price_out
    assert not re.search(r"\bsk-\w", example.read_text("utf-8"))


def test_it_says_how_it_is_run(example: Path) -> None:
    text = example.read_text("utf-8")
    assert f"rpo run --config examples/{example.name}" in re.sub(r" +", " ", text)
    names = [load_settings(path).run for path in EXAMPLES]
    assert len(set(names)) == len(names)


def test_what_the_issue_asks_for_is_there() -> None:
    examples = {path.stem: load_settings(path) for path in EXAMPLES}
    assert {"openai", "vllm", "vllm_fleet", "mixture"} <= set(examples)
    assert {type(endpoint.base_url) for endpoint in examples["vllm_fleet"].endpoints.values()} == {list}
    assert {who(examples["openai"], name) for name in ("author", "user", "judge", "policy")} == {"https"}
    mixture = examples["mixture"]
    assert [who(mixture, name) for name in ("author", "judge", "policy")] == ["https", "https", "vllm"]


def who(settings: FactorySettings, role: str) -> str:
    """By what a role is reached: the scheme of its address, or the engine that serves it."""
    assert role in Roles.model_fields
    endpoint = settings.endpoints[getattr(settings.roles, role).endpoint]
    return endpoint.serve.engine if endpoint.serve is not None else str(endpoint.base_url).partition(":")[0]
