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


@dataclass(slots=True)
class _Waiter:
    """A request that waits for a place; ``after``: where it has failed."""

    given: asyncio.Future[Address]
    after: Address | None


class Limiter:
    """The queues before an endpoint's addresses, from one event loop.

    Args:
        addresses: Each has its own bound: a second server doubles what is in flight.
    """

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses
        self._again: list[_Waiter] = []
        self._fresh: deque[_Waiter] = deque()
        self._turn = 0
        self._alarm: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def place(self, after: Address | None = None) -> AsyncIterator[Place]:
        """A place in flight, once there is one.

        Args:
            after: Where this request has failed: it goes elsewhere if another address is well, and before those that
                were never sent (what was begun is finished first).
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
        waiter = _Waiter(asyncio.get_running_loop().create_future(), after)
        (self._fresh if after is None else self._again).append(waiter)
        self._serve()
        try:
            return await waiter.given
        except asyncio.CancelledError:
            if not waiter.given.cancelled():  # it was served and cancelled in the same turn of the loop
                self._give_back(waiter.given.result())
            raise

    def _give_back(self, address: Address) -> None:
        address.taken -= 1
        self._serve()

    def _serve(self) -> None:
        """Hands places to those who wait."""
        # one moment for all of it: a pause that ended between two looks at the clock would be neither over for those
        # who wait nor still to be waited for, and where nothing is in flight nobody would come back
        now = time.monotonic()
        if any(address.has_room(now) for address in self._addresses):
            # one that is to go elsewhere must not hold up those behind it
            self._again = [waiter for waiter in self._again if not self._hand_place(waiter, now)]
        while self._fresh and self._hand_place(self._fresh[0], now):
            self._fresh.popleft()
        if self._fresh or self._again:
            self._set_alarm(now)

    def _hand_place(self, waiter: _Waiter, now: float) -> bool:
        """Whether the waiter need not wait any more."""
        if waiter.given.done():
            return True
        # where none is well, there is nobody better to ask
        well = [address for address in self._addresses if address.is_well(now)] or self._addresses
        others = [address for address in well if address is not waiter.after] or well
        free = [address for address in others if address.has_room(now)]
        if not free:
            return False
        self._turn += 1
        address = min(free, key=lambda address: (address.taken, address.last_turn))
        address.taken, address.last_turn = address.taken + 1, self._turn
        waiter.given.set_result(address)
        return True

    def _set_alarm(self, now: float) -> None:
        """Comes back when a pause or a rest ends: perhaps nothing is in flight whose end would do it."""
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
