from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.errors import FactoryError, SettingsError
from tasks.llm.calls import ChatRequest
from tasks.llm.gateway import Progress
from tasks.llm.gateways import close_gateway, open_gateway
from tests.llm.conftest import Opener, Server, settings_to
from tests.llm.support import chats


def test_answers_come_in_the_order_of_the_requests(serve: Server, open_to: Opener) -> None:
    server = serve()
    gateway = open_to(server.base_url)
    answers = gateway.complete("policy", chats(20, samples=3), stage="test")
    assert [len(samples) for samples in answers] == [3] * 20
    assert len({s.text for samples in answers for s in samples}) == 60
    assert server.requests == 20
    part = gateway.complete("policy", chats(2, samples=3, start=3), stage="test")
    assert [[s.text for s in g] for g in part] == [[s.text for s in g] for g in answers[3:5]]


def test_nothing_is_asked_twice_after_a_restart(serve: Server, open_to: Opener) -> None:
    server = serve()
    first = open_to(server.base_url).complete("policy", chats(30, samples=2), stage="test")
    again = open_to("http://127.0.0.1:1/v1").complete("policy", chats(30, samples=2), stage="test")
    assert server.requests == 30
    assert [[s.text for s in g] for g in again] == [[s.text for s in g] for g in first]
    assert all(s.cached for g in again for s in g)
    assert not any(s.cached for g in first for s in g)


def test_only_missing_samples_are_asked_for(serve: Server, open_to: Opener) -> None:
    server = serve()
    gateway = open_to(server.base_url)
    few = gateway.complete("policy", chats(3, samples=2), stage="test")
    many = gateway.complete("policy", chats(3, samples=5), stage="test")
    assert server.requests == 6
    for old, new in zip(few, many, strict=True):
        assert [s.text for s in new[:2]] == [s.text for s in old]
        assert [s.cached for s in new] == [True, True, False, False, False]
        assert len({s.text for s in new}) == 5
        assert [s.prompt_tokens > 0 for s in new] == [True, False, True, False, False]


def test_one_sample_a_request_where_the_server_takes_no_n(serve: Server, open_to: Opener) -> None:
    server = serve()
    gateway = open_to(server.base_url, samples_in_one_request=False)
    [samples] = gateway.complete("policy", chats(1, samples=4), stage="test")
    assert server.requests == 4
    assert len({s.text for s in samples}) == 4


def test_a_deterministic_server_answers_alike_again(serve: Server, tmp_path: Path) -> None:
    server = serve()
    texts = []
    for folder in ("a", "b"):
        gateway = open_gateway(settings_to(server.base_url, tmp_path / folder))
        texts.append([s.text for g in gateway.complete("policy", chats(5, samples=2), stage="test") for s in g])
    close_gateway()
    assert server.requests == 10
    assert texts[0] == texts[1]


def test_the_same_question_at_the_same_time_is_asked_once(serve: Server, open_to: Opener) -> None:
    server = serve(latency_s=0.2)
    gateway = open_to(server.base_url)
    with ThreadPoolExecutor(12) as pool:
        runs = [pool.submit(gateway.complete, "policy", chats(4, samples=2), stage="test") for _ in range(12)]
        results = [run.result() for run in runs]
    assert server.requests == 4
    assert len({tuple(s.text for g in result for s in g) for result in results}) == 1
    # paid once, so accounted once
    assert sum(not s.cached for result in results for g in result for s in g) == 8


def test_two_processes_that_ask_the_same_get_the_same_answer(serve: Server, open_to: Opener) -> None:
    """Two runs in one data folder: what each builds on it has one key, and must be one thing."""
    with ThreadPoolExecutor(2) as pool:
        servers = [serve(latency_s=0.3, texts=(text,)) for text in ("a model's", "seldom says it twice")]
        runs = [
            pool.submit(open_to(server.base_url).complete, "policy", chats(1, samples=2), stage="test")
            for server in servers
        ]
        [[one], [two]] = [run.result() for run in runs]
    assert [server.requests for server in servers] == [1, 1]
    assert [(s.text, s.completion_tokens) for s in one] == [(s.text, s.completion_tokens) for s in two]
    assert not any(s.cached for s in (*one, *two)), "both have paid"
    [stored] = open_to("http://127.0.0.1:1/v1").complete("policy", chats(1, samples=2), stage="test")
    assert [s.text for s in stored] == [s.text for s in one]


