"""What a person sees of a training run on the terminal."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from flows.terminal import command_folder, out
from models.training import TrainingOutcome, TrainingSettings

_SHOWN = ("loss", "rewards/accuracies", "rewards/margin_accuracies", "rewards/margins", "mean_token_accuracy")


def show_training(outcome: TrainingOutcome) -> None:
    """The outcome of a training run."""
    record = outcome.record
    again = ", finished before: nothing was trained now" if outcome.reused else ""
    out.print(
        f"[bold]Training run {escape(outcome.name)}[/]: {record.method} on {escape(record.model)}, {record.rows} rows, "
        f"{record.steps} steps, {record.seconds:.0f} s{again}"
    )
    out.print(f"reference model: {escape(record.reference)}")
    for rule, count in sorted(outcome.rows_left_out.items()):
        out.print(f"left out by {rule}: {count} rows")
    if record.refused:
        out.print(f"refused: {record.refused} rows longer than the limit, in {escape(outcome.folder)}/refused.jsonl")
    table = Table("", "first step", "last step", "held-out rows", box=None)
    for name in _SHOWN:
        cells = [record.first.get(name), record.last.get(name), record.validation.get(f"eval_{name}")]
        if any(cell is not None for cell in cells):
            table.add_row(name, *("" if cell is None else f"{cell:.3f}" for cell in cells))
    out.print(table)
    out.print()
    out.print(f"  {escape(record.final)}   the {'adapter' if record.adapter else 'model'} with its card")
    if record.merged:
        out.print(f"  {escape(record.merged)}   the model with the adapter merged")
    out.print(f"  {escape(outcome.folder)}   curves.png, metrics.jsonl, record.json, train.log")


def show_training_next(settings: TrainingSettings) -> None:
    """What to type after a training run."""
    out.print("\n[bold]Next[/]")
    out.print(f"  {command_folder()}rpo evaluate --run {settings.run} --data {escape(settings.data)}")
