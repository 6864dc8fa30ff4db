"""Measuring models on held-out dialogues, as a person does it: evaluate, again, compare."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows.evaluation import held_out_settings
from models.evaluation import EvaluationSettings
from models.loading import validate_settings
from storage.manifests import Manifest
from tests.flows.conftest import Rpo, Scripted, one_message, settings_file
from tests.report_page import report_of, table

TWO_MODELS = ("--model", "base", "--model", "mine=endpoint:other")
SMALL = ("--systems", "3", "--samples", "2")
# 2 languages x 3 roles x 2 polarities x 2 turns
TURNS = 24
REFERENCES = 2
SAMPLES = 2


def other_endpoint(base_url: str, model: str = "scripted-trained") -> str:
    return f'[endpoints.other]\nbase_url = "{base_url}"\nmodel = "{model}"'


def write_record(data: Path, name: str, **changes: Any) -> Path:
    folder = data / "training" / name
    (folder / "final").mkdir(parents=True)
    record = {"run": "test", "method": "rpo", "model": "embedded", "adapter": True} | changes
    (folder / "record.json").write_text(json.dumps(record), "utf-8")
    return folder


def test_evaluate_again_and_compare(rpo: Rpo, scripted: Scripted, tmp_path: Path) -> None:
    data = tmp_path / "data"
    config = settings_file(tmp_path, scripted.base_url, extra=other_endpoint(scripted.base_url))
    made = rpo.json("run", "--config", str(config))
    before = scripted.counts()["requests"]

    args = ("evaluate", "--run", "test", "--data", str(data), "--config", str(config), *SMALL)
    first = rpo.json(*args, *TWO_MODELS)
    assert first["calls_made"] == TURNS * (REFERENCES + 2 * SAMPLES)
    held_out = first["held_out"]
    assert [held_out[f"{what}_seen"] for what in ("roles", "texts", "queries")] == [0, 0, 0]
    assert (held_out["roles"], held_out["dialogues"]) == (6, 12)
    metrics = {(item["model"], item["metric"]): item for item in first["metrics"]}
    for label in ("base", "mine"):
        assert metrics[label, "isr"]["n"] == TURNS * SAMPLES
        assert metrics[label, "ssr"]["n"] == 12 * SAMPLES
        # the twins are exact opposites, so what a text follows in one polarity it violates in the other
        assert 0 < metrics[label, "csr/reversed"]["value"] < 1
        for item in metrics.values():
            assert item["low"] is None or item["low"] <= item["value"] <= item["high"]
        kinds = [item["n"] for (model, name), item in metrics.items() if model == label and "/kind/" in name]
        assert sum(kinds) == metrics[label, "csr"]["n"]

    # and the report of the run has them
    shown = {row[0]: row[1:3] for row in table(report_of(data, "test"), "Values with 95 % intervals")}
    for (label, metric), item in metrics.items():
        if "/kind/" not in metric:
            assert shown[metric][["base", "mine"].index(label)].split(" ")[0] == f"{item['value']:.3f}"

    # the same again costs nothing, and so does another question about what is stored
    calls = scripted.counts()["requests"]
    assert before < calls
    text = rpo(*args, *TWO_MODELS)
    for words in ("Seen in training: 0 of 6 roles, 0 of", "csr/original", "mine against base", "0 made now"):
        assert words in text
    # a model that was measured on the same turns stays
    again = rpo.json(*args, "--model", "base")
    assert (again["calls_made"], [model["label"] for model in again["models"]]) == (0, ["base", "mine"])
    assert (again["metrics"], again["differences"]) == (first["metrics"], first["differences"])
    compared = rpo.json("compare", "mine", "base", "--run", "test", "--data", str(data))
    assert {d["metric"]: d["value"] for d in compared} == pytest.approx(
        {d["metric"]: -d["value"] for d in first["differences"]}
    )
    [csr] = [item for item in first["differences"] if item["metric"] == "csr"]
    assert csr["value"] == pytest.approx(metrics["mine", "csr"]["value"] - metrics["base", "csr"]["value"])
    assert "by kind of constraint" in rpo("compare", "base", "mine", "--run", "test", "--data", str(data))
    assert scripted.counts()["requests"] == calls

    # in SQL: the metrics belong to the run, the responses to the evaluation, and `main` stays the factory's
    counts = """select (select list(distinct model order by model) from main.metrics) models,
        (select count(*) from test_eval.responses) responses, (select count(*) from main.pairs) pairs,
        (select count(*) from test.roles join test_eval.roles using (role_id)) shared"""
    expected = {"models": ["base", "mine"], "responses": 2 * TURNS * SAMPLES, "pairs": made["pairs"], "shared": 0}
    assert rpo.sql(data, counts) == [expected]
    assert "There is no training run 'nobody'" in one_message(rpo(*args, "--model", "nobody", code=2))
    assert "--systems" in one_message(rpo("evaluate", "--systems", "0", code=2))
    mixed = one_message(rpo("evaluate", "--benchmark", "ifeval", "--systems", "3", "--turns", "2", code=2))
    assert "--systems, --turns: of held-out dialogues" in mixed
    assert "--max-tokens: of a benchmark" in one_message(rpo("evaluate", "--max-tokens", "9", code=2))


def test_a_model_is_measured_by_its_own_answers_on_every_turn(tmp_path: Path) -> None:
    trained = validate_settings(
        {
            "endpoints": {"a": {"model": "m", "base_url": "http://a/v1"}},
            "roles": {name: {"endpoint": "a"} for name in ("policy", "judge", "critic", "user")},
            "dialogues": {"min_score": 0.9, "turns": 3},
        }
    )
    manifest = Manifest(
        run="test", settings=trained.model_dump(mode="json"), settings_hash="", started_at=datetime.now(UTC),
        finished_at=None, status="complete", parts=[], summary=None,
    )  # fmt: skip
    held_out = held_out_settings(EvaluationSettings(run="test", data=str(tmp_path)), manifest)
    assert held_out.roles.critic is None and held_out.dialogues.min_score == 0
    assert (held_out.roles.user, held_out.dialogues.turns) == (trained.roles.user, 3)


def write_adapter(folder: Path, *, layers: int = 30) -> None:
    """A random adapter of the q_proj of the embedded model, or of its first layers, as PEFT writes one."""
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    torch.manual_seed(0)
    weights = {}
    for layer in range(layers):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        weights[f"{name}.lora_A.weight"] = torch.randn(4, 576) / 24
        weights[f"{name}.lora_B.weight"] = torch.randn(576, 4) / 4
    safetensors.save_file(weights, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config), "utf-8")


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.long
def test_an_adapter_on_llama_cpp(rpo: Rpo, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    data, config = tmp_path / "data", tmp_path / "factory.toml"
    config.write_text(
        f"""
        run = "tiny"
        data = {json.dumps(str(data))}
        samples = 2
        [seeds]
        max_roles = 1
        languages = ["en"]
        [dialogues]
        turns = 1
        reference_samples = 1
        min_score = 0
        [roles.policy]
        max_tokens = 24
        """,
        "utf-8",
    )
    rpo.json("run", "--config", str(config))
    write_adapter(write_record(data, "mine", run="tiny") / "final")
    write_record(data, "foreign", run="tiny", model=str(tmp_path / "other.gguf"))
    write_record(data, "whole", run="tiny", adapter=False)
    args = ("evaluate", "--run", "tiny", "--data", str(data), "--systems", "2")
    # without --model: what cannot be served is left out, with the reason
    first = rpo.json(*args)
    assert [model["label"] for model in first["models"]] == ["base", "mine"]
    assert "other.gguf" in first["left_out"]["foreign"] and "holds no weights" in first["left_out"]["whole"]
    assert first["calls_made"] == 4 * (1 + 2 * 2)
    counts = """select (select list(distinct model order by model) from tiny_eval.responses) models,
        (select count(*) from tiny_eval.responses a join tiny_eval.responses b using (text)
         where a.model < b.model) same"""
    assert rpo.sql(data, counts) == [{"models": ["mine", "smollm2-135m-instruct-q4_1"], "same": 0}]
    assert rpo.json(*args)["calls_made"] == 0
