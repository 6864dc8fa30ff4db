"""Which processes the batches of a run are at work in: Prefect's own task runners, by setting."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings

from models.errors import SettingsError
from models.settings import FactorySettings
from tasks.llm.gateways import close_gateways_of

PROJECT_ROOT = Path(__file__).resolve().parent.parent

THREADS = 64
"""Batches that are at work or wait for their turn, in all processes; most wait for a server and use no CPU."""

_UNMOVED = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""A terminal sends a Ctrl-C to worker processes too: the run ends them, after what is in flight is stored."""

PACKAGES: dict[str, tuple[str, ...]] = {"dask": ("prefect_dask", "distributed"), "ray": ("prefect_ray", "ray")}
_RAY_STORE = 128 * 2**20  # what tasks hand to each other are references of a few hundred bytes


def require_runner(settings: FactorySettings) -> None:
    """Refuse at the door what several processes cannot do together.

    Raises:
        SettingsError: The extra is not installed, an endpoint has fewer requests in flight than there are processes,
            it is a server that each process would start for itself, or there is a budget, which one process keeps.
    """
    runner = settings.runner
    if runner.engine == "threads":
        return
    if runner.processes > 1:
        _require_shares(settings)
    if runner.address is not None and not ("://" in settings.data or settings.data_dir.is_absolute()):
        raise _refuse(
            f"data = {settings.data!r} is another folder for each process of the cluster at {runner.address}.",
            f"data={settings.data_dir.absolute()}, where all of its machines see the same folder",
        )
    missing = [name for name in PACKAGES[runner.engine] if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"runner.engine = {runner.engine} needs the extra `{runner.engine}`: {', '.join(missing)} cannot be "
            "imported.",
            safe="Nothing was started.",
            next_step=f'Type: pip install --editable ".[{runner.engine}]"',
        )


def _require_shares(settings: FactorySettings) -> None:
    runner = settings.runner
    if settings.budget is not None:
        raise _refuse(
            "budget is kept by one process, which knows what is under way.", "runner.engine=threads, or no budget"
        )
    for name in settings.used_endpoints:
        endpoint = settings.endpoints[name]
        if endpoint.serve is not None:
            raise _refuse(
                f"endpoints.{name}.serve would start a model server in each of {runner.workers} processes.",
                f"runner.engine=threads, or start the server yourself and give endpoints.{name}.base_url",
            )
        if endpoint.max_concurrency < runner.processes:
            raise _refuse(
                f"endpoints.{name}.max_concurrency = {endpoint.max_concurrency} cannot be shared by {runner.workers} "
                "processes.",
                f"runner.workers={endpoint.max_concurrency}, or raise max_concurrency",
            )


def _refuse(what: str, instead: str) -> SettingsError:
    return SettingsError(what, safe="Nothing was started.", next_step=f"Set {instead}.")


@contextmanager
def chosen_runner(settings: FactorySettings) -> Iterator[None]:
    """Tasks that this flow run submits go to the engine of the settings; threads are the flow's own.

    Not an option of the flow: a run from the Prefect UI has its settings as a parameter only.

    Raises:
        SettingsError: There is no such cluster, or it has more processes than ``runner.workers``.
    """
    context = FlowRunContext.get()
    if settings.runner.engine == "threads" or context is None:
        yield
        return
    with ExitStack() as stack:
        # also where it is the temporary server of this process: a worker would start another one
        stack.enter_context(temporary_settings({PREFECT_API_URL: str(context.client.api_url)}))
        start = _start_dask if settings.runner.engine == "dask" else _start_ray
        runner = start(settings, stack)
        stack.enter_context(context.model_copy(update={"task_runner": runner}))
        yield


def _start_dask(settings: FactorySettings, stack: ExitStack) -> Any:
    from prefect_dask import DaskTaskRunner

    given, address = settings.runner, settings.runner.address
    if address is None:
        local = {
            "n_workers": given.workers,
            "threads_per_worker": max(8, THREADS // given.workers),
            "dashboard_address": None,
            "preload": [_UNMOVED],
            "silence_logs": logging.ERROR,
        }
        runner: Any = DaskTaskRunner(cluster_kwargs=local)
    else:
        runner = DaskTaskRunner(address=address)
    stack.enter_context(runner)
    try:
        client = runner.client  # starts or finds the cluster
    except (OSError, ValueError) as error:
        raise _no_cluster(settings, error) from error
    if address is not None:
        _require_workers(settings, len(client.nthreads()), "worker processes")
    stack.callback(_close_gateways, client, settings)
    return runner


def _close_gateways(client: Any, settings: FactorySettings) -> None:
    """What is in flight is paid for: it is stored before the processes end, or go on for other runs."""
    with suppress(Exception):  # of processes that are gone
        client.run(close_gateways_of, settings, on_error="ignore")


def _start_ray(settings: FactorySettings, stack: ExitStack) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from prefect_ray import RayTaskRunner

    given, address = settings.runner, settings.runner.address
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        # a task takes one CPU and a process of its own: so many batches at a time
        options |= {"num_cpus": given.workers, "object_store_memory": _RAY_STORE, "include_dashboard": False}
        options["runtime_env"] = {"env_vars": {"PYTHONPATH": str(PROJECT_ROOT)}}
    try:
        runner = stack.enter_context(RayTaskRunner(address=address, init_kwargs=options))
    except (OSError, RuntimeError, ValueError) as error:
        raise _no_cluster(settings, error) from error
    if address is not None:
        _require_workers(settings, int(ray.cluster_resources().get("CPU", 0)), "CPUs, which is a process each")
    return runner


def _no_cluster(settings: FactorySettings, error: Exception) -> SettingsError:
    where = settings.runner.address or "this machine"
    return SettingsError(
        f"{settings.runner.engine} on {where} cannot be reached or started: {error}.",
        safe="Nothing was started.",
        next_step="Check runner.address, or set runner.engine=threads.",
    )


def _require_workers(settings: FactorySettings, found: int, what: str) -> None:
    """More processes than shares would put more in flight than the endpoints allow."""
    given = settings.runner
    if found > given.workers:
        raise SettingsError(
            f"The cluster at {given.address} has {found} {what}, and runner.workers is {given.workers}.",
            safe="Nothing was started.",
            next_step=f"Set runner.workers to what the cluster may grow to, at least {found}.",
        )
