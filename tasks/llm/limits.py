"""Which request is sent next, and to which address: the one with the fewest in flight."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from tasks.llm.addresses import Address

# A server that asks for more is overloaded or wrong; the request is tried again and may be told to wait again.
MAX_PAUSE_S = 120.0


@dataclass(slots=True)
class Place:
    """A place in flight; ``keep_s``: it stays taken so long after its request has left it."""

    address: Address
    keep_s: float = 0.0


class Limiter:
    """The queue before an endpoint's addresses, from one event loop.

    Args:
        addresses: Each has its own bound: a second server doubles what is in flight.
    """

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses
        self._waiting: deque[tuple[asyncio.Future[Address], Address | None]] = deque()
        self._turn = 0
        self._alarm: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def place(self, after: Address | None = None) -> AsyncIterator[Place]:
        """A place in flight, once there is one.

        Args:
            after: Where this request has failed: it goes elsewhere if there is room, and before those that were never
                sent (what was begun is finished first).
        """
        place = Place(await self._take(after))
        try:
            yield place
        finally:
            if place.keep_s:
                asyncio.get_running_loop().call_later(place.keep_s, self._give_back, place.address)
            else:
                self._give_back(place.address)

    async def _take(self, after: Address | None) -> Address:
        future: asyncio.Future[Address] = asyncio.get_running_loop().create_future()
        if after is None:
            self._waiting.append((future, None))
        else:
            self._waiting.appendleft((future, after))
        self._serve()
        try:
            return await future
        except asyncio.CancelledError:
            if not future.cancelled():  # it was served and cancelled in the same turn of the loop
                self._give_back(future.result())
            raise

    def _give_back(self, address: Address) -> None:
        address.taken -= 1
        self._serve()

    def _serve(self) -> None:
        """Hands places to those who wait, in their order."""
        while self._waiting:
            future, after = self._waiting[0]
            if not future.done():
                address = self._choose(after)
                if address is None:
                    self._set_alarm()
                    return
                self._turn += 1
                address.taken, address.last_turn = address.taken + 1, self._turn
                future.set_result(address)
            self._waiting.popleft()

    def _choose(self, after: Address | None) -> Address | None:
        now = time.monotonic()
        # where none is well, there is nobody better to ask
        well = [address for address in self._addresses if address.is_well(now)] or self._addresses
        free = [address for address in well if address.has_room(now)]
        return min(free, key=lambda address: (address is after, address.taken, address.last_turn), default=None)

    def _set_alarm(self) -> None:
        """Comes back when a pause or a rest ends: perhaps nothing is in flight whose end would do it."""
        now = time.monotonic()
        at = min((at for address in self._addresses if (at := address.changes_at(now)) is not None), default=None)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if at is not None:
            self._alarm = asyncio.get_running_loop().call_later(at - now, self._serve)


def retry_after(value: str | None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for, as a number or an HTTP date; None where it is unreadable."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        # a date without a zone is GMT (RFC 9110)
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        seconds = date.timestamp() - time.time()
    if seconds != seconds:  # nan
        return None
    return min(max(seconds, 0.0), MAX_PAUSE_S)
