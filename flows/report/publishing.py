"""The report at the end of a flow: written, and linked in the Prefect UI."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.artifacts import create_link_artifact
from prefect.client.schemas import FlowRun
from prefect.client.schemas.objects import State
from prefect.logging import get_logger
from pydantic import ValidationError

from models.settings import FactorySettings
from storage.roots import data_root


def publish_report(data: str, run: str) -> None:
    """Write the report of a run as it now is, and link it."""
    path = _try_to_write(data, run)
    if path is not None:
        create_link_artifact(
            key=f"report-{run.replace('_', '-')}",
            link=path.as_uri(),
            # a browser opens files of its own machine only: the address is the text
            link_text=str(path),
            description=f"The report of the run {run}: one HTML file",
        )


def report_failure(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook for ``on_failure``: the report of a run that failed says what there is, and why there is no more."""
    with suppress(ValidationError):  # then that is why it failed, and there is no run
        settings = FactorySettings.model_validate(flow_run.parameters["settings"])
        _try_to_write(settings.data, settings.run)


def _try_to_write(data: str, run: str) -> Path | None:
    # imported here: the charts' library is for the end of a run
    from flows.report.writing import write_report

    try:
        return write_report(data_root(data), run).resolve()
    except Exception as error:  # the run itself is done: what it made and paid for must not fail with its picture
        get_logger("report").warning("The report of run %s was not written: %s: %s", run, type(error).__name__, error)
        return None
