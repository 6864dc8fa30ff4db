"""``rpo resume``: the last run that failed or crashed goes on, where it ran before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterParentTaskRunId,
)
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import AwaitingRetry
from prefect.utilities.urls import url_for
from pydantic import BaseModel, Field, ValidationError

from flows.estimate import name_sample
from models.base import Strict
from models.errors import SettingsError
from models.evaluation import BenchmarkSettings, EvaluationSettings
from models.imports import ImportSettings
from models.loading import validate_as
from models.settings import FactorySettings
from models.training import TrainingSettings
from storage.manifests import manifest_path
from storage.roots import data_root

PAGE = 200


@dataclass(frozen=True)
class Resumable:
    """A flow that a command or a deployment begins with."""

    command: str
    """What begins it in a terminal."""
    settings: type[BaseModel] = FactorySettings
    """Of its parameter ``settings``."""
    name: Callable[[Any], str] = attrgetter("run")
    """What its settings make is called so, in the data folder."""


FLOWS = {
    "demo": Resumable("rpo demo --train"),
    "factory": Resumable("rpo run"),
    "stage": Resumable("rpo run"),
    "estimate": Resumable("rpo run --dry-run", name=lambda settings: name_sample(settings.run)),
    "import": Resumable("rpo import", ImportSettings, lambda settings: f"import-{settings.kind}"),
    "import-verdicts": Resumable("rpo import verdicts"),
    "import-responses": Resumable("rpo import responses"),
    "train": Resumable("rpo train", TrainingSettings, attrgetter("training_name")),
    "evaluation": Resumable("rpo evaluate", EvaluationSettings, attrgetter("evaluation")),
    "benchmark": Resumable("rpo evaluate --benchmark", BenchmarkSettings, attrgetter("evaluation")),
}
"""By the names that Prefect knows them by."""


class Found(NamedTuple):
    """A run of one of our flows."""

    flow: str
    name: str
    """Of what it makes."""
    run: FlowRun
    state: State[Any]


class Resumed(Strict):
    """What ``rpo resume`` found, and what becomes of it."""

    run: str
    flow: str
    flow_run: str
    state: str
    message: str
    url: str | None
    by: Literal["worker", "this process", "nobody"]
    """Who goes on with it; nobody: there is nothing to resume."""
    workers: int = 0
    """Workers of its pool that are online."""
    may_be_gone: bool = False
    """It is shown as running, and if its process is gone nobody says so."""
    parameters: dict[str, Any] = Field(default={}, exclude=True)
    """For this process: what it was started with, ``settings`` as their model."""


def resume_run(name: str | None) -> Resumed:
    """Find the last run, or the last one of a name, and hand it back to a worker where it came from a deployment.

    Args:
        name: Name of the run, training run or evaluation; None: whichever was the last.

    Raises:
        SettingsError: Prefect knows no such run, or its data folder is not here.
    """
    with get_client(sync_client=True) as client:
        found = next((found for found in _runs(client) if name in (None, found.name)), None)
        if found is None:
            raise SettingsError(
                f"Prefect knows no run{f' {name!r}' if name else ''} of the factory at {client.api_url}.",
                safe="Nothing was started.",
                next_step="Run the same command again: it makes only what is missing.",
            )
        last, state = found.run, found.state
        resumed = Resumed(
            run=found.name,
            flow=found.flow,
            flow_run=last.name,
            state=state.name or state.type.value,
            message=state.message or "",
            url=url_for("flow-run", obj_id=last.id),
            by="nobody",
            may_be_gone=last.deployment_id is None and not state.is_final(),
        )
        if not (state.is_failed() or state.is_crashed() or state.is_cancelled()):
            return resumed
        if last.deployment_id is None:
            parameters = {**last.parameters, "settings": _settings(found)}
            return resumed.model_copy(update={"by": "this process", "parameters": parameters})
        # by this name Prefect's engine takes up a run that has ended
        client.set_flow_run_state(last.id, AwaitingRetry(message="Resumed by `rpo resume`."))
        workers = client.read_workers_for_work_pool(str(last.work_pool_name)) if last.work_pool_name else []
        online = sum(worker.status == "ONLINE" for worker in workers)
        return resumed.model_copy(update={"by": "worker", "workers": online})


def _runs(client: SyncPrefectClient) -> Iterator[Found]:
    """The runs of our flows, the last first."""
    ours = FlowFilter(name=FlowFilterName(any_=list(FLOWS)))
    flows = {flow.id: flow.name for flow in client.read_flows(flow_filter=ours)}
    first = 0
    while True:
        page = client.read_flow_runs(
            flow_filter=ours,
            flow_run_filter=FlowRunFilter(parent_task_run_id=FlowRunFilterParentTaskRunId(is_null_=True)),
            sort=FlowRunSort.START_TIME_DESC,
            limit=PAGE,
            offset=first,
        )
        for run in page:
            # one that is only scheduled has not begun
            if run.start_time is not None and run.state is not None and (flow := flows.get(run.flow_id)):
                yield Found(flow, _name(flow, run), run, run.state)
        if len(page) < PAGE:
            return
        first += PAGE


def _name(flow: str, run: FlowRun) -> str:
    given = run.parameters.get("settings") or {}
    try:
        return FLOWS[flow].name(FLOWS[flow].settings.model_validate(given))
    except ValidationError:  # of another version; going on with it says what is wrong
        return str(given.get("name") or given.get("run") or run.name)


def _settings(found: Found) -> Any:
    """What a run was started with, where it was started.

    Raises:
        SettingsError: This is another folder, or the settings are of another version.
    """
    known, given = FLOWS[found.flow], found.run.parameters.get("settings") or {}
    source, keys = f"the parameters of the flow run {found.run.name}", f"`{known.command} --help`"
    settings: Any = validate_as(known.settings, given, source=source, keys=keys)
    if isinstance(settings, ImportSettings):
        return settings
    root = data_root(settings.data)
    if not any(manifest_path(root, of).is_file() for of in {found.name, settings.run} - {None}):
        raise SettingsError(
            f"There is nothing of run {found.name!r} in its data folder {settings.data!r} here ({Path.cwd()}).",
            safe="Nothing was started.",
            next_step="Type `rpo resume` in the folder where it was started. If that is this one, it failed before it "
            f"began: type the same `{known.command}` again. Another one: `rpo resume NAME`.",
        )
    return settings
