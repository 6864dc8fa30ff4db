"""Peak memory of the whole factory for N roles and for ten times as many: it must not grow with the rows.

    python -m benchmarks.memory --roles 200

Systems, users, turns, responses, judging, calibration, reversals, pairs, audit, exports and catalog, over the scripted
server, each size in a process of its own; the peak is the process's highest resident size (VmHWM). Slots are few
here, so that even the smaller run has more batches than are at work at a time (``tasks.batch.batches_at_once``): what
is compared is a full house with a full house ten times over. Exit code 1 if the ratio is above 1.2.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.judging import peak_mb
from benchmarks.prefect_server import prefect_server
from flows.environment import prepare_environment
from models.endpoints import Endpoint, Role, Roles
from models.settings import Dialogues, FactorySettings, Judging, Seeds

TIMES, MAX_RATIO = 10, 1.2
BATCH, SLOTS = 10, 4
_TRADES = ("baker", "guide", "tailor", "teacher", "plumber", "librarian", "pilot", "gardener", "nurse", "carpenter")


def write_roles(path: Path, roles: int) -> None:
    """So many role seeds."""
    lines = [
        {
            "role_id": f"r{number}",
            "language": "en",
            "name": f"{_TRADES[number % len(_TRADES)]} {number}",
            "description": f"Helps customers of shop {number} with what they ask for, briefly and kindly.",
            "skills": ["advice"],
            "questions": ["When are you open?", "What do you offer today?", "Can you help me?"],
        }
        for number in range(roles)
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")


def settings_of(folder: Path, url: str) -> FactorySettings:
    """The factory with a policy and a judge at the scripted server."""
    role = Role(endpoint="scripted", max_tokens=200)
    return FactorySettings(
        run="bench",
        data=str(folder / "data"),
        batch_size=BATCH,
        samples=4,
        seeds=Seeds(roles=str(folder / "roles.jsonl"), languages=["en"]),
        dialogues=Dialogues(turns=2, reference_samples=2),
        endpoints={"scripted": Endpoint(base_url=url, model="scripted", max_concurrency=SLOTS)},
        roles=Roles(policy=role, judge=role.model_copy(update={"temperature": 0.0, "max_tokens": 2000})),
        judging=Judging(calibration_share=0.2),
    )


def run_factory(settings: FactorySettings) -> dict[str, float]:
    """The factory in this process."""
    from flows.factory import factory
    from models.constraints.examples import EXAMPLES

    for check in EXAMPLES.values():  # what checks load at first use (language profiles, 50 MB) is there in both sizes
        check.follows("The harbour opens at seven. Bring a coat.", "When?")
    started = time.monotonic()
    summary = factory(settings)
    seconds = time.monotonic() - started
    return {"mb": peak_mb(), "seconds": seconds, "responses": summary.responses, "pairs": summary.pairs}


@contextmanager
def scripted_server() -> Iterator[str]:
    """The tests' server in a process of its own; gives its address."""
    program = "import tests.scripted_server as s, time\nwith s.ScriptedServer() as server:\n"
    program += "    print(server.base_url, flush=True)\n    time.sleep(36000)\n"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def measure(folder: Path, roles: int, url: str) -> dict[str, float]:
    """One run in a process of its own."""
    folder.mkdir()
    write_roles(folder / "roles.jsonl", roles)
    command = [sys.executable, "-m", "benchmarks.memory", "--measure", str(folder), "--url", url]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{roles:6d} {result['responses']:10.0f} {result['pairs']:8.0f} {result['seconds']:8.0f} {result['mb']:8.0f}",
        flush=True,
    )
    return result


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--roles", type=int, default=200, help="roles of the smaller run")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        prepare_environment(quiet=True)  # as the command `rpo` does
        print(json.dumps(run_factory(settings_of(given.measure, given.url))))
        return
    print(f"{os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}")
    print(" roles  responses    pairs  seconds  peak MB")
    with tempfile.TemporaryDirectory() as name, prefect_server(Path(name)), scripted_server() as url:
        small, large = (measure(Path(name) / str(n), n, url) for n in (given.roles, given.roles * TIMES))
    ratio = large["mb"] / small["mb"]
    print(f"{TIMES} times the rows, {ratio:.2f} times the memory (limit {MAX_RATIO})")
    raise SystemExit(ratio > MAX_RATIO)


if __name__ == "__main__":
    main()
