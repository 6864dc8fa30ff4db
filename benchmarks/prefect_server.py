"""A Prefect server of a benchmark's own, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from flows.environment import prepare_environment

START_S = 120
DATABASE = "PREFECT_API_DATABASE_CONNECTION_URL"
"""Prefect's own variable: the server's database where it is not SQLite."""


@dataclass(frozen=True)
class PrefectServer:
    """A server that runs."""

    address: str
    pid: int
    home: Path
    log: Path

    def cpu_seconds(self) -> float:
        """User and system time of its process until now."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_mb(self) -> float:
        """Its highest resident size."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def database_mb(self) -> float:
        """Size of its SQLite database with what is not yet in the main file, or of the one that DATABASE names."""
        if DATABASE in os.environ:
            return asyncio.run(_postgres_bytes(os.environ[DATABASE])) / 1e6
        return sum(path.stat().st_size for path in self.home.glob("prefect.db*")) / 1e6


@contextmanager
def prefect_server(folder: Path) -> Iterator[PrefectServer]:
    """Runs one that keeps its things under ``folder``, and points this process and its children to it."""
    prepare_environment(quiet=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}/api"
    home = folder / "prefect"
    home.mkdir()
    os.environ |= {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_API_URL": address,
    }
    command = [sys.executable, "-m", "prefect", "server", "start"]
    log = home / "server.log"
    with log.open("w") as said, subprocess.Popen(command, stdout=said, stderr=said) as server:
        try:
            _wait_for(f"{address}/health")
            yield PrefectServer(address, server.pid, home, log)
        finally:
            server.terminate()


async def _postgres_bytes(url: str) -> int:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        return int(await connection.fetchval("select pg_database_size(current_database())"))
    finally:
        await connection.close()


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
