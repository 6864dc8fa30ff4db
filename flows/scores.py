"""The end of an evaluation: what was held out, the metrics, the summary."""

from __future__ import annotations

import time
from collections.abc import Sequence

from prefect.artifacts import create_markdown_artifact

from flows.run import Run
from models.evaluation import (
    BASE,
    BenchmarkSettings,
    BenchmarkSummary,
    Difference,
    EvaluatedModel,
    EvaluationSettings,
    EvaluationSummary,
    HeldOut,
)
from models.markdown import table
from models.records import Metric, PartRef
from storage.manifests import Manifest, load, manifest_path
from storage.roots import data_root
from storage.trained import TrainingSet
from tasks.measures import CSR, MAIN_METRICS
from tasks.measuring import Plan, bootstrap_over, compare_tallies, measure_models, tally_models

KIND = f"{CSR}/kind/"


def earlier_models(settings: EvaluationSettings | BenchmarkSettings) -> list[EvaluatedModel]:
    """The models that an earlier evaluation of this name measured."""
    root = data_root(settings.data)
    if not manifest_path(root, settings.evaluation).is_file():
        return []
    summary = load(root, settings.evaluation).summary
    return (
        [EvaluatedModel.model_validate(model) for model in summary["models"]] if summary and "models" in summary else []
    )


def keep_models(
    run: Run, earlier: Sequence[EvaluatedModel], models: Sequence[EvaluatedModel], asked: str = "turns"
) -> list[EvaluatedModel]:
    """These models and those measured earlier on the very same turns (of the dataset ``asked``); the base first."""
    labels = {model.label for model in models}
    turns = set(run.book.manifest.parts_of(asked))
    kept = [
        model
        for model in earlier
        if model.label not in labels
        and all(run.store.exists(ref) for ref in model.judgments)
        and {run.store.upstream(ref, asked) for ref in model.judgments} == turns
    ]
    judgments = [ref for model in kept for ref in model.judgments]
    run.register([*(run.store.upstream(ref, "responses") for ref in judgments), *judgments])
    return sorted([*kept, *models], key=lambda model: model.label != BASE)


def finish_evaluation(
    run: Run,
    settings: EvaluationSettings,
    trained: Manifest,
    models: Sequence[EvaluatedModel],
    left_out: dict[str, str],
) -> EvaluationSummary:
    """Measure the models and write the summary."""
    held_out = TrainingSet(run.store, trained.parts).compare(run.book.manifest.parts)
    plan = Plan(
        run=settings.run,
        labels=[model.label for model in models],
        without=held_out.dialogues_left_out,
        seed=run.settings.seed,
        resamples=settings.resamples,
    )
    judgments = [model.judgments for model in models]
    [[measured]] = run.collect(run.fan_out(measure_models, [(judgments, plan.model_dump_json())]))
    summary = EvaluationSummary(
        evaluation=settings.evaluation,
        run=settings.run,
        seed=plan.seed,
        resamples=plan.resamples,
        held_out=held_out,
        models=list(models),
        metrics=run.store.read(measured, Metric),
        differences=_differences(run, plan, judgments),
        left_out=left_out,
        calls_made=run.calls_now.made,
        calls_cached=run.calls_now.cached,
        seconds=round(time.monotonic() - run.started, 1),
    )
    what = f"How well the models of run {settings.run} follow constraints that they have not seen"
    conclude(run, summary, render_markdown(summary), what)
    return summary


def conclude(run: Run, summary: EvaluationSummary | BenchmarkSummary, markdown: str, what: str) -> None:
    """An evaluation is complete: its summary is in the manifest, and in the Prefect UI."""
    run.book.finish("complete", summary.model_dump(mode="json"))
    key = f"evaluation-{summary.evaluation.replace('_', '-')}"
    create_markdown_artifact(key=key, markdown=markdown, description=what)


def _differences(run: Run, plan: Plan, judgments: Sequence[Sequence[PartRef]]) -> list[Difference]:
    tallies = tally_models(run.store, dict(zip(plan.labels, judgments, strict=True)), without=plan.without)
    return compare_tallies(tallies, bootstrap_over(tallies, seed=plan.seed, resamples=plan.resamples))


def say_held_out(held_out: HeldOut) -> str:
    """What was compared with the training run, in one sentence."""
    seen = [
        (held_out.roles_seen, held_out.roles, "roles"),
        (held_out.texts_seen, held_out.texts, "constraint texts"),
        (held_out.queries_seen, held_out.queries, "queries"),
    ]
    counts = ", ".join(f"{found} of {whole} {what}" for found, whole, what in seen)
    left_out = len(held_out.dialogues_left_out)
    return (
        f"Seen in training: {counts}; {held_out.checks_seen} constraints demand what one in training does, in other "
        f"words." + (f" {left_out} dialogues with a query seen in training were left out." if left_out else "")
    )


def format_interval(low: float | None, high: float | None) -> str:
    """An interval as people write it; nothing where there is none."""
    return "" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"


def render_markdown(summary: EvaluationSummary) -> str:
    """The summary as the Prefect UI shows it."""
    metrics = [item for item in summary.metrics if not item.metric.startswith(KIND)]
    names = [f"{metric}{part}" for metric in MAIN_METRICS for part in ("", "/original", "/reversed")]
    labels = [model.label for model in summary.models]
    by_name = {(item.model, item.metric): item for item in metrics}
    rows = [
        (name, *(_cell(by_name.get((label, name))) for label in labels))
        for name in names
        if (labels[0], name) in by_name
    ]
    changes = [
        (item.model, item.metric, f"{item.value:+.3f}", format_interval(item.low, item.high), item.n)
        for item in summary.differences
        if not item.metric.startswith(KIND)
    ]
    return "\n\n".join(
        [
            f"# Evaluation of run {summary.run}",
            say_held_out(summary.held_out),
            table(("metric", *labels), rows),
            f"## Difference to {labels[0]}",
            table(("model", "metric", "difference", "95 % interval", "n"), changes),
            f"Calls: {summary.calls_made} made, {summary.calls_cached} from the call cache.",
            *(f"Left out: {name}: {why}" for name, why in summary.left_out.items()),
        ]
    )


def _cell(metric: Metric | None) -> str:
    return "" if metric is None else f"{metric.value:.3f} {format_interval(metric.low, metric.high)}"
