"""Operating the factory: a real Prefect server and real workers, started by ``rpo up``; runs as the UI starts them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.services import family
from tests.flows.conftest import Rpo, free_port
from tests.flows.test_faults import write_roles
from tests.flows.test_kill import COMMIT_S
from tests.flows.test_stops import wait_for
from tests.scripted_server import Script, ScriptedServer

pytestmark = pytest.mark.slow

POSTGRES = "TEST_POSTGRES_URL"
MARKER = "heliotrope"
"""A word in the questions of the role whose batch is made to fail."""
NOTICED_S = 120
# 5 roles x 2 turns x (a policy request and a reference request)
REQUESTS = 20


@dataclass
class Operated:
    """What ``rpo up`` has started."""

    rpo: Rpo
    api: httpx.Client
    said: dict[str, Any]
    home: Path

    @property
    def port(self) -> str:
        """Of the server."""
        return str(self.api.base_url.port)

    def pid(self, service: str) -> int:
        """Of a service's process."""
        return int(json.loads((self.home / f"rpo/{service}.pid").read_text())["pid"])

    def ask(self, method: str, path: str, **options: Any) -> Any:
        deadline = time.monotonic() + 30
        # its SQLite is busy; the UI asks again too
        while (reply := self.api.request(method, path, **options)).status_code == 503:
            assert time.monotonic() < deadline, reply.text
            time.sleep(0.5)
        assert reply.is_success, reply.text
        return reply.json()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self.ask("POST", path, json=body)

    def form(self, deployment: str) -> dict[str, Any]:
        """The settings that the form of a deployment begins with."""
        return dict(self.ask("GET", f"/deployments/name/{deployment}")["parameters"]["settings"])

    def run(self, flow: str, deployment: str, **parameters: Any) -> str:
        """A run with parameters, as the form of the UI asks for it; returns its id."""
        found = self.ask("GET", f"/deployments/name/{flow}/{deployment}")
        body = {"parameters": {**found["parameters"], **parameters}, "state": {"type": "SCHEDULED"}}
        return str(self.post(f"/deployments/{found['id']}/create_flow_run", body)["id"])

    def resume(self, *options: str) -> str:
        """What ``rpo resume`` says beside a summary."""
        return self.rpo.start("resume", *options).communicate(timeout=120)[1]

    def prefect(self, *args: str) -> None:
        """Prefect's own command, at this server."""
        env = {**self.rpo.env, "PREFECT_API_URL": str(self.said["api"])}
        subprocess.run([sys.executable, "-m", "prefect", *args], env=env, check=True, capture_output=True, timeout=120)

    def states(self, run: str) -> list[dict[str, Any]]:
        """All that the run has been in, the latest last."""
        found = self.ask("GET", "/flow_run_states/", params={"flow_run_id": run})
        return sorted(found, key=lambda state: datetime.fromisoformat(state["timestamp"]))

    def wait(self, run: str, name: str, *, times: int = 1, seconds: float = 240) -> dict[str, Any]:
        """Until the run has been in a state so many times; a state may last for less than what looks for it needs."""
        deadline = time.monotonic() + seconds
        while True:
            states = self.states(run)
            reached = [state for state in states if state["name"] == name]
            if len(reached) >= times:
                return reached[-1]
            assert time.monotonic() < deadline, states
            time.sleep(0.5)

    def task_states(self, run: str, task: str, times: int) -> list[str]:
        """The states of a task's runs, once so many of them are recorded: the server is late."""
        body = {"task_runs": {"name": {"like_": task}}, "flow_runs": {"id": {"any_": [run]}}}
        deadline = time.monotonic() + 60
        while True:
            found = [item["state"]["name"] for item in self.post("/task_runs/filter", body)]
            if len(found) == times and not {"Pending", "Running"} & set(found):
                return sorted(found)
            assert time.monotonic() < deadline, found
            time.sleep(0.5)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def operated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    folder, home = tmp_path_factory.mktemp("operate"), tmp_path_factory.mktemp("home")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "RPO_"))}
    if request.param == "postgres":
        if POSTGRES not in os.environ:
            pytest.skip(f"{POSTGRES}=postgresql+asyncpg://... names an empty database for it")
        env["PREFECT_API_DATABASE_CONNECTION_URL"] = os.environ[POSTGRES]
    rpo = Rpo({**env, "PREFECT_HOME": str(home), "PREFECT_WORKER_QUERY_SECONDS": "2", "COLUMNS": "200"}, folder)
    said = rpo.json("up", "--port", str(free_port()))
    with httpx.Client(base_url=said["api"], timeout=30) as api:
        yield Operated(rpo, api, said, home)
    assert "Stopped: worker-factory, worker-gpu, server." in rpo("down")
    assert "Nothing is up" in rpo("down")


class HeldServer(ScriptedServer):
    """Gives no answer for as long as it is held, so that a run outlasts what is done to it."""

    held = False

    async def _wait(self, fault: str) -> None:
        while self.held:
            await asyncio.sleep(0.1)
        await super()._wait(fault)


