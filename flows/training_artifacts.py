"""What the Prefect UI shows of a training run: progress while it goes, its curves and numbers at the end."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from types import TracebackType
from typing import cast
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)

from flows.watching import Listener
from models.markdown import table
from models.training import TrainingConfig, TrainingRecord
from tasks.training.record import CURVES, tabulate_record

_STEP = re.compile(r"step (\d+)/(\d+) ")


class TrainingProgress:
    """Passes the trainer's lines on: to the flow run's log, its progress artifact, and the bars on a terminal."""

    def __init__(self, folder: Path, listener: Listener | None) -> None:
        self._log, self._listener = get_run_logger(), listener
        self._done, self._steps, self._shown = 0, 0, -1.0
        artifact = create_progress_artifact(
            progress=0.0, key=_key("training-progress", folder), description=f"Steps of the training run {folder.name}"
        )
        self._artifact = cast("UUID", artifact)  # typed as a coroutine too, for callers that are asynchronous

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._show(force=True)

    def say(self, line: str) -> None:
        """One line of the trainer."""
        self._log.info("%s", line)
        match = _STEP.match(line)
        if match is None:
            return
        done, steps = int(match[1]), int(match[2])
        if self._listener is not None:
            self._listener("train", steps - self._steps, done - self._done)
        self._done, self._steps = done, steps
        self._show()

    def _show(self, *, force: bool = False) -> None:
        """A new state of the artifact for every twentieth of the way: each is a request and a row."""
        progress = 100 * self._done / self._steps if self._steps else 0.0
        if progress - self._shown >= 5 or (force and progress != self._shown):
            self._shown = progress
            update_progress_artifact(self._artifact, progress=progress)


def publish_training(folder: Path, config: TrainingConfig, record: TrainingRecord, left_out: dict[str, int]) -> None:
    """Curves and table as artifacts of the flow run."""
    create_markdown_artifact(
        key=_key("training", folder),
        markdown=render_training(folder.name, config, record, left_out),
        description=f"What the training run {folder.name} came to",
    )
    picture = base64.b64encode((folder / CURVES).read_bytes()).decode()
    create_image_artifact(
        key=_key("curves", folder),
        image_url=f"data:image/png;base64,{picture}",
        description=f"Loss, rewards and accuracy of {folder.name}",
    )


def render_training(name: str, config: TrainingConfig, record: TrainingRecord, left_out: dict[str, int]) -> str:
    """The outcome of a training run in markdown."""
    numbers = [(metric, *map(_number, values)) for metric, *values in tabulate_record(record)]
    facts: list[tuple[object, ...]] = [
        ("method", record.method),
        ("base model", record.model),
        ("reference model", record.reference),
        ("rows", f"{record.rows} trained on, {record.validation_rows} held out"),
        ("refused as too long", record.refused),
        *((f"left out by {rule}", count) for rule, count in sorted(left_out.items())),
        ("steps", record.steps),
        ("peak learning rate", f"{config.peak_learning_rate:g}"),
        ("parameters trained", f"{record.trainable_parameters:,}"),
        ("seconds", record.seconds),
        ("result", f"`{record.final}`"),
    ]
    return "\n\n".join(
        [
            f"# Training run {name}",
            table(("what", ""), facts),
            table(("metric", "first step", "last step", "held-out rows"), [*numbers]),
        ]
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _key(kind: str, folder: Path) -> str:
    return f"{kind}-{folder.name.lower().replace('_', '-')}"
