"""A Prefect server of a benchmark's own, in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.environment import prepare_environment

START_S = 120


@contextmanager
def prefect_server(folder: Path) -> Iterator[None]:
    """Runs one that keeps its things under ``folder``, and points this process and its children to it."""
    prepare_environment(quiet=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}/api"
    os.environ |= {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_API_URL": address,
    }
    quiet = subprocess.DEVNULL
    with subprocess.Popen([sys.executable, "-m", "prefect", "server", "start"], stdout=quiet, stderr=quiet) as server:
        try:
            _wait_for(f"{address}/health")
            yield
        finally:
            server.terminate()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
