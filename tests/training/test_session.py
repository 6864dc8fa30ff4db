"""Every method from a configuration to a finished folder, in this process, on a tiny real model."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from models.errors import SettingsError
from models.training import TrainingConfig
from tests.tiny_model import make_tiny_model

session = pytest.importorskip("tasks.training.session", reason="needs the extra `train`")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def rows(method: str, count: int) -> list[dict[str, Any]]:
    rng = random.Random(0)

    def words() -> list[dict[str, str]]:
        return [{"role": "assistant", "content": " ".join(rng.choices(["yes", "no", "maybe", "never"], k=6))}]

    made = []
    for number in range(count):
        prompt = [{"role": "system", "content": f"Rule {number}."}, {"role": "user", "content": "Well?"}]
        made.append(
            {"messages": [*prompt, *words()]}
            if method == "sft"
            else {"prompt": prompt, "completion": words(), "label": number % 2 == 0}
            if method == "kto"
            else {"prompt": prompt, "chosen": words(), "rejected": words(), "margin": float(1 + number % 3)}
        )
    return made


def configure(folder: Path, model: Path, method: str, **changes: Any) -> TrainingConfig:
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", 12), ("validation", 4)):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(method, count)))
    values: dict[str, Any] = {
        "method": method,
        "model": str(model),
        "train_file": str(folder / "train.jsonl"),
        "validation_file": str(folder / "validation.jsonl"),
        "output": str(folder / "out"),
        "global_batch": 4,
        "device_batch": 2,
        "epochs": 1,
        "gradient_checkpointing": False,
        "learning_rate": 0.01,
        **changes,
    }
    return TrainingConfig.model_validate(values)


@pytest.mark.parametrize(
    ("method", "changes", "reference"),
    [
        ("rpo", {}, "adapter switched off, its log-probabilities computed once"),
        ("rpo", {"precompute_reference": False, "loss": "robust", "label_noise": 0.1}, "adapter switched off"),
        ("rpo", {"lora_rank": 0, "margin_scale": "released"}, "the policy before its first step"),
        ("rpo", {"lora_rank": 0, "precompute_reference": False}, "a frozen copy"),
        ("dpo", {"merge": True}, "adapter switched off"),
        ("kto", {}, "adapter switched off"),
        ("sft", {}, "none"),
    ],
)
def test_every_method_leaves_a_whole_folder(
    tmp_path: Path, model: Path, method: str, changes: dict[str, Any], reference: str
) -> None:
    import torch
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = configure(tmp_path, model, method, **changes)
    record = session.train(config)
    assert (record.method, record.rows, record.validation_rows, record.steps) == (method, 12, 4, 3)
    assert reference in record.reference
    assert "eval_loss" in record.validation
    assert not (tmp_path / "out/final/training_args.bin").exists()
    lines = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 3]
    assert (tmp_path / "out/curves.png").stat().st_size > 5_000
    loader = AutoPeftModelForCausalLM if record.adapter else AutoModelForCausalLM
    trained = loader.from_pretrained(record.final)
    tokens = AutoTokenizer.from_pretrained(record.final)("well", return_tensors="pt")
    before = AutoModelForCausalLM.from_pretrained(model)
    assert not torch.allclose(trained(**tokens).logits, before(**tokens).logits, atol=1e-4)
    if record.merged:
        merged = AutoModelForCausalLM.from_pretrained(record.merged)
        torch.testing.assert_close(merged(**tokens).logits, trained(**tokens).logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", ["rpo", "kto"])
def test_a_later_round_goes_on_from_the_adapter_with_it_as_reference(tmp_path: Path, model: Path, method: str) -> None:
    import torch
    from safetensors.torch import load_file

    first = session.train(configure(tmp_path / "first", model, method, epochs=2))
    # rank and alpha are the adapter's
    changes = {"adapter": first.final, "lora_rank": 4, "save_steps": 1, "keep_checkpoints": 3}
    config = configure(tmp_path / "second", model, method, **changes)
    second = session.train(config)
    assert "its starting adapter" in second.reference
    assert second.trainable_parameters == first.trainable_parameters
    if method == "rpo":
        # policy and reference begin as one
        assert second.first["rewards/margins"] == pytest.approx(0, abs=1e-5)
        assert second.last["rewards/margins"] != pytest.approx(0, abs=1e-3)
    assert not (Path(second.final) / "ref").exists()
    assert "trained on from the adapter of `out`" in (Path(second.final) / "README.md").read_text()
    before, after = (load_file(f"{record.final}/adapter_model.safetensors") for record in (first, second))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)

    # a crash in the middle changes neither the policy nor the reference
    (tmp_path / "second/out/record.json").unlink()
    (tmp_path / "second/out/checkpoints/checkpoint-3/whole").unlink()
    resumed = session.train(config)
    assert resumed.resumed_from == 2
    assert resumed.last == pytest.approx(second.last, rel=1e-4, abs=1e-6)
    with pytest.raises(SettingsError, match="holds a training run of another model"):
        session.train(config.model_copy(update={"adapter": None}))


def test_a_half_written_checkpoint_is_not_gone_on_from(tmp_path: Path, model: Path) -> None:
    config = configure(tmp_path, model, "rpo", save_steps=1, keep_checkpoints=3)
    whole = session.train(config)
    (tmp_path / "out/record.json").unlink()
    half = tmp_path / "out/checkpoints/checkpoint-3"
    (half / "whole").unlink()
    (half / "optimizer.pt").write_bytes(b"half")
    record = session.train(config)
    assert record.resumed_from == 2
    assert record.last == pytest.approx(whole.last, rel=1e-4, abs=1e-6)


def test_two_runs_of_one_seed_are_equal_and_another_seed_is_not(tmp_path: Path, model: Path) -> None:
    first, second, other = (
        session.train(configure(tmp_path / name, model, "rpo", seed=seed))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first.last == second.last
    assert first.identity == second.identity
    assert other.last["loss"] != first.last["loss"]
