"""What must be set before Prefect is imported."""

from __future__ import annotations

import os

import models  # noqa: F401  (it says how pyarrow is to allocate)
from flows.services import server_url

# a person who sets one of these keeps their own value
_DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # the temporary server needs 10-20 s on two busy cores; the default gives up at 20
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # fewer, larger transactions: the server's SQLite answers "busy" less often (FINDINGS)
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    # not a line for each batch that ends: its state says it, and each line is sent to the server
    "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "WARNING",
    # so that a run whose process is gone is noticed in time (flows/automations.py); Prefect sends one in three minutes
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
}


def prepare_environment(*, quiet: bool) -> None:
    """Set Prefect's environment for a run of this process: over the server of ``rpo up`` where there is one.

    Args:
        quiet: Nothing of Prefect's log on the terminal: bars, summary and errors say it. The UI has the whole log.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    if url := server_url():
        os.environ.setdefault("PREFECT_API_URL", url)
    if quiet:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
