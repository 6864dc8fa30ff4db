"""The same run in one process and in several: on threads, Dask and Ray."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flows import runners
from models.errors import SettingsError
from models.loading import validate_settings
from models.settings import FactorySettings
from tests.flows.conftest import Rpo, settings_file, start_scripted, stop

SLOTS = 8
LATENCY_MS = 300
# what the server has sent needs this long, at the very most, to be committed by a client on a busy machine
COMMIT_S = 0.5
JUDGED = """
[roles.judge]
endpoint = "scripted"
max_tokens = 500
temperature = 0.0

[judging]
calibration_share = 0.3
"""


def needs(engine: str) -> None:
    for name in runners.PACKAGES[engine]:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"the extra `{engine}` is not installed: {name}")


def run_with(rpo: Rpo, folder: Path, engine: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A run of its own data folder on two workers, over a server of its own; its summary and the server's counts."""
    folder.mkdir()
    server = start_scripted("--latency-ms", str(LATENCY_MS))
    try:
        config = settings_file(folder, server.base_url)
        # a batch a role: enough of them that each process has some, also where one starts late
        config.write_text(
            config.read_text().replace("batch_size = 3", "batch_size = 1")
            + JUDGED
            + f'\n[runner]\nengine = "{engine}"\nworkers = 2\n'
        )
        done: dict[str, Any] = rpo.json("run", "--config", str(config))
        return done, server.counts()
    finally:
        stop(server.process)


def content(data: Path) -> dict[str, bytes]:
    """Every part but the accounts of calls, which hold how long each took."""
    parts = sorted(data.glob("*/[0-9a-f]*.parquet"))
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in parts if path.parent.name != "llm_calls"}


def accounts(data: Path) -> list[tuple[Any, ...]]:
    """The accounts without times and without who paid: of two that ask the same at once, either may be the first."""
    columns = ["request_hash", "stage", "role", "prompt_tokens", "completion_tokens", "error"]
    tables = [pq.read_table(path, columns=columns) for path in (data / "llm_calls").glob("[0-9a-f]*.parquet")]
    return sorted(tuple(row.values()) for table in tables for row in table.to_pylist())


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_two_processes_make_the_same_bytes(rpo: Rpo, tmp_path: Path, engine: str) -> None:
    needs(engine)
    alone, asked = run_with(rpo, tmp_path / "threads", "threads")
    spread, asked_together = run_with(rpo, tmp_path / engine, engine)
    assert content(tmp_path / engine / "data") == content(tmp_path / "threads/data")
    assert accounts(tmp_path / engine / "data") == accounts(tmp_path / "threads/data")
    assert spread["calls_made"] == asked_together["samples"]
    assert spread["calls_made"] + spread["calls_cached"] == alone["calls_made"] + alone["calls_cached"]
    # a run may go on with another engine: there is nothing left to do, without its server
    again = rpo.json("run", "--config", str(tmp_path / engine / "factory.toml"), "--set", "runner.engine=threads")
    assert (again["calls_made"], again["calls_cached"], again["pairs"]) == (0, 0, spread["pairs"])
    # the bound holds for both together, and both were at work
    assert asked["peak"] == SLOTS
    assert SLOTS / 2 < asked_together["peak"] <= SLOTS


@pytest.mark.long
def test_two_runs_keep_one_limit(rpo: Rpo, prefect_env: dict[str, str], tmp_path: Path) -> None:
    server = start_scripted("--latency-ms", "100")
    try:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            settings_file(tmp_path / name, server.base_url, extra='shared_limit = "models"')
        args = [("run", "--config", str(tmp_path / name / "factory.toml")) for name in ("one", "two")]
        assert "prefect gcl create models --limit 8" in rpo(*args[0], code=2)
        post_json(f"{prefect_env['PREFECT_API_URL']}/v2/concurrency_limits/", {"name": "models", "limit": 12})
        for process in [rpo.start(*each) for each in args]:
            out, err = process.communicate(timeout=300)
            assert process.returncode == 0, (out, err)
        assert server.counts()["peak"] == SLOTS
    finally:
        stop(server.process)


def post_json(url: str, body: dict[str, Any]) -> None:
    data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=20).close()


def spread_settings(**changes: Any) -> FactorySettings:
    endpoint = {"base_url": "http://a/v1", "model": "m", "max_concurrency": 9} | changes.pop("endpoint", {})
    values = {"endpoints": {"a": endpoint}, "roles": {"policy": {"endpoint": "a"}}}
    return validate_settings(values | {"runner": {"engine": "dask", "workers": 4}} | changes)


def test_each_process_has_its_share() -> None:
    settings = spread_settings()
    assert settings.share("a").max_concurrency == 2  # four times two is not more than nine
    alone = settings.model_copy(update={"runner": settings.runner.model_copy(update={"engine": "threads"})})
    assert alone.share("a").max_concurrency == 9


@pytest.mark.parametrize(
    ("changes", "what", "next_step"),
    [
        ({"endpoint": {"base_url": None, "serve": {}}}, "in each of 4 processes", "endpoints.a.base_url"),
        ({"endpoint": {"max_concurrency": 3}}, "cannot be shared by 4", "runner.workers=3"),
        ({"runner": {"engine": "dask", "address": "tcp://a:8786"}, "data": "here"}, "another folder for each", "/here"),
        ({"endpoint": {"price_in": 1, "price_out": 1}, "budget": 5}, "kept by one process", "runner.engine=threads"),
    ],
)
def test_what_several_processes_cannot_do(changes: dict[str, Any], what: str, next_step: str) -> None:
    with pytest.raises(SettingsError) as refused:
        runners.require_runner(spread_settings(**changes))
    assert what in refused.value.what and next_step in refused.value.next_step
    alone = changes | {"runner": {"engine": "threads"}}
    runners.require_runner(spread_settings(**alone))


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(runners.PACKAGES, "dask", ("prefect_dask_that_is_not_there",))
    with pytest.raises(SettingsError, match=r"extra `dask`.*prefect_dask_that_is_not_there") as refused:
        runners.require_runner(spread_settings())
    assert refused.value.next_step == 'Type: pip install --editable ".[dask]"'


def worker_pids(parent: int) -> list[int]:
    """The worker processes that Dask has started for a run (Linux)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            of = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if of == parent and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


@pytest.mark.long
def test_a_killed_worker_process(rpo: Rpo, tmp_path: Path) -> None:
    """The run goes on without it and ends well; no call that was completed is made again."""
    needs("dask")
    server = start_scripted("--latency-ms", "400")
    try:
        config = settings_file(tmp_path, server.base_url)
        config.write_text(config.read_text() + '\n[runner]\nengine = "dask"\nworkers = 2\n')
        # so that much is left to do
        limits = ("--set", "endpoints.scripted.max_concurrency=2", "--json")
        process = rpo.start("run", "--config", str(config), *limits)
        deadline = time.monotonic() + 120
        while len(server.counts()["completed_calls"]) < 10:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        answered = server.counts()
        time.sleep(COMMIT_S)
        workers = worker_pids(process.pid)
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        done = json.loads(out.strip().splitlines()[-1])
        attempts = server.counts()["attempts"]
        repeated = [call for call in answered["completed_calls"] if attempts[call] != answered["attempts"][call]]
        assert not repeated
        # 2 languages x 5 roles x 2 turns x (4 policy samples + 2 reference samples)
        assert len(rpo.sql(tmp_path / "data", "select distinct request_hash from llm_calls")) == 120
        assert done["audit_failed"] == 0
        assert done["audited"] == done["pairs"] > 0
    finally:
        stop(server.process)
