"""Cancelling from the Prefect UI, also where no worker runs the flow: the flow looks itself."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
from prefect import Flow, runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas import FlowRun
from prefect.client.schemas.objects import State
from prefect.exceptions import PrefectException
from prefect.states import Cancelled

from tasks.training.launch import TrainingStoppedError

_MESSAGE = "Cancelled; the processes of the training have ended."


def _run_ids() -> list[UUID]:
    """This flow run and the one that all began with."""
    ids = (runtime.flow_run.id, runtime.flow_run.root_flow_run_id)
    return list(dict.fromkeys(UUID(run_id) for run_id in ids if run_id))


def is_cancelled() -> bool:
    """Whether someone has asked for this flow run, or for the one above it, to be cancelled.

    A server that does not answer has not asked.
    """
    with get_client(sync_client=True) as client:
        try:
            states = [client.read_flow_run(run_id).state for run_id in _run_ids()]
        except (PrefectException, httpx.HTTPError):
            return False
    return any(state is not None and (state.is_cancelling() or state.is_cancelled()) for state in states)


def show_as_cancelled(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook for ``on_cancellation`` and ``on_failure``: the run ended because someone asked for it.

    The run that was asked is left in Cancelling by the engine, and one below it would be shown as failed.
    """
    if state.is_cancelling() or isinstance(state.result(raise_on_failure=False), TrainingStoppedError):
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(flow_run.id, Cancelled(message=_MESSAGE), force=True)