class OneBadBatch(ScriptedServer):
    """Fails every second of the judge's calls about one role's sampled responses, for as long as it is ill."""

    def __init__(self) -> None:
        super().__init__(Script(latency_s=0.02))
        self.ill, self._sampled = True, False
        self.marked: dict[str, bool] = {}
        """The judge's calls about them, and whether they fail."""

    def _next_fault(self, call: str) -> str:
        body = self.bodies[-1]
        asked = str(body["messages"])
        if MARKER not in asked:
            return "ok"
        # the judge has a say in the dialogue too: that is played when the policy is asked
        self._sampled |= body["model"] == "learner"
        if body["model"] != "referee" or not self._sampled:
            return "ok"
        fails = self.marked.setdefault(call, len(self.marked) % 2 == 0)
        return "internal" if self.ill and fails else "ok"


def write_settings(folder: Path, run: str, base_url: str, **more: Any) -> dict[str, Any]:
    """Settings of a small run, as the form sends them: five roles, each a batch of its own."""
    write_roles(folder / "roles.jsonl", 10)
    endpoint = {"base_url": base_url, "max_concurrency": 2, "max_tries": 2, "timeout_s": 600}
    return {
        "run": run,
        "data": str(folder / "data"),
        "batch_size": 1,
        "samples": 4,
        "seeds": {"roles": str(folder / "roles.jsonl"), "languages": ["en"], "max_personas": 2},
        "dialogues": {"turns": 2, "reference_samples": 2, "min_score": 0},
        "endpoints": {name: {**endpoint, "model": name} for name in ("pen", "referee", "learner")},
        "roles": {"policy": {"endpoint": "learner", "max_tokens": 80}},
        **more,
    }


def mark_role(folder: Path) -> None:
    """The questions of one role name it, so that its judge's calls are known."""
    path = folder / "roles.jsonl"
    roles = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    roles[4]["questions"] = [f"{MARKER}: {question}" for question in roles[4]["questions"]]
    path.write_text("\n".join(json.dumps(role, ensure_ascii=False) for role in roles), "utf-8")


def test_up_again_changes_nothing(operated: Operated) -> None:
    assert operated.said["started"] == ["server", "worker-factory", "worker-gpu"]
    found = operated.ask("GET", "/deployments/name/factory/factory")
    [nightly] = found["schedules"]
    assert not nightly["active"] and found["parameters"]["settings"]["data"] == str(operated.rpo.cwd / "data")
    switched = operated.api.patch(f"/deployments/{found['id']}/schedules/{nightly['id']}", json={"active": True})
    assert switched.is_success
    (operated.rpo.cwd / "own.gguf").touch()
    (operated.rpo.cwd / "own.toml").write_text(
        'run = "own"\nroles.policy.endpoint = "near"\n[endpoints.near]\nmodel = "m"\nserve = {model_path = "own.gguf"}'
    )
    again = operated.rpo.json("up", "--config", "own.toml")
    assert again["started"] == [] and again["schedules_on"] == ["nightly"]
    assert again["api"] == operated.said["api"]
    # the forms begin with those settings, in full, as a run works in another folder; a deployment's own stay
    form = operated.form("factory/factory")
    assert form["run"] == "own"
    assert form["endpoints"]["near"]["serve"]["model_path"] == str(operated.rpo.cwd / "own.gguf")
    assert operated.form("import-verdicts/import-verdicts")["run"] == "imported"
    assert operated.form("benchmark/benchmark")["benchmark"] == "ifeval"
    # what runs in a terminal is seen in the UI of this server, without a setting
    assert operated.said["api"] in operated.rpo("doctor")


def test_a_failed_batch_fails_alone_and_only_it_is_made_again(operated: Operated, tmp_path: Path) -> None:
    with OneBadBatch() as server:
        settings = write_settings(tmp_path, "judged", server.base_url, judging={"calibration_share": 0})
        settings["roles"] |= {
            "author": {"endpoint": "pen", "max_tokens": 4096},
            "responder": {"endpoint": "pen", "max_tokens": 80},
            "judge": {"endpoint": "referee", "max_tokens": 4096},
        }
        mark_role(tmp_path)
        run = operated.run("factory", "factory", settings=settings)
        said = operated.wait(run, "Failed")["message"]
        assert "1 of" in said and "max_failed_share" in said and "rpo resume" in said
        assert operated.task_states(run, "judge_responses", 5) == [*["Completed"] * 4, "Failed"]
        completed, attempts = dict(server.completed), dict(server.attempts)
        missing = server.marked.keys() - completed.keys()
        assert missing and server.marked.keys() & completed.keys()

        # as often as it fails again, nothing that was finished is asked again
        operated.prefect("flow-run", "retry", run)
        operated.wait(run, "Failed", times=2)
        assert {call for call, times in attempts.items() if server.attempts[call] > times} == missing
        assert operated.task_states(run, "judge_responses", 10) == [
            *["Cached"] * 4,
            *["Completed"] * 4,
            *["Failed"] * 2,
        ]

        server.ill = False
        assert "a worker takes it up" in operated.resume("--run", "judged")
        operated.wait(run, "Completed")
        again = [*["Cached"] * 8, *["Completed"] * 5, *["Failed"] * 2]
        assert operated.task_states(run, "judge_responses", 15) == again
        repeated = {call for call, times in attempts.items() if server.attempts[call] > times}
        assert repeated == missing
        assert max(server.completed.values()) == 1
        assert "nothing to resume" in operated.resume()


