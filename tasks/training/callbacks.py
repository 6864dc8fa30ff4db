"""What is written while training goes: metrics, a line for people, the mark of a whole checkpoint."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from tasks.training.checkpoints import WHOLE
from tasks.training.record import append_metrics


class MarkWhole(TrainerCallback):
    """Marks a checkpoint when everything in it is written."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called after model, optimizer, scheduler, random states and trainer state."""
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / WHOLE).touch()


class Report(TrainerCallback):
    """Appends every logged metric to the metrics file, and says in a line how far training is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.began = (time.monotonic(), 0)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Remember where this process began, for the time that is left."""
        self.began = (time.monotonic(), state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """A step or an evaluation."""
        if not state.is_world_process_zero or not logs or not {"loss", "eval_loss"} & set(logs):
            return
        append_metrics(self.folder, {"step": state.global_step, "steps": state.max_steps, **numbers(logs)})
        if "eval_loss" in logs:
            print(f"validation: loss {logs['eval_loss']:.4f}{_accuracy(logs, 'eval_')}", flush=True)
            return
        began, first = self.began
        pace = (time.monotonic() - began) / max(1, state.global_step - first)
        left = pace * (state.max_steps - state.global_step)
        print(
            f"step {state.global_step}/{state.max_steps}  loss {logs['loss']:.4f}{_accuracy(logs, '')}  "
            f"{pace:.1f} s a step, {left / 60:.1f} min left",
            flush=True,
        )


def numbers(row: dict[str, Any]) -> dict[str, float]:
    """The numeric entries of a log."""
    return {name: float(value) for name, value in row.items() if isinstance(value, int | float)}


def _accuracy(logs: dict[str, Any], prefix: str) -> str:
    name = f"{prefix}rewards/accuracies"
    return f"  accuracy {logs[name]:.2f}" if name in logs else ""
