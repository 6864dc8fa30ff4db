"""Single stages: each makes what is missing before it, and together they are the factory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import ROOT, Rpo, Scripted, settings_file, start_scripted, stop

PROGRAM = """
import sys
from pathlib import Path
from flows.one_stage import make_stage
from models.loading import load_settings
for stage in sys.argv[2:]:
    print(make_stage(load_settings(Path(sys.argv[1])), stage).model_dump_json())
"""


def make_stages(rpo: Rpo, config: Path, *stages: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-c", PROGRAM, str(config), *stages]
    done = subprocess.run(command, cwd=ROOT, env=dict(rpo.env), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_single_stages_are_the_factory(rpo: Rpo, scripted: Scripted, tmp_path: Path) -> None:
    config, data = settings_file(tmp_path, scripted.base_url), tmp_path / "data"

    def status() -> dict[str, Any]:
        [found] = rpo.json("status", "--data", str(data))
        return dict(found)

    [users, sampled] = make_stages(rpo, config, "expand_users", "sample_responses")
    assert users["rows"] > 0 and sampled["rows"] == 80
    first = status()
    assert first["status"] == "partial"
    assert {"systems", "users", "turns", "responses"} <= set(first["datasets"])
    assert "judgments" not in first["datasets"] and "reversals" not in first["datasets"]
    requests = scripted.counts()["requests"]

    [audited] = make_stages(rpo, config, "audit_pairs")
    assert audited["rows"] > 0
    assert status()["status"] == "partial"
    assert {"judgments", "reversals", "pairs", "audits"} <= set(status()["datasets"])
    whole = rpo.json("run", "--config", str(config))
    assert (whole["calls_made"], whole["pairs"]) == (0, status()["datasets"]["pairs"]["rows"])
    assert scripted.counts()["requests"] == requests

    # a stage of a complete run takes nothing from it
    complete = status()
    make_stages(rpo, config, "judge_responses")
    assert (status()["status"], status()["datasets"]) == ("complete", complete["datasets"])
    assert scripted.counts()["requests"] == requests


def test_the_cause_is_told_of_a_stage_before(rpo: Rpo, tmp_path: Path) -> None:
    server = start_scripted("--model", "there")
    try:
        config = settings_file(tmp_path, server.base_url, model="elsewhere")
        with pytest.raises(AssertionError, match=r"StageError: 12 of \d+ batches did not finish: .*404"):
            make_stages(rpo, config, "build_pairs")
        [run] = rpo.json("status", "--data", str(tmp_path / "data"))
        assert {"systems", "users"} <= set(run["datasets"])
    finally:
        stop(server.process)
