"""Calls that fail for good and answers that cannot be used: counted, never in the way, and asked again."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import StageError
from models.records import CallFailure, Judgment, LlmCall, PartRef
from models.settings import FactorySettings
from storage.parts import PartStore
from tasks.judging import judge_responses
from tasks.llm.gateways import close_gateway
from tests.tasks.conftest import Serve
from tests.tasks.judged import make_system, say, settings_of, store_responses

RESPONSES = 12


def judge_settings(data: Path, base_url: str, *, max_tries: int = 1, max_failed_share: float = 0.1) -> FactorySettings:
    settings = settings_of(data, judge=base_url)
    judge = settings.endpoints["judge"].model_copy(update={"max_tries": max_tries})
    return settings.model_copy(
        update={"endpoints": {**settings.endpoints, "judge": judge}, "max_failed_share": max_failed_share}
    )


def responses_in(data: Path) -> PartRef:
    return store_responses(PartStore(data), [make_system(["style"])], [f"Answer {n}." for n in range(RESPONSES)])


def failures_of(data: Path, part: PartRef) -> dict[str, tuple[int, int]]:
    store = PartStore(data)
    ref = store.find("failures", part.key)
    return {row.kind: (row.count, row.lost) for row in store.read(ref, CallFailure)} if ref else {}


def test_a_call_that_fails_for_good_is_a_row_and_is_asked_again_by_the_next_run(tmp_path: Path, serve: Serve) -> None:
    server = serve(first=("ok", "internal"), texts=[say("f")] * 50)
    responses = responses_in(tmp_path)
    settings = judge_settings(tmp_path, server.base_url)
    store = PartStore(tmp_path)

    part = judge_responses.fn(settings, responses)
    rows = store.read(part, Judgment)
    assert [row.verdict for row in rows].count("followed") == RESPONSES - 1
    [lost] = [row for row in rows if row.verdict == "unscored"]
    assert "the call failed" in lost.reason and "500" in lost.reason
    assert failures_of(tmp_path, part) == {"server_error": (1, 1)}
    calls = store.find("llm_calls", part.key)
    assert calls is not None
    accounts = store.read(calls, LlmCall)
    assert len(accounts) == RESPONSES
    assert [bool(call.error) for call in accounts].count(True) == 1
    assert {call.mode for call in accounts} == {"schema"}

    close_gateway()
    before = server.requests
    whole = judge_responses.fn(settings, responses)
    assert whole.key != part.key
    assert server.requests == before + 1
    assert [row.verdict for row in store.read(whole, Judgment)] == ["followed"] * RESPONSES
    assert failures_of(tmp_path, whole) == {}
    assert judge_responses.fn(settings, responses) == whole
    assert server.requests == before + 1


def test_a_batch_fails_where_too_many_of_its_calls_do(tmp_path: Path, serve: Serve) -> None:
    server = serve(first=("internal", "internal"), texts=[say("f")] * 50)
    responses = responses_in(tmp_path)
    with pytest.raises(StageError, match=r"2 of 12 calls of a batch failed, more than max_failed_share = 0\.1"):
        judge_responses.fn(judge_settings(tmp_path, server.base_url), responses)
    before = server.requests
    part = judge_responses.fn(judge_settings(tmp_path, server.base_url, max_failed_share=0.2), responses)
    assert server.requests == before + 2
    assert {row.verdict for row in PartStore(tmp_path).read(part, Judgment)} == {"followed"}


def test_one_of_two_calls_fails_no_batch_and_one_of_one_does(tmp_path: Path, serve: Serve) -> None:
    store = PartStore(tmp_path)
    server = serve(first=("internal",), texts=[say("f")] * 50)
    two = store_responses(store, [make_system(["style"])], ["One.", "Two."])
    part = judge_responses.fn(judge_settings(tmp_path, server.base_url), two)
    assert failures_of(tmp_path, part) == {"server_error": (1, 1)}
    close_gateway()
    server = serve(first=("internal",), texts=[say("f")] * 50)
    with pytest.raises(StageError, match="1 of 1 calls"):
        judge_responses.fn(
            judge_settings(tmp_path / "other", server.base_url),
            store_responses(PartStore(tmp_path / "other"), [make_system(["style"])], ["One."]),
        )


def test_every_failed_attempt_is_counted(tmp_path: Path, serve: Serve) -> None:
    server = serve(first=("internal", "drop", "ok", "not_json", "rate_limit"), retry_after="0", texts=[say("f")] * 50)
    part = judge_responses.fn(judge_settings(tmp_path, server.base_url, max_tries=5), responses_in(tmp_path))
    counts = {"server_error": (1, 0), "connection": (1, 0), "malformed": (1, 0), "rate_limit": (1, 0)}
    assert failures_of(tmp_path, part) == counts


def test_answers_that_cannot_be_used_are_counted_by_kind(tmp_path: Path, serve: Serve) -> None:
    responses = store_responses(PartStore(tmp_path), [make_system(["style"])], ["One.", "Two."])
    # the first is asked a second and a third time, the second is good at once
    server = serve(texts=["mumble", say("f"), '{"verdicts": 3}', say("f", "v")])
    part = judge_responses.fn(judge_settings(tmp_path, server.base_url), responses)
    assert failures_of(tmp_path, part) == {"not_json": (1, 0), "wrong_schema": (1, 0), "unusable": (1, 1)}
    store = PartStore(tmp_path)
    assert sorted(row.verdict for row in store.read(part, Judgment)) == ["followed", "unscored"]
    calls = store.find("llm_calls", part.key)
    assert calls is not None
    assert [call.round for call in store.read(calls, LlmCall)] == [1, 1, 2, 3]
