"""What goes wrong at the door or on this machine ends in one clear message, with nothing lost."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.conftest import ROOT, Rpo, Scripted, one_message, settings_file, start_scripted, stop

# 2 languages x 5 roles x 2 turns x (2 reference and 4 policy samples)
ALL_CALLS = 120


def test_broken_seed_line(rpo: Rpo, scripted: Scripted, tmp_path: Path) -> None:
    roles = tmp_path / "roles.jsonl"
    lines = (ROOT / "seeds/roles.jsonl").read_text("utf-8").splitlines()[:3]
    roles.write_text("\n".join([lines[0], '{"role_id": "x", "language": "fr"}', lines[1], lines[0]]), "utf-8")
    config = settings_file(tmp_path, scripted.base_url)
    message = one_message(rpo("run", "--config", str(config), "--set", f"seeds.roles={roles}", code=1))
    assert "line 2: language" in message
    assert "line 4: role_id" in message and "line 1 too" in message
    assert scripted.counts()["requests"] == 0


def test_a_language_that_no_persona_speaks(rpo: Rpo, tmp_path: Path) -> None:
    personas = tmp_path / "personas.jsonl"
    lines = (ROOT / "seeds/personas.jsonl").read_text("utf-8").splitlines()
    personas.write_text("\n".join(line for line in lines if '"language": "en"' in line), "utf-8")
    config = settings_file(tmp_path, "http://127.0.0.1:1/v1")
    message = one_message(rpo("run", "--config", str(config), "--set", f"seeds.personas={personas}", code=1))
    assert "no persona that speaks it" in message


def test_unknown_setting_names_the_nearest(rpo: Rpo, tmp_path: Path) -> None:
    config = settings_file(tmp_path, "http://127.0.0.1:1/v1", extra="max_concurency = 3")
    text = rpo("run", "--config", str(config), code=2)
    assert "did you mean endpoints.scripted.max_concurrency?" in one_message(text)
    rpo.extra = {"RPO_DIALOGUE__TURNS": "3"}
    assert "did you mean dialogues?" in one_message(rpo("run", code=2))


def test_a_role_that_nobody_asks(rpo: Rpo, tmp_path: Path) -> None:
    config = settings_file(tmp_path, "http://127.0.0.1:1/v1")
    text = rpo("run", "--config", str(config), "--set", 'roles.critic={"endpoint": "scripted"}', code=2)
    assert "roles.critic would never be asked" in one_message(text)
    text = rpo("run", "--config", str(config), "--set", 'roles.author={"endpoint": "scripted"}', code=2)
    assert "roles.judge" in one_message(text)


def test_port_in_use(rpo: Rpo, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        rpo.extra = {"RPO_ENDPOINTS__DEMO__SERVE__PORT": str(port), "RPO_ENDPOINTS__DEMO__MODEL": "embedded"}
        text = rpo("run", "--data", str(tmp_path / "data"), code=1)
    assert str(port) in one_message(text)
    assert "serve.port = 0" in text


def test_missing_model_file(rpo: Rpo, tmp_path: Path) -> None:
    rpo.extra = {
        "RPO_ENDPOINTS__DEMO__SERVE__MODEL_PATH": str(tmp_path / "none.gguf"),
        "RPO_ENDPOINTS__DEMO__MODEL": "none",
    }
    assert "none.gguf" in one_message(rpo("run", "--data", str(tmp_path / "data"), code=1))


def test_truncated_part(rpo: Rpo, scripted: Scripted, tmp_path: Path) -> None:
    config = settings_file(tmp_path, scripted.base_url)
    first = rpo.json("run", "--config", str(config))
    part = next((tmp_path / "data/responses").glob("[0-9a-f]*.parquet"))
    part.write_bytes(part.read_bytes()[:-100])
    text = rpo("run", "--config", str(config), code=1)
    assert part.name in one_message(text)
    part.unlink()
    again = rpo.json("run", "--config", str(config))
    assert (again["calls_made"], again["pairs"]) == (0, first["pairs"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small tmpfs needs root")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", str(folder)]).returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def test_full_disk(rpo: Rpo, scripted: Scripted, tmp_path: Path, small_disk: Path) -> None:
    config = settings_file(tmp_path, scripted.base_url)
    text = rpo("run", "--config", str(config), "--data", str(small_disk / "data"), code=1)
    assert "space" in one_message(text).lower()
    # more room, which SQLite needs for reading as well: nothing that was stored is asked for again
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    with sqlite3.connect(small_disk / "data/calls.sqlite") as db:
        (stored,) = db.execute("select count(*) from calls").fetchone()
    done = rpo.json("run", "--config", str(config), "--data", str(small_disk / "data"))
    assert done["audit_failed"] == 0
    assert 0 < stored < ALL_CALLS
    assert done["calls_made"] == ALL_CALLS - stored


def test_two_processes_on_one_run(rpo: Rpo, tmp_path: Path) -> None:
    server = start_scripted("--latency-ms", "2000")
    try:
        config = settings_file(tmp_path, server.base_url)
        first = rpo.start("run", "--config", str(config), "--json")
        while not list((tmp_path / "data").glob("runs/test.json")):
            assert first.poll() is None
        text = rpo("run", "--config", str(config), code=1)
        assert "another process" in one_message(text)
        first.kill()
        first.communicate()
    finally:
        stop(server.process)
