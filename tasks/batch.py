"""A batch as a Prefect task: part references in, one part reference out, made once.

``stage_task`` is the only place that knows about keys, caching and accounting, so that a stage is a plain function
from a ``Batch`` and its inputs to records.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, cast

from prefect import Task, task
from prefect.cache_policies import CachePolicy
from prefect.client.schemas import TaskRun
from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext
from prefect.states import Completed
from pydantic import BaseModel

from models.base import digest
from models.endpoints import RoleName
from models.errors import FactoryError, StageError
from models.records import Exclusion, LlmCall, PartRef
from models.settings import FactorySettings
from storage.parts import PartStore
from storage.roots import RESULTS_FOLDER, data_root, machine_dir
from tasks.failure_counts import FailureCounts
from tasks.identity import incomplete_key, part_key, stage_identity
from tasks.llm.calls import ChatRequest, ChatSample, Mode
from tasks.llm.gateways import open_gateway
from tasks.work import describe_work, place_of

Row = TypeVar("Row", bound=BaseModel)
Rows = Iterable[BaseModel]

FEW_CALLS = 10
"""A share of fewer calls says nothing: of the first two of a batch, one lost is half."""

_UNWELL = "See that the endpoint is well."
_TOO_LONG = "Serve the model with a larger context, or ask for less: fewer turns, a smaller max_tokens."


def batches_at_once(settings: FactorySettings) -> int:
    """Batches of a stage that hold rows at a time in a process; more would only wait for its share of an endpoint.

    A row makes a call or more, and a batch ends with its last one: where one call in twenty fails, most batches last
    four or five times as long as a call. Five fillings of the busiest endpoint keep it full nevertheless; with two it
    was half empty. Each stage counts for itself: where two ask different endpoints, neither holds up the other. A batch
    that waits for a call of another one (the same question) cannot wait for ever: who makes the call is at work.
    """
    endpoints = [settings.share(name) for name in settings.endpoints]
    slots = max(endpoint.max_concurrency * max(1, len(endpoint.base_urls)) for endpoint in endpoints)
    return 1 + math.ceil(5 * slots / settings.batch_size)


class Batch:
    """What a stage works with: the settings, the parts, and the models."""

    def __init__(self, stage: str, settings: FactorySettings, key: str = "", *, version: int = 1) -> None:
        self.stage, self.settings, self.key = stage, settings, key
        self.store = PartStore(data_root(settings.data))
        self.calls: list[LlmCall] = []
        self.left_out: Counter[tuple[str, str]] = Counter()
        self.failures = FailureCounts(stage)
        self.lost: list[str] = []
        """The calls that failed for good, by their request hashes."""
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

    def ask(
        self, role: RoleName, requests: Sequence[ChatRequest], *, mode: Mode | None = None, round_: int = 1
    ) -> list[list[ChatSample]]:
        """Put requests to the model that plays ``role``; the answers come in the order of the requests.

        A call that failed for good is a sample with ``error`` and without text: the stage records what is missing for
        it and goes on.

        Args:
            role: Who is asked.
            requests: What.
            mode: How an object is asked for; None: free text is.
            round_: From 2: asked again, with what was wrong with the answer.

        Raises:
            StageError: Too many calls of this batch failed for good. Those that were completed are in the call cache.
        """
        gateway = open_gateway(self.settings)
        answers = gateway.complete(role, requests, stage=self.stage)
        samples = [sample for answer in answers for sample in answer]
        self.calls += gateway.accounts(answers, role, self.stage, mode=mode, round_=round_)
        for sample in samples:
            for failure in sample.failures:
                self.failures.count(role, sample.model, failure.kind, failure.why)
        failed = [sample for sample in samples if sample.error]
        self.lost += [sample.request_hash for sample in failed]
        if failed and self._lost_too_many():
            raise StageError(
                f"{len(self.lost)} of {len(self.calls)} calls of a batch failed, more than max_failed_share = "
                f"{self.settings.max_failed_share:g}; the last to the {role}: {failed[-1].error}.",
                safe="The completed calls are kept and will not be made again.",
                next_step=_TOO_LONG if failed[-1].error_kind == "too_long" else _UNWELL,
            )
        for sample in failed:
            self.failures.lose(role, sample.model, str(sample.error_kind), str(sample.error))
        return answers

    def _lost_too_many(self) -> bool:
        """Whether the endpoint is to blame, rather than a few calls: none was answered, or too many were lost."""
        lost, made, share = len(self.lost), len(self.calls), self.settings.max_failed_share
        return share < 1 and (lost == made or lost > share * max(made, FEW_CALLS))


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
    left_out = [
        Exclusion(stage=batch.stage, reason=reason, what=what, count=count)
        for (reason, what), count in sorted(batch.left_out.items())
    ]
    key = incomplete_key(batch.key, batch.lost) if batch.lost else batch.key
    # the accounts first: a part whose calls are not accounted for must not exist
    accounts: dict[str, Sequence[BaseModel]] = {
        "llm_calls": batch.calls,
        "exclusions": left_out,
        "failures": batch.failures.records(),
    }
    for dataset, records in accounts.items():
        if records and batch.store.find(dataset, key) is None:
            batch.store.write(dataset, key, records, inputs=sources)
    return batch.store.find(produces, key) or batch.store.write(produces, key, rows, inputs=sources)


def stage_task(
    produces: str, *, also: Sequence[str] = (), version: int = 1
) -> Callable[[Callable[..., Rows | PartRef]], Task[..., PartRef]]:
    """Turn ``function(batch, *inputs) -> rows`` into a Prefect task ``(settings, *inputs) -> PartRef``.

    The part is the truth. If it is there, the task returns it without work; a result that Prefect remembers for a part
    that is gone is forgotten, so the task runs again. A part that calls are missing from has a key of its own: the next
    run does not find it, and asks for what is missing again.

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
            store = PartStore(data_root(settings.data))
            if find(store, key) is None:
                (machine_dir(store.place) / RESULTS_FOLDER / name).unlink(missing_ok=True)
            return name

        def run(settings: FactorySettings, *inputs: Any) -> PartRef:
            key = key_of(settings, inputs)
            batch = Batch(stage, settings, key, version=version)
            if part := find(batch.store, key):
                return part
            with place_of(stage).place(of=batches_at_once(settings)):
                part = _make(batch, produces, _references(inputs), function(batch, *inputs))
            if TaskRunContext.get() is None:  # called as a plain function: nobody to say it to
                return part
            # Prefect takes the state for its data
            return cast("PartRef", Completed(message=describe_work(part.rows, batch.calls), data=part))

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
