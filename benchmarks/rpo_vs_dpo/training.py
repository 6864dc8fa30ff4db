"""One arm's training: TRL's own trainers, and ``RPOTrainer`` as the product ships it."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import tempfile
from typing import Any

# before datasets and transformers are imported: they read them once
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import datasets
import transformers
from transformers.trainer_callback import PrinterCallback
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer

from benchmarks.rpo_vs_dpo import arms
from benchmarks.rpo_vs_dpo.arms import Arm
from benchmarks.rpo_vs_dpo.pairs import Judged, Row, dpo_rows, kto_rows, rpo_rows, sft_rows
from tasks.training.trainer import RPOConfig, RPOTrainer

KEPT = ("rewards/margins", "rewards/accuracies")

datasets.disable_progress_bars()
datasets.disable_caching()
transformers.logging.set_verbosity_error()


def make_rows(arm: Arm, judged: list[Judged], seed: int) -> list[Row]:
    """The rows that an arm trains on."""
    if arm.method == "sft":
        return sft_rows(judged, arm.rows, seed)
    if arm.method == "kto":
        return kto_rows(judged, arm.rows, seed)
    if arm.method == "dpo":
        return dpo_rows(judged, arm.rows, arm.gap, seed)
    return rpo_rows(judged, arm.rows, arm.gap, seed, arm.only)


def train(arm: Arm, base: Any, tokenizer: Any, rows: list[Row], rate: float, seed: int) -> tuple[Any, dict[str, float]]:
    """Train a copy of ``base`` on an arm's rows.

    Returns:
        The trained model, and from the last epoch's log the reward difference of chosen and rejected and the share of
        pairs in which it is positive (for SFT nothing).
    """
    with tempfile.TemporaryDirectory() as folder:
        common: dict[str, Any] = {
            "output_dir": folder,
            "learning_rate": rate,
            "num_train_epochs": arms.EPOCHS,
            # KTO's rows are halves of pairs
            "per_device_train_batch_size": arms.BATCH * (2 if arm.method == "kto" else 1),
            "lr_scheduler_type": "cosine",
            "warmup_steps": 0.1,
            "seed": seed,
            "bf16": False,
            "use_cpu": True,
            "gradient_checkpointing": False,
            "max_length": None,
            "logging_strategy": "epoch",
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
        }
        # progress bars that no argument switches off
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            trainer = _make_trainer(arm, common, copy.deepcopy(base), tokenizer, rows)
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        epochs: list[dict[str, float]] = trainer.state.log_history
    trainer.model.eval()
    last = next((epoch for epoch in reversed(epochs) if "rewards/margins" in epoch), {})
    return trainer.model, {name: round(last[name], 4) for name in KEPT if name in last}


def _make_trainer(arm: Arm, common: dict[str, Any], model: Any, tokenizer: Any, rows: list[Row]) -> Any:
    columns = {"prompt", "completion", "label"} if arm.method in ("sft", "kto") else {"prompt", "chosen", "rejected"}
    if arm.method == "rpo":
        columns.add("margin")
    dataset = datasets.Dataset.from_list([{name: row[name] for name in row if name in columns} for row in rows])
    given: dict[str, Any] = {"model": model, "train_dataset": dataset, "processing_class": tokenizer}
    once: dict[str, Any] = {"beta": arms.BETA, "precompute_ref_log_probs": True}
    if arm.method == "sft":
        return SFTTrainer(args=SFTConfig(completion_only_loss=True, **common), **given)
    if arm.method == "kto":
        return KTOTrainer(args=KTOConfig(**once, **common), **given)
    if arm.method == "dpo":
        return DPOTrainer(args=DPOConfig(**once, **common), **given)
    smoothing: dict[str, Any] = {"label_smoothing": arms.SMOOTHING} if arm.loss == "robust" else {}
    margin: dict[str, Any] = {"gamma": arm.gamma, "margin_scale": arm.scale, "loss_type": [arm.loss]}
    return RPOTrainer(args=RPOConfig(**margin, **smoothing, **once, **common), **given)
