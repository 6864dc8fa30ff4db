import asyncio
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.doctor import check_all
from models.endpoints import Endpoint
from tasks.llm import addresses, limits
from tasks.llm.addresses import IN_A_ROW, Address
from tests.llm.conftest import Opener, Server, settings_to
from tests.llm.support import chats
from tests.scripted_server import Script, ScriptedServer


def nobody() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


def test_requests_are_spread_over_all_addresses(serve: Server, open_to: Opener) -> None:
    servers = [serve(latency_s=0.05) for _ in range(3)]
    gateway = open_to([server.base_url for server in servers], max_concurrency=4)
    answers = gateway.complete("policy", chats(60), stage="test")
    assert all(sample.error is None for [sample] in answers)
    assert sum(server.requests for server in servers) == 60
    # max_concurrency is for each address: a second server doubles what is in flight
    assert [server.peak for server in servers] == [4, 4, 4]
    assert all(server.requests >= 12 for server in servers)


def test_a_slow_server_gets_less(serve: Server, open_to: Opener) -> None:
    quick, slow = serve(latency_s=0.01), serve(latency_s=0.4)
    gateway = open_to([quick.base_url, slow.base_url], max_concurrency=4)
    gateway.complete("policy", chats(60), stage="test")
    assert slow.requests + quick.requests == 60
    assert 0 < slow.requests < quick.requests / 2


def test_a_failed_attempt_is_made_again_elsewhere(serve: Server, open_to: Opener) -> None:
    bad, good = serve(faults={"internal": 1.0}), serve()
    gateway = open_to([bad.base_url, good.base_url], max_tries=2)
    for number in range(6):
        [[sample]] = gateway.complete("policy", chats(1, start=number), stage="test")
        assert sample.error is None
    assert 0 < bad.requests <= 6
    assert good.requests == 6


def test_a_server_that_dies_in_the_middle(serve: Server, open_to: Opener) -> None:
    well, dying = serve(latency_s=0.05), ScriptedServer(Script(latency_s=0.05)).__enter__()
    gateway = open_to([dying.base_url, well.base_url], max_concurrency=4)

    def kill() -> None:
        wait_for(lambda: dying.requests > 10)
        dying.__exit__(None, None, None)

    killer = threading.Thread(target=kill)
    killer.start()
    answers = gateway.complete("policy", chats(100), stage="test")
    killer.join()
    assert all(sample.error is None for [sample] in answers)
    # nothing that was answered is asked again; the last four answers may not have left the dying server
    assert 5 < (answered := sum(dying.completed.values())) < 50
    assert 0 <= well.requests - (100 - answered) <= 4
    before = well.requests
    gateway.complete("policy", chats(100), stage="test")
    assert well.requests == before


def test_a_server_that_is_down_is_left_alone_and_comes_back(
    serve: Server, open_to: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "FIRST_REST_S", 0.5)
    ill, well = serve(faults={"internal": 1.0}), serve(latency_s=0.01)
    gateway = open_to([ill.base_url, well.base_url], max_concurrency=2)
    gateway.complete("policy", chats(30), stage="test")
    # those in flight at the fourth failure, and one more should it take longer than the rest
    assert IN_A_ROW <= (asked := ill.requests) <= IN_A_ROW + 2
    assert well.requests == 30
    ill.script.faults = {}
    time.sleep(0.5)
    gateway.complete("policy", chats(30, start=100), stage="test")
    assert ill.requests > asked + 5


def test_a_rest_grows_and_an_answer_ends_it() -> None:
    address, rests = Address("http://a/v1", 4), []
    for _ in range(IN_A_ROW - 1):
        address.note_failure(None)
    now = time.monotonic()
    assert address.is_well(now)
    for _ in range(8):
        address.note_failure(None)
        rests.append(round((address.changes_at(now) or now) - now))
        assert not address.is_well(now + 0.5)
        # what was sent before and fails now is no new failure
        address.note_failure(None)
        assert round((address.changes_at(now) or now) - now) == rests[-1]
        address._rests_until = now
    assert rests == [1, 2, 4, 8, 16, 30, 30, 30]
    assert address.is_well(now + 1)
    address.taken = 1
    assert not address.is_well(now + 1)
    address.note_answer()
    assert address.is_well(now)


def test_where_nobody_answers_it_is_said(open_to: Opener) -> None:
    gone = [nobody(), nobody()]
    answers = open_to(gone, max_tries=3).complete("policy", chats(10), stage="test")
    for [sample] in answers:
        assert (sample.tries, "no connection" in str(sample.error)) == (3, True)


def test_the_doctor_looks_at_every_address(serve: Server, tmp_path: Path) -> None:
    there, gone = serve(models=("scripted",)).base_url, nobody()
    findings = check_all(settings_to([there, gone], tmp_path))
    told = {url: finding.ok for finding in findings for url in (there, gone) if url in finding.what}
    assert told == {there: True, gone: False}


@pytest.mark.parametrize("wrong", [[], ["http://a/v1", "http://a/v1"]])
def test_a_list_without_sense_is_refused(wrong: list[str]) -> None:
    with pytest.raises(ValidationError, match="at least one address, and none twice"):
        Endpoint(base_url=wrong, model="m")


def wait_for(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class SlowClock:
    """Goes on by a step with every look at it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        self.now += 0.01
        return self.now


@pytest.mark.parametrize("pause_s", [0.005, 0.015, 0.025, 0.035])
def test_a_pause_that_ends_while_it_is_looked_at_is_over(pause_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing in flight nobody else would wake the request that waits for it."""
    clock = SlowClock()
    monkeypatch.setattr(addresses, "time", clock)
    monkeypatch.setattr(limits, "time", clock)
    address = Address("http://127.0.0.1:1/v1", IN_A_ROW)
    for _ in range(IN_A_ROW):
        address.note_failure(pause_s)

    async def wait_for_a_place() -> None:
        async with asyncio.timeout(10), limits.Limiter([address]).place():
            pass

    asyncio.run(wait_for_a_place())
