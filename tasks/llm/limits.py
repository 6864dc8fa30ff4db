"""How many requests an endpoint gets at a time, and when it gets none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime

# A server that asks for more is overloaded or wrong; the request is tried again and may be told to wait again.
MAX_PAUSE_S = 120.0


class Limiter:
    """At most so many requests in flight; a pause holds all of them back.

    A pause never lowers the bound: cutting concurrency at every 429 cost a peer a factor of four, and the server says
    itself how long it wants to be left alone.
    """

    def __init__(self, max_in_flight: int) -> None:
        self._slots = asyncio.Semaphore(max_in_flight)
        self._resume_at = 0.0

    def pause(self, seconds: float) -> None:
        """Sends nothing more for so long; a shorter pause does not end a longer one."""
        self._resume_at = max(self._resume_at, time.monotonic() + min(seconds, MAX_PAUSE_S))

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """A place in flight, once there is one and no pause."""
        async with self._slots:
            while (wait := self._resume_at - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            yield


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
