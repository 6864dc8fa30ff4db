"""What is seen of a run while it goes: bars on a terminal; progress, tables and a few lines of log in the Prefect UI.

Prefect shows each batch as a task run. Here the batches of a stage are one thing: a progress artifact that moves, a
table at its end, a line of log at both ends. One thread does all of it, as each artifact is a request to the server:
what a batch has to do for it is to put itself into a queue.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, cast
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture

from models.records import PartRef
from storage.parts import PartStore
from storage.stage_counts import StageCounts, count_stage
from tasks.work import Calls, add_calls, read_calls

Listener = Callable[[str, int, int], None]
"""Told a stage, how many more parts it will make, and how many more it has made."""

PACE_S = 3.0
"""A progress artifact moves this often at most: each time is a request and an event, 20 ms of the server."""
STEP = 5
"""And by so many percent at least."""
_FETCH_S = 30.0
_END_S = 30.0


class _Begun(NamedTuple):
    stage: str
    planned: int


class _Ended(NamedTuple):
    stage: str
    future: PrefectFuture[PartRef]


@dataclass
class _Stage:
    """A stage under way."""

    name: str
    began: float = field(default_factory=time.monotonic)
    planned: int = 0
    failed: int = 0
    made: list[PartRef] = field(default_factory=list)
    calls: list[Calls] = field(default_factory=list)
    artifact: UUID | None = None
    shown: int = 0
    told: bool = False

    @property
    def ended(self) -> bool:
        return len(self.made) + self.failed == self.planned

    @property
    def percent(self) -> int:
        return 100 * len(self.made) // self.planned if self.planned else 100


class Watch:
    """Follows the stages of a run, on a thread of its own while it is entered.

    Args:
        run: Name of the run.
        store: Its parts.
        listener: The bars of a terminal.
    """

    def __init__(self, run: str, store: PartStore, listener: Listener | None = None) -> None:
        self._run, self._store, self._listener = run, store, listener
        self._stages: dict[str, _Stage] = {}
        self._queue: queue.SimpleQueue[_Begun | _Ended | None] = queue.SimpleQueue()
        self._shown_at, self._complained = time.monotonic(), False
        # without a flow run, as in a test, there is no UI
        self._log = get_run_logger() if FlowRunContext.get() is not None else None
        # in the context of the flow run: its artifacts are its own
        run_in = contextvars.copy_context().run
        self._thread = threading.Thread(target=run_in, args=(self._follow,), name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        # what is left is shown first, unless the run was stopped: then somebody waits
        if kind is None or issubclass(kind, Exception):
            self._thread.join(_END_S)

    def begin(self, stage: str, planned: int) -> None:
        """So many batches of a stage are about to be submitted, perhaps more than before."""
        self._queue.put(_Begun(stage, planned))

    def follow(self, stage: str, future: PrefectFuture[PartRef]) -> None:
        """Watch a batch that was submitted."""
        # only that: a callback runs in a thread of the engine, Ray's must not wait for Ray
        future.add_done_callback(lambda ended: self._queue.put(_Ended(stage, ended)))

    def _follow(self) -> None:
        going = True
        while going:
            going = self._take()
            try:
                self._show(at_end=not going)
            except Exception as error:  # a server that is busy or gone: the run goes on without its pictures
                self._complain(error)

    def _take(self) -> bool:
        """Wait for news, and take in all there is; whether the run goes on."""
        try:
            news = self._queue.get(timeout=PACE_S)
            while news is not None:
                self._note(news)
                news = self._queue.get_nowait()
        except queue.Empty:
            return True
        return False

    def _note(self, news: _Begun | _Ended) -> None:
        stage = self._stages.setdefault(news.stage, _Stage(news.stage))
        if isinstance(news, _Begun):
            stage.planned, stage.told = stage.planned + news.planned, False
            self._say(f"{stage.name}: {news.planned} batches")
            self._tell(stage.name, news.planned, 0)
        elif (part := _part_of(news.future)) is None:
            stage.failed += 1
        else:
            stage.made.append(part)
            stage.calls.append(read_calls(news.future.state.message))
            self._tell(stage.name, 0, 1)

    def _complain(self, error: Exception) -> None:
        if self._log is not None and not self._complained:
            self._complained = True
            self._log.warning("Artifacts of this run are not shown: %s: %s", type(error).__name__, error)

    def _tell(self, stage: str, planned: int, done: int) -> None:
        if self._listener is not None:
            self._listener(stage, planned, done)

    def _say(self, line: str) -> None:
        if self._log is not None:
            self._log.info("%s", line)

    def _show(self, *, at_end: bool) -> None:
        if self._log is None:
            return
        due = at_end or time.monotonic() - self._shown_at >= PACE_S
        for stage in self._stages.values():
            if stage.artifact is None and stage.planned:
                made = create_progress_artifact(
                    progress=0.0, key=self._key(stage, "progress"), description=f"{stage.name} of the run {self._run}"
                )
                stage.artifact = cast("UUID", made)  # typed as a coroutine too, for callers that are asynchronous
            if due and stage.artifact is not None and abs(stage.percent - stage.shown) >= STEP:
                self._shown_at = time.monotonic()
                self._move(stage)
            if stage.ended and not stage.told:
                stage.told = True
                self._conclude(stage)

    def _move(self, stage: _Stage) -> None:
        assert stage.artifact is not None  # noqa: S101  (narrows the type)
        stage.shown = stage.percent
        update_progress_artifact(stage.artifact, progress=float(stage.percent))

    def _conclude(self, stage: _Stage) -> None:
        """A stage has ended: its table, its last state, its line."""
        seconds = time.monotonic() - stage.began
        counts, calls = count_stage(self._store, stage.made), add_calls(stage.calls)
        failed = f", {stage.failed} failed" if stage.failed else ""
        self._say(
            f"{stage.name}: {len(stage.made)} of {stage.planned} batches{failed}, {counts.rows} rows, "
            f"{calls.made} calls made and {calls.cached} from the call cache, {seconds:.0f} s"
        )
        if stage.shown != stage.percent:
            self._move(stage)
        create_table_artifact(
            table=tabulate_stage(counts, calls, stage.failed),
            key=self._key(stage, "stage"),
            description=f"What {stage.name} of the run {self._run} came to",
        )

    def _key(self, stage: _Stage, what: str) -> str:
        return f"{what}-{stage.name}-{self._run}".replace("_", "-")


def tabulate_stage(counts: StageCounts, calls: Calls, failed: int) -> list[dict[str, object]]:
    """The table of a stage: its parts and rows, its verdicts, its calls, and what went wrong."""
    rows: dict[str, object] = {"batches finished": counts.parts, "batches failed": failed, "rows": counts.rows}
    rows |= {f"verdict {verdict}": count for verdict, count in sorted(counts.verdicts.items())}
    if counts.calls:
        rows |= {
            "calls": counts.calls,
            "calls made now": calls.made,
            "calls from the call cache now": calls.cached,
            "calls lost": counts.lost,
            "cost": "unknown" if counts.cost is None else round(counts.cost, 6),
        }
    rows |= {f"failure {kind}": count for kind, count in sorted(counts.failures.items())}
    return [{"what": what, "how many": value} for what, value in rows.items()]


def _part_of(ended: PrefectFuture[PartRef]) -> PartRef | None:
    """The part that a task run which has just ended has made; None: it has failed."""
    try:
        ended.wait(_FETCH_S)  # before this, .state asks the server
    except (CancelledError, asyncio.CancelledError):  # by the pool, or by Prefect's engine
        return None
    return ended.result() if ended.state.is_completed() else None
