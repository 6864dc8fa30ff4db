"""The commands ``rpo up`` and ``rpo down``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.cli_options import Json
from flows.environment import prepare_environment
from flows.services import state_folder
from models.loading import load_settings


def up(
    *,
    port: Annotated[int | None, Parameter(help="Port of the Prefect server; without: 4200.")] = None,
    config: Annotated[
        Path | None,
        Parameter(help="Settings that the forms of the UI begin with; without it factory.toml, if it is there."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Start Prefect on this machine: server and UI, deployments of every flow, workers that run them.

    What is up already stays. With PREFECT_API_URL set the workers of this machine join that server.
    """
    settings = load_settings(config, environ=os.environ)
    prepare_environment(quiet=True)
    # imported here: Prefect takes seconds, and a wrong option need not wait for it
    from flows.operate import start_all
    from flows.terminal_operate import show_operation

    operation = start_all(settings, port)
    if as_json:
        print(operation.model_dump_json())
    else:
        show_operation(operation)


def down() -> None:
    """Stop what `rpo up` has started on this machine. Runs, data and schedules stay; a run under way can be resumed."""
    prepare_environment(quiet=True)
    # imported here: Prefect takes seconds
    from flows.operate import stop_all
    from flows.terminal import out

    stopped = stop_all()
    out.print(f"Stopped: {', '.join(stopped)}." if stopped else f"Nothing is up (by {state_folder()}).", markup=False)
