"""A batch as a Prefect task: part references in, one part reference out, made once.

``stage_task`` is the only place that knows about keys, caching and accounting, so that a stage is a plain function
from a ``Batch`` and its inputs to records.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from prefect import Task, task
from prefect.cache_policies import CachePolicy
from prefect.client.schemas import TaskRun
from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext
from pydantic import BaseModel

from models.base import digest
from models.errors import FactoryError, StageError
from models.records import Exclusion, LlmCall, PartRef
from models.settings import FactorySettings, RoleName
from storage.parts import PartStore
from tasks.identity import part_key, stage_identity
from tasks.llm.calls import ChatRequest, ChatSample
from tasks.llm.gateway import open_gateway

Row = TypeVar("Row", bound=BaseModel)
Rows = Iterable[BaseModel]

RESULTS_FOLDER = "prefect"
"""Folder under DATA where Prefect keeps the part references of finished task runs."""


_counting = threading.Lock()
_counted: Counter[str] = Counter()


def calls_of_this_process() -> tuple[int, int]:
    """LLM calls that batches in this process made, and those that the call cache answered."""
    with _counting:
        return _counted["made"], _counted["cached"]


class Batch:
    """What a stage works with: the settings, the parts, and the models."""

    def __init__(self, stage: str, settings: FactorySettings, key: str = "", *, version: int = 1) -> None:
        self.stage, self.settings, self.key = stage, settings, key
        self.store = PartStore(settings.data_dir)
        self.calls: list[LlmCall] = []
        self.left_out: Counter[tuple[str, str]] = Counter()
        self._identity = stage_identity(stage, settings, version=version)

    def read(self, ref: PartRef, model: type[Row]) -> list[Row]:
        """The rows of a part."""
        return self.store.read(ref, model)

    def read_upstream(self, ref: PartRef, dataset: str, model: type[Row]) -> list[Row]:
        """The rows of the part of ``dataset`` that ``ref`` was made from."""
        return self.store.read(self.store.upstream(ref, dataset), model)

    def row_id(self, *origin: object) -> str:
        """An id for a row: of what it was made from, by which settings. Independent of how work is cut in batches."""
        return digest([self._identity, *origin], length=16)

    def leave_out(self, reason: str, what: str) -> None:
        """Count one of ``what`` that the part will not hold; it is accounted for beside the part."""
        self.left_out[reason, what] += 1

    def ask(self, role: RoleName, requests: Sequence[ChatRequest]) -> list[list[ChatSample]]:
        """Put requests to the model that plays ``role``; the answers come in the order of the requests.

        Raises:
            StageError: Some calls failed for good. Those that were completed are in the call cache.
        """
        gateway = open_gateway(self.settings)
        answers = gateway.complete(role, requests, stage=self.stage)
        samples = [sample for answer in answers for sample in answer]
        self.calls += gateway.accounts(answers, role, self.stage)
        with _counting:
            for sample in samples:
                _counted["cached" if sample.cached else "made"] += 1
        failed = [sample.error for sample in samples if sample.error]
        if failed:
            raise StageError(
                f"{len(failed)} of {len(samples)} calls to the {role} failed; the first: {failed[0]}.",
                safe="The completed calls are kept and will not be made again.",
                next_step="Run again when the endpoint is well, or retry this flow run in the Prefect UI.",
            )
        return answers


def _worth_another_try(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether Prefect should retry: not what the factory has already tried and explained."""
    try:
        state.result()
    except FactoryError:
        return False
    except Exception:
        return True
    return True


def _references(values: Iterable[object]) -> list[PartRef]:
    found: list[PartRef] = []
    for value in values:
        if isinstance(value, PartRef):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _references(value)
    return found


def _make(batch: Batch, produces: str, sources: list[PartRef], made: Rows | PartRef) -> PartRef:
    """Write what a stage has made, unless it has written its part itself."""
    if isinstance(made, PartRef):
        return made
    rows = list(made)  # all calls are made before anything is written
    # the account first: a part whose calls are not accounted for must not exist
    if batch.calls and batch.store.find("llm_calls", batch.key) is None:
        batch.store.write("llm_calls", batch.key, batch.calls, inputs=sources)
    if batch.left_out and batch.store.find("exclusions", batch.key) is None:
        left_out = [
            Exclusion(stage=batch.stage, reason=reason, what=what, count=count)
            for (reason, what), count in sorted(batch.left_out.items())
        ]
        batch.store.write("exclusions", batch.key, left_out, inputs=sources)
    return batch.store.write(produces, batch.key, rows, inputs=sources)


def stage_task(
    produces: str, *, also: Sequence[str] = (), version: int = 1
) -> Callable[[Callable[..., Rows | PartRef]], Task[..., PartRef]]:
    """Turn ``function(batch, *inputs) -> rows`` into a Prefect task ``(settings, *inputs) -> PartRef``.

    The part is the truth. If it is there, the task returns it without work; a result that Prefect remembers for a part
    that is gone is forgotten, so the task runs again.

    Args:
        produces: The dataset of the part.
        also: Datasets that get a part of the same key; without all of them the work is not done.
        version: Goes up when the stage makes other rows of the same inputs.
    """

    def wrap(function: Callable[..., Rows | PartRef]) -> Task[..., PartRef]:
        stage = function.__name__

        def find(store: PartStore, key: str) -> PartRef | None:
            complete = all(store.find(dataset, key) for dataset in also)
            return store.find(produces, key) if complete else None

        def key_of(settings: FactorySettings, inputs: Sequence[object]) -> str:
            extra = [value for value in inputs if isinstance(value, int | str)]
            return part_key(stage, settings, _references(inputs), *extra, version=version)

        def cache_key(_context: TaskRunContext, parameters: dict[str, Any]) -> str:
            settings: FactorySettings = parameters["settings"]
            key = key_of(settings, parameters["inputs"])
            name = f"{produces}-{key}"
            store = PartStore(settings.data_dir)
            if find(store, key) is None:
                (store.root / RESULTS_FOLDER / name).unlink(missing_ok=True)
            return name

        def run(settings: FactorySettings, *inputs: Any) -> PartRef:
            key = key_of(settings, inputs)
            batch = Batch(stage, settings, key, version=version)
            part = find(batch.store, key)
            return part or _make(batch, produces, _references(inputs), function(batch, *inputs))

        run.__name__ = run.__qualname__ = stage
        run.__doc__ = function.__doc__
        run.__module__ = function.__module__
        return task(
            name=stage,
            cache_policy=CachePolicy.from_cache_key_fn(cache_key),
            persist_result=True,
            result_serializer="json",
            retries=1,
            retry_delay_seconds=2,
            retry_condition_fn=_worth_another_try,
        )(run)

    return wrap
