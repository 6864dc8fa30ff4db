"""What became of a run's pairs: training curves, and the models before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle, groupby
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ValidationError

from flows.report.charts import Chart, Colour, draw_columns, draw_lines
from flows.trained import RECORD_FILE, finished_trainings
from models.evaluation import BASE, Difference, HeldOut
from models.records import Metric
from models.training import TrainingRecord
from storage.manifests import list_runs
from storage.report_tables import Row, read_metrics
from storage.roots import Root
from tasks.training import record as training_record

Point = tuple[float, float]


class TrainingReport(NamedTuple):
    """A finished training run."""

    name: str
    record: TrainingRecord
    charts: list[Chart]
    metrics: list[tuple[str, ...]]
    """Name, first step, last step, held-out rows."""


class Measured(BaseModel):
    """What the report shows of the summary of an evaluation, whichever kind it is."""

    metrics: list[Metric] = []
    differences: list[Difference] = []
    held_out: HeldOut | None = None


class BenchmarkReport(NamedTuple):
    """The models of the run on one benchmark."""

    name: str
    models: list[str]
    rows: list[tuple[str, ...]]
    """Metric, a value and interval for each model, and n."""
    chart: Chart | None
    differences: list[Difference]
    roles: int | None
    """Held-out roles behind the intervals; None: it is another kind of benchmark."""


def describe_trainings(here: Path, run: str) -> list[TrainingReport]:
    """The finished training runs on a run's pairs, the oldest first.

    Args:
        here: The data folder on this machine.
        run: The factory run.
    """
    found = []
    for name in finished_trainings(here, run):
        folder = here / "training" / name
        try:
            record = TrainingRecord.model_validate_json((folder / RECORD_FILE).read_bytes())
        except ValidationError:
            continue  # of another version of the factory; its folder has its own card
        rows = [
            (metric, *("" if value is None else f"{value:.3f}" for value in values))
            for metric, *values in training_record.tabulate_record(record)
        ]
        found.append(TrainingReport(name, record, _draw_curves(folder), rows))
    return found


def _draw_curves(folder: Path) -> list[Chart]:
    logged = training_record.read_metrics(folder)
    charts = []
    for title, metrics in training_record.PANELS.items():
        lines = {
            training_record.line_name(metric): points
            for metric in metrics
            if (points := _thin([(row["step"], row[metric]) for row in logged if _is_number(row.get(metric))]))
        }
        if lines:
            charts.append(draw_lines(title, lines, first="step"))
    return charts


def _is_number(value: object) -> bool:
    """Whether it can be drawn; a loss that is none is in metrics.jsonl."""
    return isinstance(value, int | float) and math.isfinite(value)


def _thin(points: list[Point]) -> list[Point]:
    """Of a long line every so many points, and the last one."""
    every = -(-len(points) // _MOST_POINTS) or 1
    return [*points[:-1:every], *points[-1:]]


_MOST_POINTS = 200


def describe_benchmarks(root: Root, run: str) -> list[BenchmarkReport]:
    """What was measured of a run's models, by benchmark."""
    rows = [row for row in read_metrics(root, run) if "/kind/" not in row["metric"]]
    evaluations = [manifest for manifest in list_runs(root) if manifest.evaluates == run]
    summaries = [Measured.model_validate(manifest.summary or {}) for manifest in evaluations]
    return [
        _describe_benchmark(name, list(found), summaries)
        for name, found in groupby(rows, key=lambda row: row["benchmark"])
    ]


def _describe_benchmark(name: str, rows: Sequence[Row], summaries: Sequence[Measured]) -> BenchmarkReport:
    models = sorted({row["model"] for row in rows}, key=lambda model: (model != BASE, model))
    found = {(row["model"], row["metric"]): row for row in rows}
    metrics = sorted({row["metric"] for row in rows})
    here = [summary for summary in summaries if any(item.benchmark == name for item in summary.metrics)]
    return BenchmarkReport(
        name=name,
        models=models,
        rows=[
            (
                metric,
                *(_cell(found.get((model, metric))) for model in models),
                f"{max(row['n'] for model in models if (row := found.get((model, metric)))):,}",
            )
            for metric in metrics
        ],
        chart=_draw_models(models, [metric for metric in metrics if "/" not in metric], found),
        differences=[item for summary in here for item in summary.differences if "/kind/" not in item.metric],
        roles=min((summary.held_out.roles for summary in here if summary.held_out), default=None),
    )


def _draw_models(models: Sequence[str], metrics: Sequence[str], found: dict[tuple[str, str], Row]) -> Chart | None:
    if not metrics or len(metrics) > _MOST_COLUMNS:
        return None
    series = {
        model: [
            (row["value"], row["low"], row["high"]) if (row := found.get((model, metric))) else (None, None, None)
            for metric in metrics
        ]
        for model in models
    }
    others = cycle((Colour.GOOD, Colour.OTHER, Colour.FAIR, Colour.FURTHER))
    return draw_columns(
        "Before and after, with 95 % intervals",
        metrics,
        series,
        show=lambda value: f"{value:.2f}",
        colours=[Colour.PALE if model == BASE else next(others) for model in models],
        first="metric",
    )


_MOST_COLUMNS = 6


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    interval = "" if row["low"] is None or row["high"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
    return f"{row['value']:.3f}{interval}"
