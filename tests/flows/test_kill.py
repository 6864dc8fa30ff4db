"""``kill -9`` at random moments: the same pairs as an undisturbed run, and no completed call made again."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import Rpo, Scripted, settings_file, start_scripted, stop
from tests.flows.test_factory import audit_trl

LATENCY_S = 0.7
# what the server has sent needs this long, at the very most, to be committed by a client on a busy machine
COMMIT_S = 0.5


def kill_group(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def wait_for_start(process: subprocess.Popen[str], data: Path) -> None:
    """Until the run holds its lock: earlier there is only Python importing."""
    manifest = data / "runs/test.json"
    before = manifest.stat().st_mtime_ns if manifest.exists() else 0
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if manifest.exists() and manifest.stat().st_mtime_ns != before:
            return
        time.sleep(0.02)


def wait_for_answer(process: subprocess.Popen[str], server: Scripted, before: dict[str, int]) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if server.counts()["completed_calls"] != before:
            return
        time.sleep(0.1)


def no_part_is_damaged(rpo: Rpo, data: Path) -> None:
    for dataset in ("systems", "turns", "responses", "judgments", "pairs"):
        rpo.sql(data, f"select count(*) from test.{dataset}")


@pytest.mark.slow
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.long)])
def test_killed_many_times(rpo: Rpo, tmp_path: Path, kills: int) -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    print(f"kill moments from seed {seed}")  # shown when the test fails
    server = start_scripted("--latency-ms", str(LATENCY_S * 1000))
    try:
        (tmp_path / "calm").mkdir()
        (tmp_path / "killed").mkdir()
        calm = settings_file(tmp_path / "calm", server.base_url)
        # fewer at a time, so that there is work left for every kill
        limits = ["--set", "endpoints.scripted.max_concurrency=2", "--set", "seeds.max_roles=8"]
        undisturbed = rpo.json("run", "--config", str(calm), "--set", "seeds.max_roles=8", "--set", "batch_size=4")
        # as long as the machine needs now: a busy one makes its calls late
        window = max(2.5, 0.5 * undisturbed["seconds"])
        after_calm: dict[str, Any] = server.counts()
        assert max(after_calm["completed_calls"].values()) == 1
    finally:
        stop(server.process)

    server = start_scripted("--latency-ms", str(LATENCY_S * 1000))
    try:
        config = settings_file(tmp_path / "killed", server.base_url)
        data = tmp_path / "killed/data"
        finished = 0
        answered: dict[str, int] = {}
        for kill in range(kills):
            # what the last kill left in flight is answered into the void; it is no completed call
            time.sleep(LATENCY_S)
            before = server.counts()["completed_calls"]
            process = rpo.start("run", "--config", str(config), *limits)
            wait_for_start(process, data)
            if kill == kills - 1 and not answered:
                # every kill before came before the first answer: this one is to come after it
                wait_for_answer(process, server, before)
            time.sleep(rng.uniform(0, window))
            counts = server.counts()
            time.sleep(COMMIT_S)
            finished += process.poll() is not None
            if process.poll() is None:
                kill_group(process)
            else:
                process.communicate()
            for call, times in counts["completed_calls"].items():
                if times > before.get(call, 0):
                    answered.setdefault(call, counts["attempts"][call])
        assert finished < kills / 2, "the kills came too late to mean anything"
        done = rpo.json("run", "--config", str(config), *limits)
        attempts = server.counts()["attempts"]
        repeated = {call for call, count in answered.items() if attempts[call] != count}
        assert answered
        assert not repeated, f"{len(repeated)} of {len(answered)} completed calls were made again"
        assert set(server.counts()["completed_calls"]) == set(after_calm["completed_calls"])
    finally:
        stop(server.process)

    no_part_is_damaged(rpo, data)
    assert done["audit_failed"] == 0
    statement = "select pair_id, chosen_id, rejected_id, reversed_ids, margin, noise_case from test.pairs order by 1"
    assert rpo.sql(data, statement) == rpo.sql(tmp_path / "calm/data", statement)
    assert len(rpo.sql(data, statement)) == undisturbed["pairs"]


@pytest.mark.long
@pytest.mark.model
def test_killed_over_the_real_server(rpo: Rpo, tmp_path: Path) -> None:
    """Over llama.cpp: the server dies with the run, committed answers are never asked for again."""
    options = ["--data", str(tmp_path / "data"), "--run", "test"]
    for item in (
        "seeds.max_roles=2",
        'seeds.languages=["en"]',
        "batch_size=1",
        "samples=3",
        "roles.policy.max_tokens=24",
    ):
        options += ["--set", item]
    for item in ("dialogues.turns=2", "dialogues.reference_samples=2", "dialogues.min_score=0"):
        options += ["--set", item]
    rng = random.Random(5)
    stored: dict[str, str] = {}
    for _ in range(3):
        process = rpo.start("run", *options)
        wait_for_start(process, tmp_path / "data")
        time.sleep(rng.uniform(3, 6))
        if process.poll() is None:
            kill_group(process)
        stored_now = _answers(tmp_path / "data")
        assert stored.items() <= stored_now.items()
        stored = stored_now
    done = rpo.json("run", *options)
    assert done["audit_failed"] == 0
    assert done["audited"] == done["pairs"] == audit_trl(tmp_path / "data/exports/test/trl")
    assert stored.items() <= _answers(tmp_path / "data").items()
    # 2 roles x 2 turns x (2 reference + 3 policy samples); what was stored was not made again
    assert done["calls_made"] <= 20 - len(stored)
    assert len(_answers(tmp_path / "data")) == 20


def _answers(data: Path) -> dict[str, str]:
    path = data / "calls.sqlite"
    if not path.exists():
        return {}
    with sqlite3.connect(path) as db:
        return {row[0]: row[1] for row in db.execute("select request_hash, answer from calls")}
