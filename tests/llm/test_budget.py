"""A run's budget: never exceeded, counted over every start of the run, and no call is refused that fits."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from models.endpoints import Endpoint, Role, Roles
from models.errors import BudgetError
from models.settings import FactorySettings
from storage.call_cache import CallCache
from tasks.llm.budget import Budget, highest_price
from tasks.llm.gateway import Gateway
from tests.llm.conftest import Server
from tests.llm.support import chats
from tests.scripted_server import ScriptedServer

# a token in costs 1, a token out 2
PRICES = {"price_in": 1e6, "price_out": 2e6}


def open_to(base_url: str, folder: Path, *, run: str = "paid", budget: float | None, **fields: Any) -> Gateway:
    endpoint = Endpoint(base_url=base_url, model="scripted", **{"max_concurrency": 4, **PRICES, **fields})
    roles = Roles(policy=Role(endpoint="scripted", max_tokens=256))
    settings = FactorySettings(run=run, data=str(folder), budget=budget, endpoints={"scripted": endpoint}, roles=roles)
    return Gateway(settings, CallCache(folder / "calls.sqlite"))


def spent(folder: Path, run: str = "paid") -> float:
    with CallCache(folder / "calls.sqlite") as cache:
        return cache.spent(run)


def test_a_run_stops_before_its_budget_is_exceeded_and_goes_on_with_a_higher_one(serve: Server, tmp_path: Path) -> None:
    server = serve(latency_s=0.01)
    gateway = open_to(server.base_url, tmp_path, budget=20_000)
    with pytest.raises(BudgetError, match=r"'paid' is used up: .* of 20000 are spent.*--set budget="):
        gateway.complete("policy", chats(200), stage="test")
    gateway.close()
    first = sum(server.completed.values())
    # what one more call could have cost is less than 256 * 2 tokens out and a few hundred in
    assert 20_000 - 1_500 < spent(tmp_path) <= 20_000
    assert 10 < first < 200

    # the same again: what was spent counts, so nothing more is asked
    gateway = open_to(server.base_url, tmp_path, budget=20_000)
    with pytest.raises(BudgetError):
        gateway.complete("policy", chats(200), stage="test")
    gateway.close()
    assert server.requests == first

    gateway = open_to(server.base_url, tmp_path, budget=1e9)
    answers = gateway.complete("policy", chats(200), stage="test")
    gateway.close()
    assert max(server.completed.values()) == 1
    costs = [row.cost or 0 for row in gateway.accounts(answers, "policy", "test")]
    assert spent(tmp_path) == pytest.approx(sum(costs))


def test_another_run_has_its_own_budget_and_cached_answers_cost_nothing(serve: Server, tmp_path: Path) -> None:
    server = serve()
    for run in ("paid", "other"):
        gateway = open_to(server.base_url, tmp_path, run=run, budget=30_000)
        gateway.complete("policy", chats(20), stage="test")
        gateway.close()
    assert server.requests == 20
    assert spent(tmp_path) > 0 == spent(tmp_path, "other")


def test_failed_calls_give_back_what_they_reserved(serve: Server, tmp_path: Path) -> None:
    server = serve(first=("internal",) * 30)
    gateway = open_to(server.base_url, tmp_path, budget=5_000, max_tries=1)
    for _ in range(3):
        gateway.complete("policy", chats(10), stage="test")
    gateway.close()
    assert server.requests == 30
    assert spent(tmp_path) == 0


class Uncounted(ScriptedServer):
    """Says nothing of tokens, as some gateways."""

    async def _answer(self, request: web.Request, raw: bytes) -> web.StreamResponse:
        answer = await super()._answer(request, raw)
        assert isinstance(answer, web.Response) and isinstance(answer.body, bytes)
        body = json.loads(answer.body)
        del body["usage"]
        return web.json_response(body)


def test_answers_without_usage_have_no_cost_and_count_with_the_most_for_the_budget(tmp_path: Path) -> None:
    with Uncounted() as server:
        gateway = open_to(server.base_url, tmp_path, budget=5_000)
        with pytest.raises(BudgetError):
            gateway.complete("policy", chats(200, samples=2), stage="test")
        gateway.close()
        assert 0 < server.requests < 10
        assert 5_000 - 2_000 < spent(tmp_path) <= 5_000
        # found again in the call cache, it is as unknown
        again = open_to(server.base_url, tmp_path, budget=1e9)
        answers = again.complete("policy", chats(200, samples=2), stage="test")
        again.close()
    rows = again.accounts(answers, "policy", "test")
    assert {row.cost for row in rows} == {None} and any(row.cached for row in rows)


def test_without_prices_nothing_is_noted(serve: Server, tmp_path: Path) -> None:
    server = serve()
    gateway = open_to(server.base_url, tmp_path, budget=None, price_in=None)
    gateway.complete("policy", chats(3), stage="test")
    gateway.close()
    assert spent(tmp_path) == 0


def test_a_budget_needs_the_prices_of_every_endpoint_that_is_asked(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"endpoints\.scripted\.price_in"):
        open_to("http://127.0.0.1:1/v1", tmp_path, budget=1, price_out=None)


def test_a_reservation_waits_while_others_may_give_something_back() -> None:
    async def play() -> list[str]:
        budget, told = Budget("r", 10, spent=2), []

        async def call(name: str, most: float, cost: float, ends: asyncio.Event) -> None:
            try:
                await budget.reserve(most)
            except BudgetError:
                told.append(f"{name} refused")
                return
            told.append(f"{name} sent")
            await ends.wait()
            budget.settle(most, cost)

        a, b = asyncio.Event(), asyncio.Event()
        b.set()
        calls = [
            asyncio.create_task(call(*each))
            for each in (("first", 6.0, 1.0, a), ("second", 6.0, 5.0, b), ("third", 3.0, 0.0, b))
        ]
        await asyncio.sleep(0)
        assert told == ["first sent"]
        a.set()
        await asyncio.gather(*calls)
        return told

    # 2 + 1 are spent when the second asks for 6 of 10, and 8 when the third asks for 3
    assert asyncio.run(play()) == ["first sent", "second sent", "third refused"]


def test_the_highest_price_holds_for_any_tokens() -> None:
    endpoint = Endpoint(base_url="http://h/v1", model="m", **PRICES)
    body = {"messages": [{"role": "user", "content": "你好"}], "n": 3, "max_tokens": 10}
    assert 6 + 3 * 10 * 2 <= highest_price(endpoint, body) <= 40 + 3 * 10 * 2
    assert highest_price(endpoint.model_copy(update={"price_in": None}), body) == 0
