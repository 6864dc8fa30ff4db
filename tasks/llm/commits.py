"""Group commit of answers: those that wait share one transaction."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from typing import NamedTuple

from storage.call_cache import CachedCall, CallCache, Payment


class _Entry(NamedTuple):
    calls: list[CachedCall]
    payment: Payment | None
    done: Future[dict[str, CachedCall]]


class CommitWriter:
    """A thread that writes answers to the call cache, all that wait at a time."""

    def __init__(self, cache: CallCache) -> None:
        self._cache = cache
        self._queue: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        # a plain thread: an executor refuses work at interpreter exit, when the last answers are stored
        self._thread = threading.Thread(target=self._write, name="llm-commits", daemon=True)
        self._thread.start()

    def submit(self, calls: list[CachedCall], payment: Payment | None) -> Future[dict[str, CachedCall]]:
        """Queues answers and what they cost; when both are on disk the future says which answers were there before."""
        done: Future[dict[str, CachedCall]] = Future()
        self._queue.put(_Entry(calls, payment, done))
        return done

    def close(self) -> None:
        """Writes what waits and ends the thread."""
        self._queue.put(None)
        self._thread.join()

    def _write(self) -> None:
        while (item := self._queue.get()) is not None:
            waiting = [item]
            while not self._queue.empty():
                more = self._queue.get()
                if more is None:
                    self._queue.put(None)
                    break
                waiting.append(more)
            try:
                earlier = self._cache.put_many(
                    [call for entry in waiting for call in entry.calls],
                    [entry.payment for entry in waiting if entry.payment is not None],
                )
            except BaseException as error:
                for entry in waiting:
                    entry.done.set_exception(error)
            else:
                for entry in waiting:
                    entry.done.set_result(earlier)
