"""Prefect's temporary server, as a program that ends with the command that started it, also where that was killed.

Started by its path (``flows.stopping``): the arguments are uvicorn's.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path

WATCH_INTERVAL_S = 1.0
GRACE_S = 5.0


def main() -> None:
    """Be uvicorn."""
    here = str(Path(__file__).parent)
    # of a program started by its path; nothing of Prefect's is to be looked up among our modules
    sys.path[:] = [path for path in sys.path if path != here]
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    runpy.run_module("uvicorn", run_name="__main__", alter_sys=True)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_INTERVAL_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    main()
