"""Processes of this machine that outlive the command that started them: Prefect's server and its workers.

Nothing here imports Prefect: every command asks whether a server is up, and must not wait seconds for the answer.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from models.errors import PrefectServerError

SERVER = "server"


def state_folder() -> Path:
    """Where pid files and logs of this machine's services rest: in Prefect's own folder."""
    return Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser() / "rpo"


@dataclass(frozen=True)
class Service:
    """A background process.

    It is up for as long as it holds the lock on its pid file, which the operating system takes from it however it ends:
    a number in a file could be that of another process after a restart.
    """

    name: str

    @property
    def pid_file(self) -> Path:
        """Locked by the process; holds its number and its address."""
        return state_folder() / f"{self.name}.pid"

    @property
    def log(self) -> Path:
        """What it prints."""
        return state_folder() / f"{self.name}.log"

    def describe(self) -> tuple[int, str] | None:
        """Its process id and its address; None: it is not up."""
        try:
            with self.pid_file.open("r+") as file:
                if _lock(file):
                    return None
                state = json.load(file)
        except (OSError, ValueError):
            return None
        return int(state["pid"]), str(state["url"])

    @property
    def is_up(self) -> bool:
        """Whether its process lives."""
        return self.describe() is not None

    def start(self, arguments: Sequence[str], env: Mapping[str, str], *, url: str = "") -> bool:
        """Start ``python -m prefect`` with these arguments, in a session of its own.

        Returns:
            Whether it was started; False: it is up already.
        """
        self.pid_file.parent.mkdir(parents=True, exist_ok=True)
        with self.pid_file.open("a+") as file:
            while not _lock(file):  # by the service, or for a moment by one that asks whether it is up
                if self.is_up:
                    return False
            with self.log.open("a") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "prefect", *arguments],
                    env=dict(env),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[file.fileno()],  # and with it the lock
                    start_new_session=True,
                )
            file.truncate(0)
            json.dump({"pid": process.pid, "url": url}, file)
        return True

    def stop(self, seconds: float) -> bool:
        """End it; by force, and with it all that it has started, where it takes longer than ``seconds``.

        Returns:
            Whether it was up.
        """
        found = self.describe()
        if found is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(found[0], signal.SIGTERM)
        if not self._ends_within(seconds):
            # a worker's flows are in sessions of their own, and would go on
            for pid in family(found[0]):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._ends_within(seconds)
        return True

    def _ends_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.is_up:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def explain_end(self) -> PrefectServerError:
        """Why it is not up, as its log says."""
        lines = self.log.read_text("utf-8", "replace").strip().splitlines() if self.log.exists() else []
        return PrefectServerError(
            f"Prefect's {self.name} ended as it started: {lines[-1].strip() if lines else 'it said nothing'}",
            safe="Runs and their data are as they were.",
            next_step=f"Its whole log: {self.log}",
        )


def _lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def server_url() -> str | None:
    """The API of the server that ``rpo up`` has started on this machine; None: it is not up."""
    found = Service(SERVER).describe()
    return found[1] if found else None


def services() -> list[Service]:
    """Everything that was ever started here, workers first."""
    names = sorted((path.stem for path in state_folder().glob("*.pid")), key=lambda name: (name == SERVER, name))
    return [Service(name) for name in names]


def family(pid: int) -> list[int]:
    """A process and all that it has started."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(parent) for child, parent in map(str.split, listed.splitlines())}
    found = [pid]
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found
