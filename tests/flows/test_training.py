"""Training as a person runs it: a real Prefect server, a real trainer process, a tiny real model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.training import place_of, policy_model
from models.errors import SettingsError
from models.loading import load_as
from models.training import TrainingSettings
from storage.manifests import Manifest
from tests.flows.conftest import Rpo, get_json, settings_file, start_scripted, stop
from tests.tiny_model import make_tiny_model

pytest.importorskip("trl", reason="needs the extra `train`")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def factory_run(prefect_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a finished run `test`, and a tiny model beside it."""
    folder = tmp_path_factory.mktemp("training")
    server = start_scripted()
    try:
        config = settings_file(folder, server.base_url)
        Rpo(prefect_env, folder)("run", "--config", str(config))
    finally:
        stop(server.process)
    make_tiny_model(folder / "tiny")
    return folder / "data"


@pytest.fixture
def rpo(prefect_env: dict[str, str], tmp_path: Path) -> Rpo:
    return Rpo(prefect_env, tmp_path, {"OMP_NUM_THREADS": "1"})


def train_arguments(data: Path, name: str, *settings: str) -> list[str]:
    given = [
        f"training.model={data.parent / 'tiny'}",
        "training.global_batch=8",
        "training.gradient_checkpointing=false",
        "training.learning_rate=0.01",
        "pairs.max_rows=32",
        *settings,
    ]
    return ["train", "--run", "test", "--data", str(data), "--name", name, *(f"--set={item}" for item in given)]


def trainers(name: str) -> list[int]:
    """Process ids of everything that works on a training run but the command itself."""
    found = subprocess.run(["pgrep", "-f", f"tasks.training.rpo.*/training/{name}/"], capture_output=True, text=True)
    return [int(pid) for pid in found.stdout.split()]


def wait_for(what: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return found


def steps_of(data: Path, name: str) -> list[dict[str, Any]]:
    path = data / "training" / name / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [row for line in lines if line.endswith("}") and "loss" in (row := json.loads(line))]


def test_a_model_beside_the_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "embedded").mkdir()
    assert [place_of(model) for model in ("mine", "embedded", "organisation/name")] == [
        str(tmp_path / "mine"),
        "embedded",
        "organisation/name",
    ]


def test_pairs_become_an_adapter_with_its_record(factory_run: Path, rpo: Rpo) -> None:
    gently = ("training.learning_rate=0.003", "training.epochs=2", "pairs.min_margin=2")
    outcome = rpo.json(*train_arguments(factory_run, "plain", *gently))
    record, folder = outcome["record"], Path(outcome["folder"])
    rows = [json.loads(line) for line in (folder / "rows/train.jsonl").read_text().splitlines()]
    assert record["rows"] == len(rows) > 8
    assert min(row["margin"] for row in rows) >= 2
    assert outcome["rows_left_out"]["min_margin"] > 0
    assert record["steps"] == 2 * -(-len(rows) // 8)
    losses = [step["loss"] for step in steps_of(factory_run, "plain")]
    assert len(losses) == record["steps"]
    half = len(losses) // 2  # an epoch
    assert sum(losses[half:]) < sum(losses[:half])
    assert record["reference"].startswith("the policy with its adapter switched off")
    assert {"adapter_model.safetensors", "adapter_config.json", "README.md"} <= {
        p.name for p in (folder / "final").iterdir()
    }
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "torch" in record["versions"]

    again = rpo.json(*train_arguments(factory_run, "plain", *gently))
    assert again["reused"]
    assert again["record"] == record
    changed = rpo(*train_arguments(factory_run, "plain", *gently, "training.epochs=3"), code=2)
    assert "holds a training run with epochs = 2.0; now it is 3.0" in changed
    other_rows = rpo(*train_arguments(factory_run, "plain", *gently, "pairs.min_margin=1"), code=2)
    assert "holds a training run on other rows" in other_rows
    assert (folder / "rows/train.jsonl").read_text().count("\n") == len(rows)  # they were not touched

    artifacts = latest_artifacts(rpo.env["PREFECT_API_URL"])
    assert artifacts["training-progress-plain"]["data"] == 100
    assert artifacts["curves-plain"]["type"] == "image"
    assert "reference model" in artifacts["training-plain"]["data"]


def latest_artifacts(api: str) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{api}/artifacts/latest/filter", data=b"{}", headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as reply:
        return {artifact["key"]: artifact for artifact in json.load(reply)}


@pytest.mark.long
def test_killed_trainer_and_killed_flow_go_on_to_the_same_end(factory_run: Path, rpo: Rpo) -> None:
    settings = ["training.epochs=6", "training.save_steps=4"]
    undisturbed = rpo.json(*train_arguments(factory_run, "undisturbed", *settings))["record"]

    process = rpo.start(*train_arguments(factory_run, "killed", *settings))
    wait_for(lambda: len(steps_of(factory_run, "killed")) >= 6)
    trainer = max(trainers("killed"))  # the launcher was there before
    os.kill(trainer, signal.SIGKILL)
    wait_for(lambda: (factory_run / "training/killed/train.log").read_text().count("going on from step 4"))
    wait_for(lambda: len(steps_of(factory_run, "killed")) >= 11)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not trainers("killed"), 30)

    record = rpo.json(*train_arguments(factory_run, "killed", *settings))["record"]
    assert record["resumed_from"] == 8
    assert record["identity"] == undisturbed["identity"]
    for part in ("last", "validation"):
        for name, value in undisturbed[part].items():
            if name not in ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second"):
                assert record[part][name] == pytest.approx(value, rel=1e-4, abs=1e-5), name
    assert [row["step"] for row in steps_of(factory_run, "killed")] == list(range(1, record["steps"] + 1))


