"""``rpo resume``: the last run that failed or crashed goes on, where it ran before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterParentTaskRunId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import AwaitingRetry
from prefect.utilities.urls import url_for

from models.base import Strict
from models.errors import SettingsError
from models.loading import validate_settings
from models.settings import FactorySettings
from storage.manifests import manifest_path
from storage.roots import data_root

FLOWS = ["factory", "stage"]
PAGE = 200


class Resumed(Strict):
    """What ``rpo resume`` found, and what becomes of it."""

    run: str
    flow_run: str
    state: str
    message: str
    url: str | None
    by: Literal["worker", "this process", "nobody"]
    """Who goes on with it; nobody: there is nothing to resume."""
    workers: int = 0
    """Workers of its pool that are online."""
    settings: FactorySettings | None = None
    """For this process: what it was started with."""
    policy: str | None = None


def resume_run(name: str | None) -> Resumed:
    """Find the last run, or the last one of a name, and hand it back to a worker where it came from a deployment.

    Args:
        name: Name of the factory run; None: whichever was the last.

    Raises:
        SettingsError: Prefect knows no such run, or its data folder is not here.
    """
    with get_client(sync_client=True) as client:
        last = next((run for run in _runs(client) if name in (None, _name(run))), None)
        if last is None or last.state is None:
            raise SettingsError(
                f"Prefect knows no run{f' {name!r}' if name else ''} of the factory at {client.api_url}.",
                safe="Nothing was started.",
                next_step="Run the same `rpo run` again: it makes only what is missing.",
            )
        found = Resumed(
            run=_name(last),
            flow_run=last.name,
            state=last.state.name or last.state.type.value,
            message=last.state.message or "",
            url=url_for("flow-run", obj_id=last.id),
            by="nobody",
        )
        if not (last.state.is_failed() or last.state.is_crashed() or last.state.is_cancelled()):
            return found
        if last.deployment_id is None:
            settings = _settings(last)
            policy = last.parameters.get("policy")
            return found.model_copy(update={"by": "this process", "settings": settings, "policy": policy})
        # by this name Prefect's engine takes up a run that has ended
        client.set_flow_run_state(last.id, AwaitingRetry(message="Resumed by `rpo resume`."))
        workers = client.read_workers_for_work_pool(str(last.work_pool_name)) if last.work_pool_name else []
        online = sum(worker.status == "ONLINE" for worker in workers)
        return found.model_copy(update={"by": "worker", "workers": online})


def _runs(client: SyncPrefectClient) -> Iterator[FlowRun]:
    """Runs of the factory and of its stages, the last first."""
    first = 0
    while True:
        page = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=FLOWS)),
            flow_run_filter=FlowRunFilter(parent_task_run_id=FlowRunFilterParentTaskRunId(is_null_=True)),
            sort=FlowRunSort.START_TIME_DESC,
            limit=PAGE,
            offset=first,
        )
        # one that is only scheduled has not begun
        yield from (run for run in page if run.start_time is not None)
        if len(page) < PAGE:
            return
        first += PAGE


def _name(run: FlowRun) -> str:
    given = run.parameters.get("settings") or {}
    return str(given.get("run") or FactorySettings.model_fields["run"].default)


def _settings(run: FlowRun) -> FactorySettings:
    settings = validate_settings(run.parameters["settings"], source=f"the parameters of the flow run {run.name}")
    if not manifest_path(data_root(settings.data), settings.run).is_file():
        raise SettingsError(
            f"The data folder {settings.data!r} of run {settings.run!r} is not here ({Path.cwd()}).",
            safe="Nothing was started.",
            next_step="Type `rpo resume` in the folder where the run was started.",
        )
    return settings
