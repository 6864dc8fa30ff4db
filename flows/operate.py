"""``rpo up``: everything that the Prefect UI needs to run the factory, on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectAlreadyExists, PrefectException
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings
from prefect.states import Crashed
from prefect.workers.process import ProcessWorker

from flows.automations import Installed, install, remind, unfinished
from flows.run import PROJECT_ROOT
from flows.services import SERVER, Service, server_url, services, state_folder
from flows.stopping import no_answer
from models.base import Strict
from models.errors import PrefectServerError, SettingsError
from models.settings import FactorySettings

POOLS = {"factory": "Stages of the factory.", "gpu": "Training and evaluation."}
TAG = "rpo"
SERVER_START_S = 120
WORKER_START_S = 90
STOP_S = 30


class Operation(Strict):
    """What is up after ``rpo up``."""

    api: str
    ui: str
    started: list[str]
    """The services that were not up before."""
    server_is_ours: bool
    deployments: list[str]
    schedules_on: list[str]
    automations: list[Installed]
    logs: str


def start_all(settings: FactorySettings, port: int | None) -> Operation:
    """Start what is not up yet: server, pools, automations, a worker a pool; and deploy.

    Args:
        settings: What the forms of the deployments begin with.
        port: Port of the server; None: Prefect's own setting.

    Raises:
        SettingsError: The port is another's, or a server is named already.
        PrefectServerError: Something did not start.
    """
    api, started = _find_server(port)
    env = {**os.environ, "PREFECT_API_URL": api, "FACTORY_HOME": str(PROJECT_ROOT)}
    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        _create_pools(client)
        automations = install(client)
        remind(client)
        workers = {pool: Service(f"worker-{pool}") for pool in POOLS}
        for pool, worker in workers.items():
            options = ["worker", "start", "--pool", pool, "--name", _worker_name(pool), "--type", "process"]
            if worker.start(options, env, url=api):
                started.append(worker.name)
        switched_on = _active_schedules(client)
        _deploy(env)
        deployments = _find_deployments(client)
        _fill_forms(client, deployments, settings)
        _switch_on(client, deployments, switched_on)
        for pool, worker in workers.items():
            _wait(lambda pool=pool: _is_online(client, pool), worker, WORKER_START_S)  # type: ignore[misc]
        return Operation(
            api=api,
            ui=api.removesuffix("/api"),
            started=started,
            server_is_ours=server_url() == api,
            deployments=sorted(deployment.name for deployment in deployments),
            schedules_on=sorted(slug for _, slug in _active_schedules(client)),
            automations=automations,
            logs=str(state_folder()),
        )


def stop_all() -> list[str]:
    """Stop the workers and the server of this machine; returns what was up.

    A worker that is told to stop ends its runs with itself, and nobody says so to the server: they would be shown as
    running until a server that is up again misses their heartbeats.
    """
    stopped = [service.name for service in services() if service.name != SERVER and service.stop(STOP_S)]
    if stopped:
        with suppress(httpx.HTTPError, PrefectException), get_client(sync_client=True) as client:
            for run in unfinished(client):
                if run.labels.get("prefect.worker.name") in [_worker_name(pool) for pool in POOLS]:
                    client.set_flow_run_state(run.id, Crashed(message="Stopped with its worker by `rpo down`."))
    return [*stopped, *([SERVER] if Service(SERVER).stop(STOP_S) else [])]


def _find_server(port: int | None) -> tuple[str, list[str]]:
    """The server that is up, the one that the environment names, or a new one; and what was started for it."""
    if api := server_url():
        if port is not None and f":{port}/" not in api:
            raise SettingsError(
                f"The server is up already, at {api}.",
                safe="Nothing was changed.",
                next_step="Type `rpo down` first to start it on another port.",
            )
        return api, []
    if named := get_current_settings().api.url:
        if port is not None:
            raise SettingsError(
                f"PREFECT_API_URL names a server already, {named}: --port would start another.",
                safe="Nothing was started.",
                next_step="Leave one of them out.",
            )
        if not _answers(named):
            raise no_answer(named)
        return named, []
    wanted = port or get_current_settings().server.api.port
    api = f"http://127.0.0.1:{wanted}/api"
    _require_free(wanted)
    server = Service(SERVER)
    # not its option --port: the UI would go on asking the default one (FINDINGS)
    env = {**os.environ, "PREFECT_SERVER_API_PORT": str(wanted)}
    server.start(["server", "start"], env, url=api)
    _wait(lambda: _answers(api), server, SERVER_START_S)
    return api, [server.name]


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise SettingsError(
                f"Port {port} is taken by another program.",
                safe="Nothing was started.",
                next_step=f"Type `rpo up --port {port + 1}`; or, where it is a Prefect server of yours, "
                f"`PREFECT_API_URL=http://127.0.0.1:{port}/api rpo up`.",
            ) from error


def _answers(api: str) -> bool:
    try:
        return httpx.get(f"{api}/health", timeout=5).is_success
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def _wait(is_ready: Callable[[], bool], service: Service, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_ready():
        if not service.is_up:
            raise service.explain_end()
        if time.monotonic() > deadline:
            raise PrefectServerError(
                f"Prefect's {service.name} is not ready after {seconds:.0f} s.",
                safe="It goes on starting.",
                next_step=f"Look into {service.log}, and type `rpo up` again.",
            )
        time.sleep(0.2)


def _create_pools(client: SyncPrefectClient) -> None:
    for name, description in POOLS.items():
        template = ProcessWorker.get_default_base_job_template()
        pool = WorkPoolCreate(name=name, description=description, type="process", base_job_template=template)
        try:
            client.create_work_pool(pool)
        except ObjectAlreadyExists:
            continue


def _worker_name(pool: str) -> str:
    return f"{socket.gethostname()}-{pool}"


def _is_online(client: SyncPrefectClient, pool: str) -> bool:
    found = client.read_workers_for_work_pool(pool)
    return any(worker.name == _worker_name(pool) and worker.status == "ONLINE" for worker in found)


def _deploy(env: dict[str, str]) -> None:
    """Prefect's own command: ``prefect.yaml`` is the one description of the deployments."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    log = state_folder() / "deploy.log"
    with log.open("w") as file:
        code = subprocess.run(command, cwd=PROJECT_ROOT, env=env, stdout=file, stderr=file).returncode
    if code != 0:
        lines = log.read_text("utf-8", "replace").strip().splitlines()
        raise PrefectServerError(
            f"The deployments were not made: {lines[-1].strip() if lines else 'no reason given'}",
            safe="The server is up.",
            next_step=f"Look into {log}, mend prefect.yaml, and type `rpo up` again.",
        )