def test_a_run_outlives_its_server(operated: Operated, tmp_path: Path) -> None:
    with HeldServer(Script(latency_s=0.5)) as server:
        run = operated.run("factory", "factory", settings=write_settings(tmp_path, "served", server.base_url))
        wait_for(lambda: len(server.completed) >= 4)
        server.held = True
        os.kill(operated.pid("server"), signal.SIGKILL)
        assert operated.rpo.json("up", "--port", operated.port)["started"] == ["server"]
        assert len(server.completed) < REQUESTS
        server.held = False
        operated.wait(run, "Completed")
        assert len(server.completed) == REQUESTS and max(server.completed.values()) == 1


def test_a_killed_worker_is_noticed_and_its_run_goes_on(operated: Operated, tmp_path: Path) -> None:
    with ScriptedServer(Script(latency_s=1)) as server:
        run = operated.run("factory", "factory", settings=write_settings(tmp_path, "killed", server.base_url))
        wait_for(lambda: len(server.completed) >= 6)
        completed, attempts = set(server.completed), dict(server.attempts)
        time.sleep(COMMIT_S)
        for process in family(operated.pid("worker-factory")):
            os.kill(process, signal.SIGKILL)
        killed = datetime.now(UTC)
        assert len(server.completed) < REQUESTS, "the run was over before it was killed"
        crashed = operated.wait(run, "Crashed", seconds=NOTICED_S)
        noticed = datetime.fromisoformat(crashed["timestamp"]) - killed
        print(f"noticed after {noticed.total_seconds():.0f} s")
        assert noticed < timedelta(seconds=NOTICED_S)

        assert operated.rpo.json("up")["started"] == ["worker-factory"]
        operated.resume("--run", "killed")
        operated.wait(run, "Completed")
        assert len(server.completed) == REQUESTS
        # what the kill left in flight is no completed call
        assert not {call for call in completed if server.attempts[call] != attempts[call]}
    summary = json.loads((tmp_path / "data/runs/killed.json").read_text("utf-8"))["summary"]
    assert summary["audited"] == summary["pairs"] > 0 and summary["audit_failed"] == 0
    for dataset in ("systems", "turns", "responses", "judgments", "pairs"):
        operated.rpo.sql(tmp_path / "data", f"select count(*) from killed.{dataset}")


def switch_restarts(operated: Operated, on: bool) -> None:
    """Switch the automation that restarts crashed runs, as in the UI."""
    found = operated.post("/automations/filter", {"automations": {"name": {"any_": ["rpo: restart crashed runs"]}}})
    [automation] = found
    reply = operated.api.patch(f"/automations/{automation['id']}", json={"enabled": on})
    assert reply.is_success, reply.text


@pytest.mark.long
def test_a_crash_after_the_server_was_restarted(operated: Operated, tmp_path: Path) -> None:
    """Only the server of before has seen that the run began; the automation that is off by default acts on its end."""
    with HeldServer(Script(latency_s=0.5)) as server:
        switch_restarts(operated, on=True)
        run = operated.run("factory", "factory", settings=write_settings(tmp_path, "crashed", server.base_url))
        wait_for(lambda: len(server.completed) >= 4)
        server.held = True
        completed, attempts = set(server.completed), dict(server.attempts)
        os.kill(operated.pid("server"), signal.SIGKILL)
        assert operated.rpo.json("up", "--port", operated.port)["started"] == ["server"]
        for process in family(operated.pid("worker-factory"))[1:]:
            os.kill(process, signal.SIGKILL)
        server.held = False
        operated.wait(run, "AwaitingRetry", seconds=120)
        operated.wait(run, "Completed")
        switch_restarts(operated, on=False)
        assert len(server.completed) == REQUESTS
        assert not {call for call in completed if server.attempts[call] != attempts[call]}
        # the worker says twice that its run was killed, and it is restarted once
        states = [state["name"] for state in operated.states(run)]
        assert states.count("Crashed") in (1, 2) and states.count("AwaitingRetry") == 1, states


@pytest.mark.long
def test_down_ends_a_run_that_goes_on_after_up(operated: Operated, tmp_path: Path) -> None:
    with HeldServer(Script(latency_s=0.5)) as server:
        run = operated.run(
            "stage",
            "sample_responses",
            stage="sample_responses",
            settings=write_settings(tmp_path, "stopped", server.base_url),
        )
        wait_for(lambda: len(server.completed) >= 2)
        server.held = True
        operated.rpo("down")
        server.held = False
        operated.rpo("up", "--port", operated.port)
        assert "by `rpo down`" in operated.wait(run, "Crashed", seconds=5)["message"]
        operated.resume()
        operated.wait(run, "Completed")
        assert len(server.completed) == REQUESTS
