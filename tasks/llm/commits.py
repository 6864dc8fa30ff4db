"""Group commit of answers: those that wait share one transaction."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future

from storage.call_cache import CachedCall, CallCache


class CommitWriter:
    """A thread that writes answers to the call cache, all that wait at a time."""

    def __init__(self, cache: CallCache) -> None:
        self._cache = cache
        self._queue: queue.SimpleQueue[tuple[list[CachedCall], Future[None]] | None] = queue.SimpleQueue()
        # a plain thread: an executor refuses work at interpreter exit, when the last answers are stored
        self._thread = threading.Thread(target=self._write, name="llm-commits", daemon=True)
        self._thread.start()

    def submit(self, calls: list[CachedCall]) -> Future[None]:
        """Queues answers; the future is done when they are on disk."""
        done: Future[None] = Future()
        self._queue.put((calls, done))
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
                self._cache.put_many([call for calls, _ in waiting for call in calls])
            except BaseException as error:
                for _, done in waiting:
                    done.set_exception(error)
            else:
                for _, done in waiting:
                    done.set_result(None)
