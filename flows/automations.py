"""What Prefect's server does by itself: it notices runs whose process is gone, and can restart them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from prefect.automations import AutomationCore, ChangeFlowRunState, EventTrigger, Posture
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType

from models.base import Strict

SILENCE = timedelta(seconds=75)
"""Two heartbeats (PREFECT_FLOWS_HEARTBEAT_FREQUENCY=30) and as long again as a busy server needs for one."""

RESTART_AFTER = timedelta(seconds=30)
"""A worker whose run was killed reports it twice, the second time after it has imported the flow for its hooks: 10 s on
a busy machine. A run that was restarted by then would be crashed by it."""

MOST_RESTARTS = 3
"""A run that has crashed so often crashes by itself; someone has to look."""

_RUNS = {"prefect.resource.id": "prefect.flow-run.*"}
_HEARTBEAT = "prefect.flow-run.heartbeat"
_CRASHED = "prefect.flow-run.Crashed"
# what ends the wait for the next heartbeat
_ENDS = {
    _CRASHED,
    *(f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Paused", "Suspended")),
}
# a person was faster
_RETRIED = {"prefect.flow-run.AwaitingRetry", "prefect.flow-run.Scheduled"}

CRASHED = AutomationCore(
    name="rpo: crashed runs",
    description="A run whose process sends no heartbeat any more is shown as Crashed, and can be retried.",
    enabled=True,
    trigger=EventTrigger(
        posture=Posture.Proactive,
        match=_RUNS,
        for_each={"prefect.resource.id"},
        after={_HEARTBEAT},
        expect={_HEARTBEAT, *_ENDS},
        threshold=1,
        within=SILENCE,
    ),
    actions=[
        ChangeFlowRunState(
            state=StateType.CRASHED,
            message="Its process sends no heartbeat any more. Retry makes only what is missing.",
        )
    ],
)

RESTART = AutomationCore(
    name="rpo: restart crashed runs",
    description=f"A crashed run of a deployment goes on half a minute later, {MOST_RESTARTS} times at most. Off until "
    "you switch it on.",
    enabled=False,
    trigger=EventTrigger(
        posture=Posture.Proactive,
        match={**_RUNS, "prefect.run-count": [str(count) for count in range(1, MOST_RESTARTS + 1)]},
        match_related={"prefect.resource.role": "deployment", "prefect.resource.id": "prefect.deployment.*"},
        for_each={"prefect.resource.id"},
        after={_CRASHED},
        expect={*_ENDS, *_RETRIED},
        threshold=1,
        within=RESTART_AFTER,
    ),
    actions=[ChangeFlowRunState(state=StateType.SCHEDULED, name="AwaitingRetry", message="Restarted after a crash.")],
)


def unfinished(client: SyncPrefectClient) -> list[FlowRun]:
    """The runs that are shown as going."""
    going = FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING, StateType.CANCELLING])
    return client.read_flow_runs(flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=going)))


def remind(client: SyncPrefectClient) -> None:
    """Tell a server that was restarted of every run that it shows as running.

    Of what it waited for before it was stopped it knows nothing any more, and a run whose process went with it would be
    running for ever: it is sent a heartbeat of each, and waits for the next. One that lives is heard of in time.

    Nor does it remember which events it has seen, and one that ends a state of less than five minutes waits a quarter
    of an hour for that of the state's beginning (Prefect's CausalOrdering). That one bears the id of the state; an
    event of this id, whatever it says, ends the wait.
    """
    events = [
        {
            "event": _HEARTBEAT,
            "id": str(known),
            "occurred": datetime.now(UTC).isoformat(),
            "resource": {"prefect.resource.id": f"prefect.flow-run.{run.id}", "prefect.resource.name": run.name},
        }
        for run in unfinished(client)
        for known in (run.state_id, uuid4())
    ]
    if events:
        client.request("POST", "/events", json=events)


class Installed(Strict):
    """An automation on the server."""

    name: str
    enabled: bool


def install(client: SyncPrefectClient) -> list[Installed]:
    """Install the automations, before any run: one is watched only from the first heartbeat after that (FINDINGS).

    What someone has switched on or off stays so.
    """
    installed = []
    for automation in (CRASHED, RESTART):
        there = client.read_automations_by_name(automation.name)
        enabled = there[0].enabled if there else automation.enabled
        wanted = automation.model_copy(update={"enabled": enabled})
        if there:
            client.update_automation(there[0].id, wanted)
        else:
            client.create_automation(wanted)
        installed.append(Installed(name=automation.name, enabled=enabled))
    return installed


def main() -> None:
    """Install them on the server of PREFECT_API_URL, where no ``rpo up`` does."""
    with get_client(sync_client=True) as client:
        for automation in install(client):
            print(f"{automation.name}: {'on' if automation.enabled else 'off'}")
        remind(client)


if __name__ == "__main__":
    main()
