"""The trainer's program as it is launched by hand: what it says of wrong input, and with what it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from models.errors import FactoryError, SettingsError
from tasks.training.launch import read_refusal
from tasks.training.rpo import explain
from tests.flows.conftest import ROOT
from tests.tiny_model import make_tiny_model

pytest.importorskip("trl", reason="needs the extra `train`")


def run(folder: Path, **fields: Any) -> subprocess.CompletedProcess[str]:
    config = folder / "config.json"
    values = {"train_file": str(folder / "train.jsonl"), "output": str(folder / "out"), **fields}
    config.write_text(json.dumps(values))
    return subprocess.run(
        [sys.executable, "-m", "tasks.training.rpo", "--config", str(config)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_an_export_without_margins_is_one_message(tmp_path: Path) -> None:
    say = {side: [{"role": "assistant", "content": side}] for side in ("chosen", "rejected")}
    row = {"prompt": [{"role": "user", "content": "hi"}], **say}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    done = run(tmp_path, model=str(make_tiny_model(tmp_path / "tiny")))
    assert done.returncode == 2
    assert f"error: {tmp_path}/train.jsonl, line 1: margin: Field required." in done.stderr
    assert "next: RPO needs the number of constraints" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_configuration_is_refused_before_torch_is_loaded(tmp_path: Path) -> None:
    done = run(tmp_path, model="embedded", gama=0.1)
    assert done.returncode == 2
    assert "gama: Extra inputs are not permitted" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_that_is_nowhere(tmp_path: Path) -> None:
    done = run(tmp_path, model="/nowhere/model")
    assert done.returncode == 2
    assert "error: model: there is no folder /nowhere/model" in done.stderr


def test_a_full_disk_and_a_full_device_are_explained(tmp_path: Path) -> None:
    full = explain(OSError(28, "No space left on device"), tmp_path / "config.json")
    assert full is not None
    assert "is full" in full.what

    class OutOfMemoryError(RuntimeError):  # as torch calls it
        pass

    small = explain(OutOfMemoryError("CUDA out of memory"), tmp_path / "config.json")
    assert small is not None
    assert "device_batch" in small.next_step
    assert explain(ValueError("something else"), tmp_path / "config.json") is None


def test_the_last_refusal_of_a_log_is_read_back() -> None:
    said = ["warning: x", "error: first", "next: a", "noise", "error: second: with colon", "safe: all", "done"]
    refusal = read_refusal(said)
    assert isinstance(refusal, SettingsError)
    assert isinstance(refusal, FactoryError)
    assert (refusal.what, refusal.safe, refusal.next_step) == ("second: with colon", "all", "")
    assert read_refusal(["step 1/3  loss 0.7"]) is None
