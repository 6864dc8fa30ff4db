"""What must be set before Prefect is imported."""

from __future__ import annotations

import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec

import models  # noqa: F401  (it says how pyarrow is to allocate)

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
}


class _NoPandas(MetaPathFinder):
    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name == "pandas":
            raise ModuleNotFoundError("not for pyarrow", name=name)
        return None


def prepare_environment(*, quiet: bool) -> None:
    """Set Prefect's environment for a run of this process.

    Args:
        quiet: Nothing of Prefect's log on the terminal: bars, summary and errors say it. The UI has the whole log.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    if quiet:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    _keep_pandas_out()


def _keep_pandas_out() -> None:
    """Let pyarrow make up its mind that there is no pandas.

    Where pandas is installed (the extra `train` brings it), pyarrow imports it at its first conversion, only to ask
    whether a list is a Series: 50 MB and a second. It asks once; pandas itself stays importable.
    """
    if "pandas" in sys.modules:
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        import pyarrow as pa

        pa.array([None])
    finally:
        sys.meta_path.remove(finder)
