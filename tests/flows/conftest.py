"""A real Prefect server for the session, and the real command in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from storage.catalog import query
from storage.roots import data_root

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get_json(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as reply:
        return json.load(reply)


def stop(process: subprocess.Popen[Any]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until(url: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


@pytest.fixture(scope="session")
def prefect_env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment for processes that use a real Prefect server of this session."""
    home = tmp_path_factory.mktemp("prefect")
    port = free_port()
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "RPO_"))},
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
        "COLUMNS": "200",
    }
    log = (home / "server.log").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start"], env=env, stdout=log, stderr=log, cwd=home
    )
    try:
        wait_until(f"http://127.0.0.1:{port}/api/health", 90)
        yield env
    finally:
        stop(server)


@dataclass
class Rpo:
    """The command, run as a person runs it."""

    env: Mapping[str, str]
    cwd: Path
    extra: dict[str, str] = field(default_factory=dict)

    def start(self, *args: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "rpo.py"), *args],
            env={**self.env, **self.extra},
            cwd=self.cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __call__(self, *args: str, code: int = 0) -> str:
        process = self.start(*args)
        out, err = process.communicate(timeout=900)  # a busy machine takes minutes for the demo
        assert process.returncode == code, f"exit {process.returncode}, not {code}\n{out}\n{err}"
        return out if code == 0 else err

    def json(self, *args: str) -> Any:
        return json.loads(self(*args, "--json").strip().splitlines()[-1])

    def sql(self, data: Path, statement: str) -> list[dict[str, Any]]:
        """What ``rpo sql --json`` prints, without a process for every question."""
        rows: list[dict[str, Any]] = json.loads(query(data_root(str(data)), statement).to_json())
        return rows


@pytest.fixture
def rpo(prefect_env: dict[str, str], tmp_path: Path) -> Rpo:
    return Rpo(prefect_env, tmp_path)


def one_message(stderr: str) -> str:
    """The one error on a terminal; a traceback is not a message."""
    assert "Traceback" not in stderr, stderr
    lines = [line for line in stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, stderr
    return lines[0]


@dataclass
class Scripted:
    """A scripted model server in a process of its own."""

    base_url: str
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        return int(self.base_url.rsplit(":", 1)[1].split("/")[0])

    def counts(self) -> dict[str, Any]:
        found: dict[str, Any] = get_json(self.base_url.removesuffix("/v1") + "/counts")
        return found


def start_scripted(*options: str, port: int | None = None) -> Scripted:
    port = port or free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.scripted_server", "--port", str(port), *options],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    wait_until(f"http://127.0.0.1:{port}/counts", 30)
    return Scripted(f"http://127.0.0.1:{port}/v1", process)


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = start_scripted("--latency-ms", "10")
    yield server
    stop(server.process)


def settings_file(folder: Path, base_url: str, *, model: str = "scripted", extra: str = "") -> Path:
    """A small ``factory.toml`` over a scripted server."""
    path = folder / "factory.toml"
    path.write_text(
        f"""
run = "test"
data = {json.dumps(str(folder / "data"))}
batch_size = 3
samples = 4

[seeds]
roles = {json.dumps(str(ROOT / "seeds/roles.jsonl"))}
personas = {json.dumps(str(ROOT / "seeds/personas.jsonl"))}
max_roles = 5

[dialogues]
turns = 2
reference_samples = 2
min_score = 0

[endpoints.scripted]
base_url = "{base_url}"
model = "{model}"
max_concurrency = 8
{extra}

[roles.policy]
endpoint = "scripted"
max_tokens = 80
"""
    )
    return path
