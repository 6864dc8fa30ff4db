"""A run while it goes: its settings, its parts, and how a stage fans out over them."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from prefect import Task, get_run_logger
from prefect.exceptions import MissingContextError
from prefect.futures import PrefectFuture, wait

from flows.door import find_earlier, refuse_idle_roles, refuse_other_kind, refuse_other_policy, require_keys
from flows.runners import chosen_runner, require_runner
from flows.slots import shared_slots
from flows.watching import Listener, Watch
from models.base import Language, digest
from models.endpoints import RoleName
from models.errors import FactoryError, StageError
from models.records import PartRef
from models.settings import FactorySettings
from storage.catalog import build_catalog
from storage.locks import locked_run
from storage.manifests import ImportedFrom, Manifest, RunBook
from storage.parts import PartStore
from storage.roots import RESULTS_FOLDER, Root, data_root, machine_dir
from storage.usage import using
from tasks.llm.gateways import admit_calls, close_gateway
from tasks.work import Calls, add_calls, read_calls

PROJECT_ROOT = Path(__file__).resolve().parent.parent

ACCOUNTS = ("llm_calls", "exclusions", "failures")
"""Datasets whose parts stand beside the part of the stage that wrote them, under its key."""

Part = PartRef | PrefectFuture[PartRef]
"""A part that is there, or one that is being made."""


@dataclass(frozen=True)
class SeedPart:
    """A batch of seeds."""

    ref: PartRef
    language: Language
    first: int
    """Place of its first seed among all of its language."""


@dataclass
class Run:
    """A run in progress."""

    settings: FactorySettings
    store: PartStore
    book: RunBook
    watch: Watch
    calls: list[Calls] = field(default_factory=list)
    """Those of all batches so far, as they said themselves: whichever process they were in."""
    started: float = field(default_factory=time.monotonic)

    def fan_out(self, stage: Task[..., PartRef], inputs: Sequence[Sequence[Any]]) -> list[Part]:
        """Submit one task for each entry of ``inputs``; returns at once, a task starts when its inputs are there."""
        self.watch.begin(stage.name, len(inputs))
        futures: list[Part] = []
        for place, entry in enumerate(inputs, 1):
            bound = stage.with_options(
                result_storage=machine_dir(self.store.place) / RESULTS_FOLDER,
                task_run_name=f"{stage.name} {place}/{len(inputs)}",
            )
            future = bound.submit(self.settings, *entry)
            self.watch.follow(stage.name, future)
            futures.append(future)
        return futures

    def collect(self, *stages: Sequence[Part]) -> list[list[PartRef]]:
        """Wait for the parts of some stages and register them with the run.

        Raises:
            StageError: Batches failed. All others were finished first, and are stored.
        """
        futures = [part for parts in stages for part in parts if isinstance(part, PrefectFuture)]
        wait(futures)  # before this, .state is the server's lagging view (FINDINGS)
        failures = [future for future in futures if not future.state.is_completed()]
        collected = [[_result(part) for part in parts if _is_done(part)] for parts in stages]
        self.calls += [read_calls(future.state.message) for future in futures if future.state.is_completed()]
        self.register(ref for refs in collected for ref in refs)
        if failures:
            raise _explain(failures, len(futures), self.settings.run)
        return collected

    def register(self, refs: Iterator[PartRef] | Sequence[PartRef]) -> None:
        """Add parts to the run, with the accounts of their calls and of what they left out."""
        found = list(refs)
        beside = [self.store.find(dataset, ref.key) for ref in found for dataset in ACCOUNTS]
        self.book.add([*found, *(part for part in beside if part)])

    @property
    def calls_now(self) -> Calls:
        """The calls of the batches that were collected: made since this start, or answered by the call cache."""
        return add_calls(self.calls)


def _is_done(part: Part) -> bool:
    return isinstance(part, PartRef) or part.state.is_completed()


def _result(part: Part) -> PartRef:
    return part if isinstance(part, PartRef) else part.result()


def _explain(failures: Sequence[PrefectFuture[PartRef]], total: int, run: str) -> StageError:
    """One sentence for what failed: the first cause, and how many batches share the fate.

    A batch that waits for a failed one is not a cause.
    """
    # one that waited for a failed one is neither failed nor crashed: it is not a cause
    causes = [
        future.result(raise_on_failure=False)
        for future in failures
        if future.state.is_failed() or future.state.is_crashed()
    ]
    first: object = causes[0] if causes else "see the task runs in the Prefect UI"
    what, mend = str(first), ""
    if isinstance(first, FactoryError):
        what, mend = first.what, first.next_step
    elif isinstance(first, BaseException):
        what = f"{type(first).__name__}: {first}"
    return StageError(
        f"{len(failures)} of {total} batches did not finish: {what}",
        safe="All other batches and all completed calls are stored.",
        next_step=f"{mend or 'Mend the cause.'} Then `rpo resume {run}`, Retry in the UI or the same command again: "
        "only what is missing is made.",
    )


listener: Listener | None = None
"""Who follows the run in this process; the command line sets it for its progress bars."""


@contextmanager
def open_run(
    settings: FactorySettings,
    *,
    evaluates: str | None = None,
    benchmark: str | None = None,
    estimates: str | None = None,
    policy: str | None = None,
    previous: str | None = None,
    imported: ImportedFrom | None = None,
) -> Iterator[Run]:
    """Begin a run: lock its name, start its manifest; at the end close the gateway and refresh the catalog.

    Args:
        settings: The settings of the run.
        evaluates: The factory run whose models this one measures.
        benchmark: The benchmark that it measures them on.
        estimates: The factory run that this one is a sample of.
        policy: The training run whose policy this round samples from.
        previous: The run that it was trained on.
        imported: The file that this run is imported from: no model is asked but an author and a judge.

    Raises:
        SettingsError: The key of an endpoint is not set, or a role is given that no stage asks yet; or the name is
            that of a run of the other kind.
        StorageError: Another process is working on a run of that name in that folder (in a store it is waited for).
    """
    if imported is None:
        refuse_idle_roles(settings)
    require_keys(settings, get_args(RoleName) if imported is None else imported.asked)
    require_runner(settings)
    store = PartStore(data_root(settings.data))
    store.ensure_schemas()
    store.sweep()
    with locked_run(store.place, settings.run, _say) as require_lock, using(store.place, _say):
        of_kind = {"evaluates": evaluates, "benchmark": benchmark, "estimates": estimates}
        if (there := find_earlier(settings)) is not None:
            refuse_other_kind(there, settings, of_kind, imported)
            refuse_other_policy(there, policy)
        manifest = _begin_manifest(settings).model_copy(
            update={**of_kind, "policy": policy, "previous": previous, "imported": imported}
        )
        book = RunBook(store.place, manifest, require_lock=require_lock)
        # what the imports have made stays: looking through it again and again took a fourth of the CPU of a call
        gc.freeze()
        admit_calls()
        try:
            with (
                shared_slots(settings),
                chosen_runner(settings),
                Watch(settings.run, store, listener) as watch,
            ):
                yield Run(settings, store, book, watch)
        except BaseException as error:
            try:
                # of a run that another machine has taken over this is refused
                book.finish("failed", failure=_say_why(error))
            finally:
                close_gateway(stopped=not isinstance(error, Exception))
                with suppress(FactoryError):  # of a full disk or a damaged folder the run's own error says more
                    _refresh_catalog(store.place)
            raise
        close_gateway()
        _refresh_catalog(store.place)


def _say_why(error: BaseException) -> str:
    """What ended a run, for its manifest."""
    if not isinstance(error, Exception):
        return "It was stopped."
    return str(error) if isinstance(error, FactoryError) else f"{type(error).__name__}: {error}"


def _say(text: str) -> None:
    """Tell the person at the terminal, where Prefect's log is not shown, and those who look at the UI."""
    print(text, file=sys.stderr, flush=True)
    with suppress(MissingContextError):
        get_run_logger().warning(text)


def _refresh_catalog(root: Root) -> None:
    """Build the catalog: in a child process where this one has not needed DuckDB, which would keep 40 MB of it."""
    if "duckdb" not in sys.modules:
        command = [sys.executable, "-m", "storage.catalog", str(root.resolve() if isinstance(root, Path) else root)]
        if subprocess.run(command, cwd=PROJECT_ROOT, stderr=subprocess.DEVNULL).returncode == 0:
            return
    # and where the child failed: its error is told from here
    build_catalog(root)


def _begin_manifest(settings: FactorySettings) -> Manifest:
    """An empty manifest; an earlier run of the name gives way, its parts stay and are found again by their keys."""
    values = settings.model_dump(mode="json")
    return Manifest(
        run=settings.run,
        settings=values,
        settings_hash=digest(values),
        started_at=datetime.now(UTC),
        finished_at=None,
        status="running",
        parts=[],
        summary=None,
    )
