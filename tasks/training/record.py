"""What a training run leaves behind: metrics as JSON lines, loss curves as a picture, a model card, the record."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.training import TrainingConfig, TrainingRecord
from storage.files import atomic_file, atomic_path

METRICS = "metrics.jsonl"
CURVES = "curves.png"
RECORD = "record.json"
CARD = "README.md"

_PACKAGES = ("rpo-factory", "torch", "transformers", "trl", "peft", "accelerate", "datasets")

# what a person looks at: the title of a panel, and the metrics in it
PANELS = {
    "Loss": ("loss", "eval_loss"),
    "Rewards (without margin)": ("rewards/chosen", "rewards/rejected"),
    "Accuracy": ("rewards/accuracies", "rewards/margin_accuracies", "eval_rewards/accuracies"),
}


def package_versions() -> dict[str, str]:
    """The versions that a result depends on."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The metrics of a training run, in order; the half line that a kill left is not one."""
    path = folder / METRICS
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text("utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def forget_metrics_after(folder: Path, step: int) -> None:
    """Leave out what was logged after a checkpoint: those steps are made again."""
    kept = [row for row in read_metrics(folder) if row["step"] <= step]
    with atomic_file(folder / METRICS, "Training metrics") as file:
        file.write("".join(json.dumps(row) + "\n" for row in kept).encode())


def append_metrics(folder: Path, row: dict[str, Any]) -> None:
    """One line, written at once."""
    with (folder / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()


def line_name(metric: str) -> str:
    """What a curve is called in a legend."""
    shown = metric.removeprefix("eval_").removeprefix("rewards/")
    return f"validation {shown}" if metric.startswith("eval_") else shown


def draw_curves(folder: Path, title: str) -> Path:
    """Loss, rewards and accuracy over the steps; only panels that the method has."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    from matplotlib.figure import Figure

    rows = read_metrics(folder)
    panels = {
        name: [metric for metric in metrics if any(metric in row for row in rows)] for name, metrics in PANELS.items()
    }
    shown = {name: metrics for name, metrics in panels.items() if metrics}
    figure = Figure(figsize=(4.6 * max(1, len(shown)), 3.4), layout="constrained")
    figure.suptitle(title, fontsize=11)
    for place, (name, metrics) in enumerate(shown.items(), 1):
        axes = figure.add_subplot(1, len(shown), place)
        for metric in metrics:
            points = [(row["step"], row[metric]) for row in rows if metric in row]
            marker = "o" if metric.startswith("eval_") else None
            axes.plot(*zip(*points, strict=True), marker=marker, markersize=4, label=line_name(metric))
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("step")
        axes.grid(visible=True, alpha=0.3)
        axes.legend(fontsize=8, frameon=False)
    path = folder / CURVES
    with atomic_path(path, "Loss curves") as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return path


def write_card(folder: Path, config: TrainingConfig, record: TrainingRecord) -> None:
    """A model card: what was trained on what, with which numbers, and how to use it."""
    loss = (
        f"-log sigmoid(beta * difference - gamma * g), beta = {config.beta}, gamma = {config.gamma}, "
        f"margin scale `{config.margin_scale}`"
        if config.method == "rpo"
        else f"TRL's {config.method.upper()}"
    )
    rows = [
        ("method", f"{config.method}: {loss}"),
        ("base model", record.model),
        ("weights", _describe_weights(config)),
        ("reference model", record.reference),
        ("rows", f"{record.rows} trained on, {record.validation_rows} held out, {record.refused} refused (too long)"),
        ("steps", f"{record.steps}, peak learning rate {config.peak_learning_rate:g}, {config.schedule}"),
        ("dataset SHA-256", f"`{record.dataset_sha256}`"),
        ("seed", config.seed),
        ("versions", ", ".join(f"{name} {version}" for name, version in record.versions.items())),
    ]
    numbers = [(name, f"{value:.4g}") for name, value in sorted({**record.last, **record.validation}.items())]
    text = "\n".join(
        [
            "---",
            f"base_model: {record.model}",
            f"library_name: {'peft' if record.adapter else 'transformers'}",
            "tags: [rpo-factory, preference-optimization, trl]",
            "---",
            f"# {folder.name}",
            "",
            f"Trained by rpo-factory on preference pairs of the factory run `{record.run}`.",
            "",
            *_table(("", ""), rows),
            "",
            "## Numbers of the last step and on the held-out rows",
            "",
            *_table(("metric", "value"), numbers),
            "",
            f"![loss, rewards and accuracy over the steps](../{CURVES})",
            "",
        ]
    )
    with atomic_file(Path(record.final) / CARD, "Model card") as file:
        file.write(text.encode())


def _describe_weights(config: TrainingConfig) -> str:
    if config.adapter:
        return f"LoRA, trained on from the adapter of `{Path(config.adapter).parent.name}`"
    return f"LoRA, rank {config.lora_rank}, alpha {config.lora_alpha}" if config.lora_rank else "all trained"


def _table(head: tuple[str, str], rows: Sequence[tuple[str, object]]) -> list[str]:
    return [f"| {left} | {right} |" for left, right in (head, ("---", "---"), *rows)]


def tabulate_record(record: TrainingRecord) -> list[tuple[str, float | None, float, float | None]]:
    """The metrics that a person looks at: of the first step, of the last one, and on the held-out rows."""
    shown = [metric for metric in record.last if metric.startswith("rewards/") or metric in ("loss", "grad_norm")]
    return [
        (metric, record.first.get(metric), record.last[metric], record.validation.get(f"eval_{metric}"))
        for metric in sorted(shown)
    ]


def write_record(folder: Path, record: TrainingRecord) -> None:
    """The record, last: where it exists everything else does."""
    with atomic_file(folder / RECORD, "Training record") as file:
        file.write(record.model_dump_json(indent=1).encode())
