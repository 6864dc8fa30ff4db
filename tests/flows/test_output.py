"""A command in a pipe: a reader that leaves early, a disk that is full."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.flows.conftest import ROOT

WHOLE = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def start(*args: str, stdout: int, **env: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "rpo.py"), *args]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, env={**WHOLE, **env}, text=True)


def test_a_reader_that_is_gone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    # Python keeps a short text to itself until it ends; Rich writes each
    commands = [
        start("status", "--json", "--data", "none", stdout=writing),
        start("--help", stdout=writing, PYTHONUNBUFFERED="1"),
    ]
    os.close(writing)
    assert [command.communicate(timeout=120)[1] for command in commands] == ["", ""]
    assert [command.returncode for command in commands] == [128 + signal.SIGPIPE] * 2


def test_a_full_disk() -> None:
    with Path("/dev/full").open("w") as full:
        command = start("status", "--json", "--data", "none", stdout=full.fileno())
    assert command.communicate(timeout=120)[1] == "error: The output could not be written: No space left on device.\n"
    assert command.returncode == 1
