"""The export in a real LLaMA-Factory: its own arguments, loader, converter and template."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.exports import make_run
from models.settings import Export
from storage.exports import export_run
from storage.manifests import load
from storage.parts import PartStore
from tests.tiny_model import make_tiny_model

# not RPO_...: those are settings
VARIABLE = "TEST_LLAMAFACTORY_PYTHON"


def find_python() -> str:
    """The interpreter that has it; skips the test where there is none."""
    given = os.environ.get(VARIABLE)
    if given:
        return os.path.abspath(given)
    if importlib.util.find_spec("llamafactory") is None:
        pytest.skip(f"LLaMA-Factory is not installed here ({VARIABLE} names the Python that has it)")
    return sys.executable


def test_llama_factory_reads_every_row(tmp_path: Path) -> None:
    python = find_python()
    pytest.importorskip("transformers", reason="needs the extra train: transformers")
    make_run(tmp_path / "data", 4)
    store = PartStore(tmp_path / "data")
    folder = Path(export_run(store, load(store.root, "bench"), Export(formats=["llamafactory"])).folder)
    model = make_tiny_model(tmp_path / "tiny")
    script = Path(__file__).with_name("llamafactory_rows.py")
    command = [python, str(script), str(folder / "llamafactory"), str(model), str(tmp_path / "out")]
    env = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=540, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "abnormal" not in done.stdout + done.stderr
    found = json.loads((tmp_path / "out.json").read_text("utf-8"))
    for split in ("train", "validation"):
        lines = (folder / f"llamafactory/rpo_{split}.jsonl").read_text("utf-8").splitlines()
        assert len(found[split]) == len(lines) > 0
        for row, written in zip(found[split], map(json.loads, lines), strict=True):
            first, *others = written["conversations"]
            assert first == {"from": "system", "value": row["_system"]}
            assert [message["value"] for message in others] == [message["content"] for message in row["_prompt"]]
            assert [message["role"] for message in row["_prompt"][:2]] in (["user"], ["user", "assistant"])
            assert [message["content"] for message in row["_response"]] == [
                written["chosen"]["value"],
                written["rejected"]["value"],
            ]
            # the order in which it trains on them
            for side in ("chosen", "rejected"):
                assert row[side].startswith(f"<|im_start|>system\n{row['_system']}<|im_end|>\n")
                assert row[side].rstrip().endswith(f"{written[side]['value']}<|im_end|>".rstrip())
