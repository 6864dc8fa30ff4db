import asyncio
import json
import logging
import pickle
import socket
import traceback
from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest

from models.endpoints import Endpoint
from models.errors import EndpointError, SettingsError
from tasks.llm.addresses import IN_A_ROW
from tasks.llm.calls import FailureKind
from tasks.llm.endpoint import PAUSES_A_TRY, Answer, EndpointClient, Ticket
from tasks.llm.failures import GaveUpError
from tests.llm.conftest import Opener, Server
from tests.llm.support import chats
from tests.scripted_server import ScriptedServer

KEY = "sk-very-secret-0123456789"
TRANSIENT = ["internal", "unavailable", "drop", "not_json", "no_choices", "null_content", "wrong_types", "few_choices"]
KINDS: dict[str, FailureKind] = {
    "rate_limit": "rate_limit",
    "internal": "server_error",
    "unavailable": "server_error",
    "slow": "timeout",
    "drop": "connection",
    "not_json": "malformed",
    "no_choices": "malformed",
    "null_content": "malformed",
    "wrong_types": "malformed",
}
BODY: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}], "n": 1, "max_tokens": 900}


def arrivals_by_call(server: ScriptedServer) -> dict[str, list[float]]:
    """When each body arrived; needs a server that has been asked less than it remembers."""
    times = defaultdict(list)
    for body, arrival in zip(server.bodies, server.arrivals, strict=True):
        times[json.dumps(body)].append(arrival)
    return times


def ask(base_url: str, **fields: Any) -> Answer | GaveUpError:
    client = EndpointClient("scripted", Endpoint(base_url=base_url, model="scripted", **fields), "unused")

    async def send() -> Answer | GaveUpError:
        try:
            return await client.ask("policy", BODY, Ticket())
        except GaveUpError as failure:
            return failure
        finally:
            await client.close()

    client.prepare()
    return asyncio.run(send())


@pytest.mark.parametrize(("fault", "kind"), KINDS.items())
def test_every_failed_attempt_is_told_by_kind(serve: Server, fault: Any, kind: FailureKind) -> None:
    server = serve(first=(fault, "internal"), retry_after="0", slow_s=5)
    answer = ask(server.base_url, timeout_s=1)
    assert isinstance(answer, Answer)
    assert ([failure.kind for failure in answer.failures], answer.tries) == ([kind, "server_error"], 3)
    assert "500" in answer.failures[1].why


def test_a_request_that_is_given_up_tells_all_its_failures(serve: Server) -> None:
    server = serve(first=("rate_limit", "drop", "not_json"), retry_after="")
    failed = ask(server.base_url, max_tries=3)
    assert isinstance(failed, GaveUpError)
    assert ([failure.kind for failure in failed.failures], failed.tries) == (
        ["rate_limit", "connection", "malformed"], 3,
    )  # fmt: skip
    assert failed.failures[-1].why in str(failed)


def test_nobody_at_the_address_is_a_failed_connection() -> None:
    failed = ask("http://127.0.0.1:1/v1", max_tries=2)
    assert isinstance(failed, GaveUpError)
    assert [failure.kind for failure in failed.failures] == ["connection", "connection"]


@pytest.mark.parametrize("fault", TRANSIENT)
def test_what_may_pass_is_tried_again(serve: Server, open_to: Opener, fault: str) -> None:
    server = serve(first=(fault, fault), retry_after="")
    [[sample, _]] = open_to(server.base_url).complete("policy", chats(1, samples=2), stage="test")
    assert (sample.error, sample.tries, server.requests) == (None, 3, 3)


def test_a_slow_answer_is_given_up_and_asked_again(serve: Server, open_to: Opener) -> None:
    server = serve(first=("slow",), slow_s=9)
    [[sample]] = open_to(server.base_url, timeout_s=2).complete("policy", chats(1), stage="test")
    assert (sample.error, sample.tries) == (None, 2)