def test_the_same_question_twice_in_a_batch_is_asked_once(serve: Server, open_to: Opener) -> None:
    server = serve()
    one, two = open_to(server.base_url).complete("policy", chats(1) * 2, stage="test")
    assert server.requests == 1
    assert (one[0].text, one[0].cached, two[0].cached) == (two[0].text, False, True)


def test_the_bound_on_requests_in_flight_holds_across_threads(serve: Server, open_to: Opener) -> None:
    server = serve(latency_s=0.03)
    gateway = open_to(server.base_url, max_concurrency=5)
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda i: gateway.complete("policy", chats(10, start=10 * i), stage="test"), range(10)))
    assert server.requests == 100
    assert server.peak == 5


def test_accounts(serve: Server, open_to: Opener) -> None:
    server = serve()
    gateway = open_to(server.base_url, price_in=2.0, price_out=10.0)
    answers = gateway.complete("policy", chats(1, samples=2), stage="sampling")
    first, second = gateway.accounts(answers, "policy", "sampling")
    assert (first.stage, first.role, first.model, first.cached, first.tries) == (
        "sampling", "policy", "scripted", False, 1,
    )  # fmt: skip
    assert first.prompt_tokens > 0
    assert second.prompt_tokens == 0
    assert first.cost == pytest.approx((first.prompt_tokens * 2 + first.completion_tokens * 10) / 1e6)
    [unknown, _] = open_to(server.base_url).accounts(answers, "policy", "sampling")
    assert unknown.cost is None


def test_progress(serve: Server, open_to: Opener) -> None:
    seen: list[Progress] = []
    server = serve(first=("internal",))
    gateway = open_to(server.base_url, max_tries=1)
    gateway.on_progress = seen.append
    for _ in range(2):
        gateway.complete("policy", chats(4, samples=2), stage="sampling")
    assert {(p.stage, p.role) for p in seen} == {("sampling", "policy")}
    assert (sum(p.made for p in seen), sum(p.cached for p in seen), sum(p.failed for p in seen)) == (8, 6, 2)


def test_broken_characters_are_replaced(serve: Server, open_to: Opener) -> None:
    server = serve(faults={"surrogate": 1.0})
    [[sample]] = open_to(server.base_url).complete("policy", chats(1), stage="test")
    assert sample.text == "broken � emoji"
    request = ChatRequest([{"role": "user", "content": "half \ud83d"}])
    [[sample]] = open_to(server.base_url).complete("policy", [request], stage="test")
    assert sample.error is None


def test_a_role_that_nobody_plays(open_to: Opener) -> None:
    with pytest.raises(SettingsError, match=r"roles\.judge\.endpoint"):
        open_to("http://127.0.0.1:1/v1").complete("judge", chats(1), stage="judging")


def test_an_address_without_a_scheme(open_to: Opener) -> None:
    with pytest.raises(SettingsError, match=r"endpoints\.scripted\.base_url"):
        open_to("127.0.0.1:8000/v1").complete("policy", chats(1), stage="test")


def test_no_requests(open_to: Opener) -> None:
    assert open_to("http://127.0.0.1:1/v1").complete("policy", [], stage="test") == []


def test_close_ends_waiting_batches_and_stores_what_is_in_flight(serve: Server, open_to: Opener) -> None:
    server = serve(latency_s=0.3)
    gateway = open_to(server.base_url, max_concurrency=2)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(gateway.complete, "policy", chats(50), stage="test")
        while server.in_flight < 2:
            pass
        gateway.close()
        with pytest.raises(FactoryError, match="closed"):
            waiting.result(timeout=5)
    asked = server.requests
    again = open_to(server.base_url, max_concurrency=50).complete("policy", chats(50), stage="test")
    assert sum(g[0].cached for g in again) == sum(server.completed.values()) - (50 - asked) == asked


def test_one_gateway_for_settings_that_ask_alike(tmp_path: Path) -> None:
    settings = settings_to("http://127.0.0.1:1/v1", tmp_path)
    gateway = open_gateway(settings)
    assert open_gateway(settings.model_copy(update={"batch_size": 7})) is gateway
    for other in ({"run": "other"}, {"seed": 7}):
        assert open_gateway(settings.model_copy(update=other)) is not gateway
    close_gateway()
    assert open_gateway(settings) is not gateway
    close_gateway()
