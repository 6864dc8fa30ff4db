"""Single flight: one question that many ask at the same time is asked once."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import Future

from tasks.llm.calls import ChatSample

Flight = Future[ChatSample]


class Flights:
    """The samples that are being made, by hash.

    Claim first, look in the cache second: a flight is taken off only after its commit, so whoever finds no flight
    finds the stored answer.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flying: dict[str, Flight] = {}

    def claim(self, hashes: Iterable[str]) -> tuple[dict[str, Flight], dict[str, Flight]]:
        """The flights that are now the caller's to land, and those that others will land."""
        own: dict[str, Flight] = {}
        others: dict[str, Flight] = {}
        with self._lock:
            for hash_ in hashes:
                if (flight := self._flying.get(hash_)) is not None:
                    others[hash_] = flight
                else:
                    own[hash_] = self._flying[hash_] = Future()
        return own, others

    def land(self, flights: dict[str, Flight], samples: Iterable[ChatSample]) -> None:
        """Hands samples to all who wait for them."""
        with self._lock:
            for sample in samples:
                flight = flights[sample.request_hash]
                self._take_off(sample.request_hash, flight)
                if not flight.done():
                    flight.set_result(sample)

    def release(self, flights: dict[str, Flight]) -> None:
        """Gives up what has not landed; who waits for it may claim it."""
        with self._lock:
            for hash_, flight in flights.items():
                self._take_off(hash_, flight)
                flight.cancel()  # does nothing to a landed one

    def _take_off(self, hash_: str, flight: Flight) -> None:
        if self._flying.get(hash_) is flight:
            del self._flying[hash_]