@pytest.mark.parametrize("fault", [*TRANSIENT, "slow"])
def test_a_batch_goes_on_without_the_calls_that_fail_for_good(serve: Server, open_to: Opener, fault: str) -> None:
    server = serve(faults={fault: 0.4}, retry_after="", slow_s=9)
    answers = open_to(server.base_url, max_tries=1, timeout_s=3).complete("policy", chats(20), stage="test")
    failed = [s for g in answers for s in g if s.error]
    assert 0 < len(failed) < 20
    assert all(s.text == "" and not s.cached for s in failed)
    # failures are not stored: they are asked for again, the others are not
    before = server.requests
    open_to(server.base_url, max_tries=1, timeout_s=3).complete("policy", chats(20), stage="test")
    assert server.requests - before == len(failed)


def test_an_unreliable_server_is_put_up_with(serve: Server, open_to: Opener) -> None:
    share: Any = dict.fromkeys(TRANSIENT, 0.06) | {"rate_limit": 0.05}
    server = serve(faults=share, retry_after="0.01")
    answers = open_to(server.base_url, max_tries=20).complete("policy", chats(100, samples=2), stage="test")
    assert all(s.error is None for g in answers for s in g)
    assert sum(server.completed.values()) >= 100


# A single refusal holds back its own request and its own place, not the endpoint: with refusals at random (2.5 %) a
# pause of the endpoint for each of them halved the speed. What it costs: a server at its limit refuses half of
# what is in flight before the pause, and one that refuses in turn with answering gets other requests before its time is
# over.
def test_a_single_refusal_holds_back_its_own_request_alone(serve: Server, open_to: Opener) -> None:
    server = serve(first=("ok",) * 8 + ("rate_limit",), retry_after="0.6", latency_s=0.02)
    gateway = open_to(server.base_url, max_concurrency=4, max_tries=1)
    answers = gateway.complete("policy", chats(60), stage="test")
    # an attempt that the server asked to postpone is no failed try
    assert all(s.error is None for g in answers for s in g)
    [(refused, again)] = [times for times in arrivals_by_call(server).values() if len(times) > 1]
    assert again - refused > 0.6
    assert sum(refused < other < again for other in server.arrivals) > 10
    assert server.peak == 4


def test_refusals_in_a_row_pause_the_address(serve: Server, open_to: Opener) -> None:
    server = serve(first=("ok",) * 8 + ("rate_limit",) * IN_A_ROW, retry_after="0.6", latency_s=0.02)
    gateway = open_to(server.base_url, max_concurrency=8, max_tries=1)
    answers = gateway.complete("policy", chats(60), stage="test")
    assert all(s.error is None for g in answers for s in g)
    gaps = [late - early for early, late in pairwise(server.arrivals)]
    assert sum(gap > 0.5 for gap in gaps) == 1
    # a pause is no reason to send less afterwards
    assert server.peak == 8


def test_some_refusals_of_a_wave_pause_nothing(serve: Server, open_to: Opener) -> None:
    # all are sent at once, so the refusals come in a row, before any answer
    server = serve(first=("rate_limit",) * 6 + ("ok",) * 26, retry_after="0.6", latency_s=0.05)
    gateway = open_to(server.base_url, max_concurrency=32, max_tries=1)
    answers = gateway.complete("policy", chats(64), stage="test")
    assert all(s.error is None for g in answers for s in g)
    start = server.arrivals[0]
    assert sum(arrival < start + 0.5 for arrival in server.arrivals) > 60


def test_a_limit_on_the_rate_fills_the_places_with_requests_that_wait(serve: Server, open_to: Opener) -> None:
    server = serve(first=("rate_limit", "ok") * 8, retry_after="0.5", latency_s=0.02)
    gateway = open_to(server.base_url, max_concurrency=8, max_tries=1)
    answers = gateway.complete("policy", chats(40), stage="test")
    assert all(s.error is None for g in answers for s in g)
    # eight refusals keep eight places: nothing is sent until the first of them is over, without four in a row
    assert sum(late - early > 0.3 for early, late in pairwise(server.arrivals)) == 1


@pytest.mark.parametrize("fault", ["rate_limit", "unavailable"])
def test_pauses_end_some_time(serve: Server, open_to: Opener, fault: str) -> None:
    server = serve(faults={fault: 1.0}, retry_after="0")
    [[sample]] = open_to(server.base_url, max_tries=2).complete("policy", chats(1), stage="test")
    assert sample.error is not None
    assert server.requests == 2 * PAUSES_A_TRY


