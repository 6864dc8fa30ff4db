"""One address of an endpoint: what is in flight there, and whether it is to be left alone for a while."""

from __future__ import annotations

import logging
import time

import aiohttp

log = logging.getLogger(__name__)

IN_A_ROW = 4
"""Failures without an answer in between, and no fewer than half of what is in flight, after which an address as a
whole is held to be unwell.

One failure says little of a server: where 5 % of answers are refused or broken at random, to pause for each of them
halves the speed. Neither do four: answers come in waves, and so do the next requests; of 256 sent in one moment a dozen
are refused in that moment, long before the first answer. A server that is down or over its limit fails the half of
them. What it costs: so many requests, refused, before the pause, which every one of them waits for by itself anyway.
"""

FIRST_REST_S, LONGEST_REST_S = 1.0, 30.0


class Address:
    """A server of an endpoint, as the gateway's loop sees it.

    Two ways of being left alone. A *pause* was asked for (``Retry-After``): nothing is sent until it is over. A *rest*
    is our guess that the server is down: it holds only while another address is well, doubles with each failure after
    it, and is followed by one request alone, whose answer ends it.

    Args:
        url: Base address; a managed server has another one after a restart.
        bound: Requests in flight at most; a pause never lowers it, as cutting concurrency at every 429 cost a peer a
            factor of four.
    """

    def __init__(self, url: str, bound: int) -> None:
        self.url, self.bound = url, bound
        self.taken = 0
        self.last_turn = 0
        self.session: aiohttp.ClientSession | None = None
        self.session_url = ""
        self._failed_in_a_row = 0
        self._paused_until = 0.0
        self._rest_s, self._rests_until = 0.0, 0.0

    def note_answer(self) -> None:
        """It answers: all is well."""
        self._failed_in_a_row, self._rest_s = 0, 0.0

    def note_failure(self, wait_s: float | None) -> None:
        """A request failed; ``wait_s``: the server asked to be left alone so long."""
        self._failed_in_a_row += 1
        if self._failed_in_a_row < max(IN_A_ROW, self.taken / 2):
            return
        now = time.monotonic()
        if wait_s is not None:
            if now >= self._paused_until:
                log.warning(
                    "%s refuses one request after the other: nothing is sent there for %.1f s", self.url, wait_s
                )
            self._paused_until = max(self._paused_until, now + wait_s)
        elif now >= self._rests_until:  # those that were sent before a rest and fail in it do not lengthen it
            self._rest_s = min(max(2 * self._rest_s, FIRST_REST_S), LONGEST_REST_S)
            self._rests_until = now + self._rest_s
            log.warning("%s does not answer: where others do, it is left alone for %.0f s", self.url, self._rest_s)

    def is_well(self, now: float) -> bool:
        """Whether it may get requests although others could take them; after a rest: one at a time."""
        return not self._rest_s or (now >= self._rests_until and not self.taken)

    def has_room(self, now: float) -> bool:
        """Whether a request can be sent there now."""
        return self.taken < self.bound and now >= self._paused_until

    def changes_at(self, now: float) -> float | None:
        """When a pause or a rest ends; None: there is none."""
        return min((at for at in (self._paused_until, self._rests_until) if at > now), default=None)
