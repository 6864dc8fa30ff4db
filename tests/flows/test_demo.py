"""The README's first command, on the embedded model; and the doctor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.flows.conftest import Rpo, settings_file, start_scripted, stop
from tests.flows.test_factory import audit_trl


@pytest.mark.slow
@pytest.mark.model
def test_demo_and_again(rpo: Rpo, tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = rpo.json("demo", "--data", str(data))
    assert first["calls_made"] > 0
    assert first["pairs"] > 0
    assert first["audit_failed"] == 0
    assert audit_trl(data / "exports/demo/trl") == first["pairs"]
    # both languages, both polarities and conditional constraints are in it
    languages = rpo.sql(data, "select distinct language from systems")
    assert {row["language"] for row in languages} == {"en", "zh"}
    assert rpo.sql(
        data, "select count(*) n from (select unnest(constraints) c from systems) where c.trigger is not null"
    )[0]["n"]
    # the server went with the run
    assert not [log for log in (data / "logs").glob("*.log") if _alive(int(log.stem.rpartition("-")[2]))]

    again = rpo.json("demo", "--data", str(data))
    assert again["calls_made"] == 0
    assert again["pairs"] == first["pairs"]


def _alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/cmdline")
    return status.exists() and b"llama_server" in status.read_bytes()


def test_doctor(rpo: Rpo, tmp_path: Path) -> None:
    server = start_scripted("--model", "scripted")
    try:
        config = settings_file(tmp_path, server.base_url)
        findings = rpo.json("doctor", "--config", str(config))
    finally:
        stop(server.process)
    assert all(finding["ok"] for finding in findings)
    assert any("69 seeds" in finding["what"] for finding in findings)
    settings_file(tmp_path, "http://127.0.0.1:9/v1")
    process = rpo.start("doctor", "--config", str(config), "--json")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    broken = [finding for finding in json.loads(out) if not finding["ok"]]
    assert [finding["what"].split(":")[0] for finding in broken] == ["endpoint scripted"]
    assert broken[0]["fix"]
    assert "dialogues.turns" in rpo("doctor", "--settings")


def test_help_names_every_command(rpo: Rpo) -> None:
    text = rpo("--help")
    for command in ("demo", "run", "status", "sql", "export", "doctor"):
        assert f"{command} " in text