def test_cancel_in_prefect_leaves_no_process(factory_run: Path, rpo: Rpo) -> None:
    process = rpo.start(*train_arguments(factory_run, "cancelled", "training.epochs=500"))
    wait_for(lambda: len(steps_of(factory_run, "cancelled")) >= 2)
    assert len(trainers("cancelled")) >= 2
    api = rpo.env["PREFECT_API_URL"]
    run_id = running_flow_run(api, "train")
    request = urllib.request.Request(
        f"{api}/flow_runs/{run_id}/set_state",
        data=json.dumps({"state": {"type": "CANCELLING"}}).encode(),
        headers={"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request).close()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, out + err
    assert "The training was cancelled" in err
    assert trainers("cancelled") == []
    assert get_json(f"{api}/flow_runs/{run_id}")["state_type"] == "CANCELLED"


def running_flow_run(api: str, flow: str) -> str:
    body = {
        "flows": {"name": {"any_": [flow]}},
        "flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}},
        "sort": "START_TIME_DESC",
    }
    request = urllib.request.Request(
        f"{api}/flow_runs/filter", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as reply:
        return str(json.load(reply)[0]["id"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["training.max_length=64"], "are longer than 64 tokens"),
        (["pairs.min_margin=60"], "has no rows"),
        (["preset=tpu"], "presets: cpu, gpu, zero3_8gpu"),
    ],
)
def test_wrong_settings_are_one_message(factory_run: Path, rpo: Rpo, settings: list[str], said: str) -> None:
    name = settings[0].partition("=")[0].replace(".", "_")
    err = rpo(*train_arguments(factory_run, name, *settings), code=2)
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.gama=1", "did you mean training.gamma?"),
        ("training.label_noise=0.1", "only with loss = robust"),
        ("training.method=ppo", "training.method: "),
        ("training.gamma=-1", "training.gamma: "),
        ('name="../elsewhere"', "letters, digits"),
    ],
)
def test_wrong_values_are_refused_at_the_door(setting: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_as(TrainingSettings, None, overrides=[setting], keys="KEYS")
    assert said in caught.value.what
    assert caught.value.next_step == "KEYS"


def test_a_policy_with_an_adapter_is_not_trained_without_it() -> None:
    endpoint = {"model": "m", "identity": "round-1", "serve": {"lora_path": "adapter.gguf"}}
    manifest = Manifest.model_validate(
        {
            "run": "second",
            "settings_hash": "h",
            "settings": {"endpoints": {"demo": endpoint}},
            "started_at": "2026-01-01T00:00:00Z",
        }
    )
    with pytest.raises(SettingsError, match=r"adapter\.gguf"):
        policy_model(manifest)


def test_model_without_chat_template(factory_run: Path, rpo: Rpo, tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "untalking", template=None)
    err = rpo(*train_arguments(factory_run, "untalking", f"training.model={tmp_path / 'untalking'}"), code=2)
    assert "has no chat template" in err


@pytest.mark.long
def test_checkpoint_of_another_model(factory_run: Path, rpo: Rpo) -> None:
    folder = factory_run.parent / "changing"
    make_tiny_model(folder)
    arguments = train_arguments(factory_run, "changing", f"training.model={folder}", "training.max_steps=2")
    rpo(*arguments)
    (factory_run / "training/changing/record.json").unlink()
    make_tiny_model(folder, seed=1)
    assert "holds a training run of another model" in rpo(*arguments, code=2)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.parametrize(
    ("name", "size", "code", "said"),
    [
        ("crowded", "4m", 2, "needs 0.01 GB for 51 checkpoints and the result; 0.00 GB are free"),
        ("full", "40k", 1, "could not be written: No space left on device"),
    ],
)
def test_full_disk_is_one_message(factory_run: Path, rpo: Rpo, name: str, size: str, code: int, said: str) -> None:
    folder = factory_run / "training" / name
    folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this container may not mount")
    try:
        err = rpo(*train_arguments(factory_run, name, "training.keep_checkpoints=50"), code=code)
        assert said in err
        assert "Traceback" not in err
    finally:
        subprocess.run(["umount", str(folder)], check=True)
