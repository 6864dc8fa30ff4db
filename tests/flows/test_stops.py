"""What stops a run at its model servers: one message that says what to mend, and the same command goes on after it.

No call that was completed before is made again: a scripted server knows a call by its body, whenever it is started.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flows.conftest import Rpo, Scripted, one_message, settings_file, start_scripted, stop

# 2 languages x 5 roles x 2 turns x (a policy request and a reference request)
REQUESTS = 40
PRICES = "price_in = 1.0\nprice_out = 2.0\n"


def completed(server: Scripted) -> set[str]:
    """The calls that a server has completed, each of them once."""
    calls = server.counts()["completed_calls"]
    assert max(calls.values(), default=1) == 1
    return set(calls)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def test_wrong_key(rpo: Rpo, tmp_path: Path) -> None:
    server = start_scripted("--key", "right-key")
    try:
        config = settings_file(tmp_path, server.base_url, extra='api_key_env = "FACTORY_TEST_KEY"')
        text = rpo("run", "--config", str(config), code=2)
        assert "FACTORY_TEST_KEY" in one_message(text)
        rpo.extra = {"FACTORY_TEST_KEY": "sk-wrong-secret"}
        text = rpo("run", "--config", str(config), code=1)
        assert "FACTORY_TEST_KEY" in text and "401" in one_message(text)
        assert "sk-wrong-secret" not in text
        rpo.extra = {"FACTORY_TEST_KEY": "right-key"}
        assert rpo.json("run", "--config", str(config))["audit_failed"] == 0
        assert len(completed(server)) == REQUESTS
        for path in (tmp_path / "data").rglob("*"):
            if path.is_file():
                assert b"right-key" not in path.read_bytes(), path
    finally:
        stop(server.process)


def test_model_not_found(rpo: Rpo, tmp_path: Path) -> None:
    server = start_scripted("--model", "there")
    try:
        config = settings_file(tmp_path, server.base_url, model="elsewhere")
        text = rpo("run", "--config", str(config), code=1)
        assert "404" in one_message(text) and "`elsewhere`" in text
        assert "endpoints.scripted.model" in text
        done = rpo.json("run", "--config", str(config), "--set", "endpoints.scripted.model=there")
        assert done["audit_failed"] == 0
        assert len(completed(server)) == REQUESTS
    finally:
        stop(server.process)


def test_context_too_long(rpo: Rpo, tmp_path: Path) -> None:
    # too little for the longer prompts: the history of a second turn is in them
    server = start_scripted("--context", "300")
    config = settings_file(tmp_path, server.base_url, extra="max_tries = 2")
    try:
        text = rpo("run", "--config", str(config), code=1)
        assert "too long" in one_message(text) and "context length" in text
        assert re.search(r"roles\.\w+\.max_tokens", text) and "larger context" in text
        first = completed(server)
    finally:
        stop(server.process)
    assert 0 < len(first) < REQUESTS
    server = start_scripted("--context", "30000", port=server.port)
    try:
        # a run of a terminal goes on in a terminal, with the settings that it had
        assert rpo.json("resume", "--run", "test")["audit_failed"] == 0
        assert "nothing to resume" in rpo.start("resume", "--run", "test").communicate(timeout=120)[1]
        assert len(first) + len(completed(server)) == REQUESTS
        assert not first & completed(server)
    finally:
        stop(server.process)


def test_a_server_that_is_gone_and_comes_back(rpo: Rpo, tmp_path: Path) -> None:
    server = start_scripted("--latency-ms", "500")
    config = settings_file(tmp_path, server.base_url, extra="max_tries = 2")
    run = rpo.start("run", "--config", str(config), "--set", "endpoints.scripted.max_concurrency=2")
    wait_for(lambda: len(completed(server)) > 5)
    # what is under way at its death may have been answered: only what it says now is known
    first = completed(server)
    server.process.kill()
    server.process.wait()
    _, text = run.communicate(timeout=540)
    assert run.returncode == 1
    assert f"no connection to endpoints.scripted.base_url = {server.base_url}" in one_message(text)
    assert "completed calls are" in text and "only what is missing is made" in text
    server = start_scripted(port=server.port)
    try:
        assert rpo.json("run", "--config", str(config))["audit_failed"] == 0
        assert not first & completed(server)
        assert len(first | completed(server)) <= REQUESTS
    finally:
        stop(server.process)


def test_budget_reached(rpo: Rpo, scripted: Scripted, tmp_path: Path) -> None:
    config = settings_file(tmp_path, scripted.base_url, extra=PRICES)
    budget, stops = "budget=0.02", 0
    while True:
        process = rpo.start("run", "--config", str(config), "--set", budget)
        _, text = process.communicate(timeout=540)
        if process.returncode == 0:
            break
        assert process.returncode == 1
        said = re.search(r"The budget of the run 'test' is used up: (\S+) of (\S+) are spent", one_message(text))
        assert said and float(said[1]) <= float(said[2]) == float(budget.removeprefix("budget="))
        stops += 1
        # as the message says
        again = re.search(r"--set (budget=\S+)", text)
        assert again
        budget = again[1]
    assert stops > 0
    assert len(completed(scripted)) == REQUESTS
    [status] = rpo.json("status", "--data", str(tmp_path / "data"))
    assert 0 < status["spent"] <= status["budget"] == float(budget.removeprefix("budget="))


@pytest.mark.parametrize(
    ("sign", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long)]
)
def test_stopped_by_a_signal(rpo: Rpo, tmp_path: Path, sign: signal.Signals, code: int) -> None:
    """Over Prefect's temporary server, which a Ctrl-C reaches as well: a terminal sends it to all of a command."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a child of a background job would ignore it
    server = start_scripted("--latency-ms", "700")
    try:
        config = settings_file(tmp_path, server.base_url)
        rpo.env = {name: value for name, value in rpo.env.items() if name != "PREFECT_API_URL"}
        rpo.extra = {"PREFECT_HOME": str(tmp_path / "home")}
        process = rpo.start("run", "--config", str(config))
        wait_for(lambda: len(server.counts()["completed_calls"]) >= 10)
        before = time.monotonic()
        os.killpg(process.pid, sign)
        out, err = process.communicate(timeout=120)
        assert time.monotonic() - before < 40  # without a server it goes on for minutes
        assert (process.returncode, out) == (code, "")
        assert err == "Stopped. Everything completed is stored; the same command goes on from there.\n"
        assert len(completed(server)) < REQUESTS
        assert rpo.json("run", "--config", str(config))["audit_failed"] == 0
        assert len(completed(server)) == REQUESTS
    finally:
        stop(server.process)


def test_a_killed_command_takes_its_temporary_server_along(rpo: Rpo, scripted: Scripted, tmp_path: Path) -> None:
    config = settings_file(tmp_path, scripted.base_url)
    rpo.env = {name: value for name, value in rpo.env.items() if name != "PREFECT_API_URL"}
    rpo.extra = {"PREFECT_HOME": str(tmp_path / "home")}
    process = rpo.start("run", "--config", str(config))
    wait_for(lambda: scripted.counts()["requests"] > 0)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    [server] = [pid for pid in children if b"temporary_server.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    process.kill()
    process.communicate()
    wait_for(lambda: not Path(f"/proc/{server}").exists())
