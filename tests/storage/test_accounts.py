"""The accounts of a run's calls."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from models.accounts import CallAccount, find_unpriced
from models.base import digest
from models.endpoints import Endpoint, Role, Roles
from models.records import LlmCall
from models.settings import FactorySettings
from storage.accounts import read_accounts
from storage.catalog import build_catalog
from storage.manifests import Manifest, RunBook
from storage.parts import PartStore

SETTINGS = FactorySettings(
    run="test",
    endpoints={
        "near": Endpoint(base_url="http://127.0.0.1:1/v1", model="small", price_in=1, price_out=2),
        "far": Endpoint(base_url="http://127.0.0.1:2/v1", model="large", price_in=1),
    },
    roles=Roles(policy=Role(endpoint="near"), judge=Role(endpoint="far")),
)


def call(seconds: float, **changes: Any) -> LlmCall:
    values = {
        "request_hash": digest([seconds, changes]), "stage": "sample_responses", "role": "policy", "model": "small",
        "prompt_tokens": 10, "completion_tokens": 5, "seconds": seconds, "tries": 1, "cost": 0.5, "cached": False,
        "error": None,
    }  # fmt: skip
    return LlmCall.model_validate(values | changes)


def account(root: Path, *parts: Sequence[LlmCall]) -> list[CallAccount]:
    store = PartStore(root)
    book = RunBook(root, Manifest(run="test", settings_hash="h", settings={}, started_at=datetime.now(UTC)))
    book.add([store.write("llm_calls", digest(number), rows) for number, rows in enumerate(parts)])
    build_catalog(root)
    return read_accounts(root, SETTINGS)


def test_the_samples_of_a_request_are_one_request(tmp_path: Path) -> None:
    # two requests of three samples, in two parts, and one of one sample; the second at the third try
    first = [call(2.0), call(2.0, prompt_tokens=0), call(2.0, prompt_tokens=0)]
    second = [call(4.0, tries=3, prompt_tokens=tokens) for tokens in (7, 0, 0)]
    [found] = account(tmp_path, first, [*second, call(0.5, cached=True)])
    assert (found.calls, found.requests, found.cached, found.failed) == (7, 3, 1, 0)
    assert found.retries == 2
    assert found.seconds == 6.5
    assert found.median_seconds == 2.0
    assert (found.tokens_in, found.tokens_out) == (10 + 7 + 10, 35)
    assert found.cost == 3.5
    assert found.endpoint == "near"


def test_by_stage_and_role_in_the_order_of_the_run(tmp_path: Path) -> None:
    asked = {"stage": "judge_responses", "role": "judge", "model": "large"}
    found = account(
        tmp_path,
        [call(1.0, stage="play_dialogues", role="user"), call(1.5, stage="play_dialogues", role="responder")],
        [call(2.0)],
        [call(3.0, **asked), call(9.0, **asked)],
    )
    assert [(item.stage, item.role) for item in found] == [
        ("play_dialogues", "user"),
        ("play_dialogues", "responder"),
        ("sample_responses", "policy"),
        ("judge_responses", "judge"),
    ]
    # nobody plays the user now, and the policy answers for the responder
    assert [item.endpoint for item in found] == ["", "near", "near", "far"]


def test_what_failed_is_counted_and_takes_no_time(tmp_path: Path) -> None:
    failed = {"tries": 6, "prompt_tokens": 0, "completion_tokens": 0, "error": "the server says 500"}
    [found] = account(tmp_path, [call(0.0, **failed), call(2.0), call(0.0, **failed), call(0.0, **failed)])
    assert (found.calls, found.failed, found.requests, found.retries) == (4, 3, 1, 0)
    assert (found.seconds, found.median_seconds) == (2.0, 2.0)
    [nothing] = account(tmp_path, [call(0.0, **failed)])
    assert (nothing.failed, nothing.requests, nothing.seconds, nothing.median_seconds) == (1, 0, 0, None)


def test_one_unknown_price_makes_the_cost_unknown(tmp_path: Path) -> None:
    asked = {"stage": "judge_responses", "role": "judge", "model": "large"}
    policy, judge = account(tmp_path, [call(1.0)], [call(2.0, **asked), call(3.0, cost=None, **asked)])
    assert (policy.cost, judge.cost) == (0.5, None)
    assert find_unpriced(SETTINGS, [policy.endpoint, judge.endpoint]) == ["far"]
    assert find_unpriced(SETTINGS, ["", "near", "gone"]) == []


def test_a_run_without_calls_has_no_accounts(tmp_path: Path) -> None:
    assert account(tmp_path) == []


@pytest.mark.parametrize("rows", [1, 3])
def test_how_the_parts_are_cut_does_not_matter(tmp_path: Path, rows: int) -> None:
    requests = [[call(1 + place / 7)] * 3 for place in range(6)]
    calls = [item for samples in requests for item in samples]
    whole = account(tmp_path / "whole", calls)
    cut = account(tmp_path / "cut", *(calls[at : at + 3 * rows] for at in range(0, 18, 3 * rows)))
    assert whole == cut
    assert whole[0].requests == 6