def test_a_429_without_a_time_is_an_ordinary_failure(serve: Server, open_to: Opener) -> None:
    server = serve(faults={"rate_limit": 1.0}, retry_after="soon")
    [[sample]] = open_to(server.base_url, max_tries=3).complete("policy", chats(1), stage="test")
    assert sample.error is not None
    assert "429" in sample.error
    assert server.requests == 3


@pytest.mark.parametrize(
    ("script", "fields", "words"),
    [
        ({"key": "other"}, {}, ["401", "endpoints.scripted.api_key_env", "NAME"]),
        ({"key": "other"}, {"api_key_env": "TEST_KEY"}, ["401", "variable TEST_KEY", "'policy'", "'scripted'"]),
        ({"models": ("else",)}, {}, ["404", "endpoints.scripted.model", "endpoints.scripted.base_url"]),
        ({"faults": {"bad_request": 1.0}}, {}, ["400", "parameter", "roles.policy.temperature"]),
        ({"faults": {"quota": 1.0}}, {"api_key_env": "TEST_KEY"}, ["quota", "balance", "TEST_KEY"]),
    ],
)
def test_what_will_not_pass_fails_at_once(
    serve: Server,
    open_to: Opener,
    monkeypatch: pytest.MonkeyPatch,
    script: dict[str, Any],
    fields: dict[str, Any],
    words: list[str],
) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    server = serve(**script)
    with pytest.raises(EndpointError) as caught:
        open_to(server.base_url, max_concurrency=2, **fields).complete("policy", chats(50), stage="test")
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert server.requests <= 4


def test_a_prompt_that_is_too_long_fails_alone_and_at_once(serve: Server, open_to: Opener) -> None:
    server = serve(first=("ok", "too_long"))
    answers = open_to(server.base_url, max_concurrency=1).complete("policy", chats(5), stage="test")
    assert server.requests == 5
    [lost] = [sample for [sample] in answers if sample.error]
    assert (lost.error_kind, lost.tries) == ("too_long", 1)
    assert lost.error is not None
    assert all(words in lost.error for words in ("context length", "roles.policy.max_tokens", "400")), lost.error


def test_what_was_completed_before_a_refusal_is_kept(serve: Server, open_to: Opener) -> None:
    server = serve(first=("ok",) * 10 + ("bad_request",), latency_s=0.05)
    gateway = open_to(server.base_url, max_concurrency=4)
    with pytest.raises(EndpointError, match="is stored"):
        gateway.complete("policy", chats(40), stage="test")
    gateway.close()
    completed = sum(server.completed.values())
    # those in flight at the refusal land; a slot that is freed before the batch is told is used once more
    assert 10 <= completed <= 16
    again = open_to(server.base_url).complete("policy", chats(40), stage="test")
    assert sum(g[0].cached for g in again) == completed
    assert max(server.completed.values()) == 1


def test_a_missing_key_is_told_before_any_call(serve: Server, open_to: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KEY", raising=False)
    server = serve()
    with pytest.raises(SettingsError, match="TEST_KEY"):
        open_to(server.base_url, api_key_env="TEST_KEY").complete("policy", chats(1), stage="test")
    assert server.requests == 0


def test_a_server_that_is_not_there(open_to: Opener) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
        answers = open_to(address, max_tries=2).complete("policy", chats(3), stage="test")
    for [sample] in answers:
        assert sample.error is not None
        assert "endpoints.scripted.base_url" in sample.error
        assert sample.tries == 2


@pytest.mark.parametrize("script", [{"key": "other"}, {"key": KEY, "faults": {"internal": 0.5}}])
def test_the_key_is_never_shown(
    serve: Server,
    open_to: Opener,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    script: dict[str, Any],
) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    logging.getLogger("aiohttp").setLevel(logging.DEBUG)
    server = serve(**script)
    shown = ""
    try:
        gateway = open_to(server.base_url, api_key_env="TEST_KEY", max_tries=2)
        shown = repr(gateway.complete("policy", chats(10), stage="test"))
    except EndpointError as error:
        shown = "".join(traceback.format_exception(error)) + repr(error) + str(pickle.loads(pickle.dumps(error)))
    assert KEY not in shown + caplog.text


def test_our_account_at_openai_is_not_told_to_others(
    serve: Server, open_to: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = serve(key="none")
    [[sample]] = open_to(server.base_url).complete("policy", chats(1), stage="test")
    assert sample.error is None
