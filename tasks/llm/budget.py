"""The budget of a run: a request is sent only while its highest possible price is still left."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from models.endpoints import Endpoint
from models.errors import BudgetError

_TEMPLATE_TOKENS = 16
"""Tokens that a chat template puts around a message at most."""


class Budget:
    """What a run may spend; for one event loop.

    A request reserves its highest price while it is under way, so that many at a time cannot exceed the budget
    together. Where the reservation does not fit, it waits for others to end, which nearly always cost less.

    Args:
        run: Name of the run.
        limit: The budget; None: no limit.
        spent: What the run has spent before.
    """

    def __init__(self, run: str, limit: float | None, spent: float) -> None:
        self._run, self._limit = run, limit
        self._spent, self._reserved = spent, 0.0
        self._under_way = 0
        self._settled = asyncio.Event()
        self._used_up = False

    async def reserve(self, most: float) -> None:
        """Sets the highest price of a request aside.

        Raises:
            BudgetError: It does not fit, and nothing is under way that could give back what it does not need. From
                then on nothing is sent any more.
        """
        if self._limit is not None:
            while self._used_up or self._spent + self._reserved + most > self._limit:
                if self._used_up or not self._under_way:
                    self._used_up = True
                    raise self._error(most, self._limit)
                self._settled.clear()
                await self._settled.wait()
        self._reserved += most
        self._under_way += 1

    def settle(self, most: float, cost: float) -> None:
        """Gives back what was set aside, and notes what was paid."""
        self._under_way -= 1
        # sums of floats: nothing under way is nothing reserved
        self._reserved = self._reserved - most if self._under_way else 0.0
        self._spent += cost
        self._settled.set()

    def _error(self, most: float, limit: float) -> BudgetError:
        return BudgetError(
            f"The budget of the run {self._run!r} is used up: {self._spent:.4f} of {limit:g} are spent, and the next "
            f"call could cost {most:.4f}.",
            safe="Everything that was paid for is stored.",
            next_step=f"Raise it: --set budget={max(2 * limit, limit + most):.4g} (what the run has spent counts).",
        )


def highest_price(endpoint: Endpoint, body: dict[str, Any]) -> float:
    """The most that a request can cost: a token is at least a byte of UTF-8, and an answer at most ``max_tokens``.

    0 where the endpoint has no prices: a budget is refused then.
    """
    if endpoint.price_in is None or endpoint.price_out is None:
        return 0.0
    messages = body["messages"]
    asked = sum(len(message["content"].encode("utf-8", "replace")) + _TEMPLATE_TOKENS for message in messages)
    asked += len(json.dumps(body.get("response_format") or ""))
    return float(asked * endpoint.price_in + body["n"] * body["max_tokens"] * endpoint.price_out) / 1e6