def _find_deployments(client: SyncPrefectClient) -> list[DeploymentResponse]:
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    return client.read_deployments(deployment_filter=tagged)


def _fill_forms(client: SyncPrefectClient, deployments: list[DeploymentResponse], settings: FactorySettings) -> None:
    """Make the settings of the folder where ``rpo up`` was typed what every form begins with.

    What prefect.yaml gives a deployment stays. A flow run works in the factory's own folder: a data folder, and seeds,
    models and adapters of the user's own, are named in full.
    """
    data = settings.data if "://" in settings.data else str(settings.data_dir.resolve())
    given = settings.model_dump(mode="json", exclude_unset=True) | {"data": data}
    _name_in_full(given.get("seeds", {}), "roles", "personas")
    for endpoint in given.get("endpoints", {}).values():
        _name_in_full(endpoint.get("serve") or {}, "model_path", "lora_path", "python")
    for deployment in deployments:
        # training and imports have settings of their own
        begins: dict[str, Any] = {"data": data} if {"gpu", "import"} & set(deployment.tags) else given
        own = deployment.parameters.get("settings", {})
        parameters = {**deployment.parameters, "settings": {**begins, **own}}
        client.update_deployment(deployment.id, DeploymentUpdate(parameters=parameters, tags=deployment.tags))


def _name_in_full(given: dict[str, Any], *names: str) -> None:
    """Write the paths of what is there from the root on; what is not there may be the name of something else."""
    for name in names:
        path = Path(given.get(name) or "").expanduser()
        if given.get(name) and path.exists():
            # not where a link leads: an environment is known by its own python
            given[name] = str(path.absolute())


def _active_schedules(client: SyncPrefectClient) -> set[tuple[str, str]]:
    """Deployments and slugs of the schedules that are switched on."""
    return {
        (deployment.name, schedule.slug)
        for deployment in _find_deployments(client)
        for schedule in deployment.schedules
        if schedule.active and schedule.slug
    }


def _switch_on(client: SyncPrefectClient, deployments: list[DeploymentResponse], wanted: set[tuple[str, str]]) -> None:
    """Switch schedules on again that someone had switched on: deploying sets them as prefect.yaml has them."""
    for deployment in deployments:
        for schedule in deployment.schedules:
            if (deployment.name, schedule.slug) in wanted:
                client.update_deployment_schedule(deployment.id, schedule.id, active=True)
