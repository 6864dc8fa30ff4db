"""What a batch says of its calls, and how many batches of a stage are at work in a process."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from models.records import LlmCall


class Calls(NamedTuple):
    """LLM calls that were made, and calls that the call cache answered."""

    made: int = 0
    cached: int = 0


def add_calls(calls: Iterable[Calls]) -> Calls:
    """All together."""
    made = cached = 0
    for item in calls:
        made, cached = made + item.made, cached + item.cached
    return Calls(made, cached)


_SAID = re.compile(r"(\d+) calls made, (\d+) from the call cache$")


def describe_work(rows: int, calls: Sequence[LlmCall]) -> str:
    """What a batch that has made its part says: the message of its task run, in the UI and for ``read_calls``."""
    cached = sum(call.cached for call in calls)
    return f"{rows} rows; {len(calls) - cached} calls made, {cached} from the call cache"


def read_calls(message: str | None) -> Calls:
    """The calls of a batch, from its message. A part that was there already has none: it made no call now.

    The message is how the counts of all processes of a run come together, whichever engine they are of.
    """
    said = _SAID.search(message or "")
    return Calls(int(said[1]), int(said[2])) if said else Calls()


class _Places:
    """How many batches of one stage are at work in this process: those that wait hold a thread and no rows."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = 0

    @contextmanager
    def place(self, of: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._taken < of)
            self._taken += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken -= 1
                self._changed.notify()


# of the process, not of the task: a task goes to other processes as a copy, and locks do not
_places: defaultdict[str, _Places] = defaultdict(_Places)
_places_lock = threading.Lock()


def place_of(stage: str) -> _Places:
    """The places of a stage in this process."""
    with _places_lock:
        return _places[stage]
