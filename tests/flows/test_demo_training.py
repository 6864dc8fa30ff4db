"""The demo with training on the real model, smaller: one Prefect run from seeds to a measured adapter."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from models import demo
from tests.flows.conftest import ROOT
from tests.report_page import report_of, table

pytest.importorskip("trl", reason="needs the extra `train`")
pytestmark = [pytest.mark.long, pytest.mark.model]

RUN = """
import sys
from flows.demo import demo_with_training
from models.evaluation import EvaluationSettings
from models.settings import FactorySettings
from models.training import TrainingSettings

settings, training, evaluation = sys.argv[1:]
outcome = demo_with_training(
    FactorySettings.model_validate_json(settings),
    TrainingSettings.model_validate_json(training),
    EvaluationSettings.model_validate_json(evaluation),
)
print(outcome.model_dump_json())
"""


def test_seeds_become_a_measured_adapter_in_one_flow_run(prefect_env: dict[str, str], tmp_path: Path) -> None:
    data = {"data": str(tmp_path / "data")}
    seeds = demo.FACTORY.seeds.model_copy(update={"max_roles": 2, "languages": ["en"]})
    factory = demo.FACTORY.model_copy(update={**data, "seeds": seeds, "samples": 3})
    pairs = demo.TRAINING.pairs.model_copy(update={"max_rows": 3})
    # few pairs, a step each
    recipe = demo.TRAINING.training.model_copy(update={"global_batch": 1, "learning_rate": 5e-4})
    training = demo.TRAINING.model_copy(
        update={**data, "pairs": pairs, "training": recipe, "validation_share": 0.0, "name": None}
    )
    evaluation = demo.EVALUATION.model_copy(update={**data, "systems": 2, "turns": 1})
    done = subprocess.run(
        [sys.executable, "-c", RUN, *(item.model_dump_json() for item in (factory, training, evaluation))],
        env=prefect_env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=540,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    outcome = json.loads(done.stdout.splitlines()[-1])

    record = outcome["training"]["record"]
    assert (record["rows"], record["steps"], record["adapter"]) == (3, 3, True)
    assert record["last"]["rewards/margins"] != record["first"]["rewards/margins"] == 0
    base = json.loads((tmp_path / "data/training/demo_rpo/final/adapter_config.json").read_text())
    assert base["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"

    measured = outcome["evaluation"]
    held_out = measured["held_out"]
    assert (held_out["roles_seen"], held_out["texts_seen"], held_out["queries_seen"]) == (0, 0, 0)
    assert [model["label"] for model in measured["models"]] == ["base", "demo_rpo"]
    assert {item["metric"] for item in measured["differences"]} >= {"csr", "isr", "ssr", "csr/original", "csr/reversed"}
    assert measured["calls_made"] > 0

    page = report_of(tmp_path / "data", "demo")
    [loss] = [row for row in table(page, "Metrics of demo_rpo") if row[0] == "loss"]
    assert loss[1:3] == [f"{record[place]['loss']:.3f}" for place in ("first", "last")]
    assert [row[0] for row in table(page, "Loss")] == ["1", "2", "3"]
    after = {row[0]: row[1:3] for row in table(page, "Values with 95 % intervals")}
    for item in measured["metrics"]:
        if "/kind/" not in item["metric"]:
            place = ["base", "demo_rpo"].index(item["model"])
            assert after[item["metric"]][place].split(" ")[0] == f"{item['value']:.3f}"

    by_parent = children(prefect_env["PREFECT_API_URL"], "demo")
    assert by_parent == {"factory": "COMPLETED", "train": "COMPLETED", "evaluation": "COMPLETED"}


def children(api: str, flow: str) -> dict[str, str]:
    """Name and state of the flows below the newest run of a flow."""
    parent = post(api, {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_DESC", "limit": 1})[0]
    runs = post(api, {"flow_runs": {"parent_flow_run_id": {"any_": [parent["id"]]}}})
    with_names = {flow["id"]: flow["name"] for flow in post(api, {}, of="flows")}
    return {with_names[run["flow_id"]]: run["state_type"] for run in runs}


def post(api: str, body: dict[str, Any], of: str = "flow_runs") -> Any:
    request = urllib.request.Request(
        f"{api}/{of}/filter", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)
