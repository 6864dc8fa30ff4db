"""Thousands of batches in one flow run: what a batch costs beyond its work, and what it does to the Prefect server.

    python -m benchmarks.batches --batches 2000
    PREFECT_API_DATABASE_CONNECTION_URL=postgresql+asyncpg://... python -m benchmarks.batches      # an empty database

The whole factory over the scripted server, with one role a batch, and again the same roles in batches of 50. The
difference between the two, divided by the difference in task runs, is the overhead of a batch: seconds of the wall
clock, CPU of the factory's process, CPU of the Prefect server (not that of Postgres). Of the server: its peak memory,
the size of its database, and how often its log says that the database was locked or busy, which is the limit: exit code
1 if it was once, or if a task run of its did not complete.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.judging import peak_mb
from benchmarks.memory import scripted_server, settings_of, write_roles
from benchmarks.prefect_server import PrefectServer, prefect_server
from flows.environment import prepare_environment

# roles pass six stages each, and the batches of users are few
STAGES = 6
FEW = 50
_LOCKED = re.compile(r"database is locked|503 Service Unavailable|\bbusy\b", re.IGNORECASE)


@dataclass(frozen=True)
class Measured:
    """One run of the factory."""

    batches: int
    unfinished: int
    seconds: float
    cpu: float
    mb: float
    server_cpu: float


def run_factory(folder: Path, url: str, batch_size: int) -> dict[str, float]:
    """The factory in this process."""
    from flows.factory import factory

    settings = settings_of(folder, url).model_copy(update={"batch_size": batch_size})
    before, started = os.times(), time.monotonic()
    factory(settings)
    after = os.times()
    cpu = after.user + after.system - before.user - before.system
    return {"seconds": time.monotonic() - started, "cpu": cpu, "mb": peak_mb()}


def count_task_runs(server: PrefectServer, states: list[str] | None = None) -> int:
    """The task runs that the server knows, all or those in some states."""
    filters = {"task_runs": {"state": {"type": {"any_": states}}}} if states else {}
    request = urllib.request.Request(
        f"{server.address}/task_runs/count", json.dumps(filters).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        found: int = json.load(reply)
    return found


def measure(server: PrefectServer, folder: Path, url: str, roles: int, batch_size: int) -> Measured:
    """One run in a process of its own, over a server that goes on."""
    folder.mkdir()
    write_roles(folder / "roles.jsonl", roles)
    before, cpu_before = count_task_runs(server), server.cpu_seconds()
    command = [sys.executable, "-m", "benchmarks.batches", "--measure", str(folder), "--url", url]
    done = subprocess.run([*command, "--size", str(batch_size)], stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    time.sleep(10)  # the server records what it was told in batches
    batches = count_task_runs(server) - before
    completed = count_task_runs(server, ["COMPLETED"])
    return Measured(
        batches=batches,
        unfinished=count_task_runs(server) - completed,
        seconds=result["seconds"],
        cpu=result["cpu"],
        mb=result["mb"],
        server_cpu=server.cpu_seconds() - cpu_before,
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=2000, help="about so many task runs in one flow run")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        prepare_environment(quiet=True)  # as the command `rpo` does
        print(json.dumps(run_factory(given.measure, given.url, given.size)))
        return
    print(f"{os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}")
    roles = given.batches // STAGES
    with (
        tempfile.TemporaryDirectory() as name,
        prefect_server(Path(name)) as server,
        scripted_server() as url,
    ):
        print("task runs  seconds  factory CPU s  factory peak MB  server CPU s  server peak MB  database MB")
        runs = []
        for size in (FEW, 1):
            runs.append(measured := measure(server, Path(name) / str(size), url, roles, size))
            print(
                f"{measured.batches:9d} {measured.seconds:8.0f} {measured.cpu:14.1f} {measured.mb:16.0f} "
                f"{measured.server_cpu:13.1f} {server.peak_mb():15.0f} {server.database_mb():12.1f}",
                flush=True,
            )
        locked = len(_LOCKED.findall(server.log.read_text()))
    few, many = runs
    more = many.batches - few.batches
    print(
        f"a batch costs {1000 * (many.seconds - few.seconds) / more:.0f} ms of the wall clock, "
        f"{1000 * (many.cpu - few.cpu) / more:.1f} ms of CPU in the factory, "
        f"{1000 * (many.server_cpu - few.server_cpu) / more:.1f} ms in the server"
    )
    print(f"locked or busy: {locked} times; task runs that did not complete: {many.unfinished} (limits 0, 0)")
    raise SystemExit(bool(locked or many.unfinished))


if __name__ == "__main__":
    main()
