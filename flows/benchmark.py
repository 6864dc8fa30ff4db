"""The evaluation on a public benchmark: base models, trained models and endpoints answer its turns and are scored."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from prefect import flow

from flows.candidates import Candidate, find_candidates
from flows.factory import RUNNER
from flows.run import Run, open_run
from flows.scores import conclude, earlier_models, format_interval, keep_models
from models.benchmarks import BenchmarkTurn, RefusedRow, Score
from models.endpoints import EMBEDDED, Role, Roles
from models.errors import SettingsError
from models.evaluation import BenchmarkSettings, BenchmarkSummary, Difference, EvaluatedModel
from models.loading import validate_settings
from models.markdown import table
from models.records import Metric, PartRef
from models.runner import Runner
from models.settings import FactorySettings
from storage.manifests import load, manifest_path
from storage.roots import data_root
from tasks.benchmarks import BENCHMARKS
from tasks.benchmarks.answering import answer_benchmark
from tasks.benchmarks.base import Benchmark
from tasks.benchmarks.dialogues import batch_dialogues, read_turns
from tasks.benchmarks.measuring import compare_scores, measure_benchmark, tally_scores
from tasks.identity import part_key
from tasks.llm.gateways import close_gateway
from tasks.measuring import Plan


@flow(name="benchmark", flow_run_name="{settings.benchmark}: {settings.evaluation}", task_runner=RUNNER)
def evaluate_benchmark(settings: BenchmarkSettings) -> BenchmarkSummary:
    """A public benchmark's metrics of base and trained models and of endpoints.

    What a model answered is kept: scoring it again, or measuring another model, asks for nothing twice.

    Args:
        settings: Which models, on what.
    """
    benchmark = BENCHMARKS[settings.benchmark]
    factory = benchmark_settings(settings, benchmark)
    turns, refused = read_turns(benchmark, settings)
    earlier = earlier_models(settings) if is_asked_alike(factory) else []
    candidates, left_out = find_candidates(settings.models, settings.run, factory)
    with open_run(factory, evaluates=settings.run, benchmark=settings.benchmark) as run:
        asked = store_turns(run, turns)
        measured = [answer_and_score(run, benchmark, candidate, asked) for candidate in candidates]
        models = keep_models(run, earlier, measured, "benchmark_turns")
        return finish_benchmark(run, settings, benchmark, asked, models, left_out, refused)


def benchmark_settings(settings: BenchmarkSettings, benchmark: Benchmark) -> FactorySettings:
    """The settings of the run that asks and scores: the base model as policy, and a judge where one is asked.

    Raises:
        StorageError: There is no such factory run.
        SettingsError: No such endpoint, or the benchmark needs a judge and there is none.
    """
    if settings.run is None:
        given = FactorySettings()
    else:
        manifest = load(data_root(settings.data), settings.run)
        given = validate_settings(manifest.settings, source=f"the manifest of run {settings.run}")
    endpoints = {"demo": EMBEDDED, **given.endpoints, **settings.endpoints}
    policy = Role(
        endpoint=settings.policy or given.roles.policy.endpoint,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
    )
    judge = (settings.judge or given.roles.judge) if benchmark.asks_judge else None
    if benchmark.asks_judge and judge is None:
        raise SettingsError(
            f"{benchmark.name} is scored by a judge model, and there is none.",
            safe="Nothing was started.",
            next_step="Add [roles.judge] with its endpoint to factory.toml.",
        )
    values = {
        "run": settings.evaluation,
        "data": settings.data,
        "seed": settings.seed,
        "batch_size": settings.batch_size,
        "max_failed_share": given.max_failed_share,
        "judging": (settings.judging or given.judging).model_copy(update={"min_kappa": None}),
        "endpoints": endpoints,
        "roles": Roles(policy=policy, judge=judge),
        # models take turns: one server at a time is in memory, of this process
        "runner": Runner(),
    }
    return validate_settings(values, source=f"the evaluation {settings.evaluation}")


def is_asked_alike(factory: FactorySettings) -> bool:
    """Whether the models of an earlier evaluation of this name were sampled and judged as these are to be."""
    root = data_root(factory.data)
    if not manifest_path(root, factory.run).is_file():
        return False
    earlier, today = load(root, factory.run).settings, factory.model_dump(mode="json")
    return _asked(earlier) == _asked(today)


def _asked(settings: Mapping[str, Any]) -> dict[str, Any]:
    policy = {**settings["roles"]["policy"], "endpoint": None}
    judge = {"judge": settings["roles"]["judge"], "votes": settings["judging"]["votes"]}
    return {"seed": settings["seed"], "policy": policy, **judge}


def store_turns(run: Run, turns: Sequence[BenchmarkTurn]) -> list[PartRef]:
    """The turns as parts, a batch of dialogues each."""
    parts = []
    for rows in batch_dialogues(turns, run.settings.batch_size):
        key = part_key("read_benchmark", run.settings, [], *(row.model_dump() for row in rows))
        parts.append(run.store.find("benchmark_turns", key) or run.store.write("benchmark_turns", key, rows))
    run.register(parts)
    return parts


def answer_and_score(run: Run, benchmark: Benchmark, candidate: Candidate, turns: Sequence[PartRef]) -> EvaluatedModel:
    """One model's answers to all turns, scored. Models take turns: one server at a time is in memory."""
    asked = dataclasses.replace(run, settings=candidate.as_policy(run.settings))
    if asked.settings != run.settings:
        close_gateway()
    answers = asked.fan_out(answer_benchmark, [(part,) for part in turns])
    _, scores = asked.collect(answers, asked.fan_out(benchmark.score, [(part,) for part in answers]))
    endpoint = candidate.endpoint
    return EvaluatedModel(label=candidate.label, model=endpoint.model, identity=endpoint.identity, judgments=scores)


def finish_benchmark(
    run: Run,
    settings: BenchmarkSettings,
    benchmark: Benchmark,
    asked: Sequence[PartRef],
    models: Sequence[EvaluatedModel],
    left_out: dict[str, str],
    refused: list[RefusedRow],
) -> BenchmarkSummary:
    """Measure the models and write the summary."""
    labels = [model.label for model in models]
    scores = [model.judgments for model in models]
    plan = Plan(
        run=settings.run or settings.evaluation,
        labels=labels,
        without=[],
        seed=settings.seed,
        resamples=settings.resamples,
    )
    inputs = [(scores, settings.benchmark, settings.measured_on, plan.model_dump_json())]
    [[measured]] = run.collect(run.fan_out(measure_benchmark, inputs))
    turns = [turn for part in asked for turn in run.store.read(part, BenchmarkTurn)]
    summary = BenchmarkSummary(
        evaluation=settings.evaluation,
        benchmark=settings.benchmark,
        run=settings.run,
        history=settings.history,
        seed=plan.seed,
        resamples=plan.resamples,
        dialogues=len({turn.dialogue_id for turn in turns}),
        turns=len(turns),
        refused=refused,
        models=list(models),
        unanswered={
            model.label: missing
            for model in models
            if (missing := len(turns) - sum(run.store.upstream(ref, "responses").rows for ref in model.judgments))
        },
        undecided={model.label: count for model in models if (count := _count_undecided(run, model))},
        metrics=run.store.read(measured, Metric),
        differences=_differences(run, benchmark, plan, scores),
        left_out=left_out,
        calls_made=run.calls_now.made,
        calls_cached=run.calls_now.cached,
        seconds=round(time.monotonic() - run.started, 1),
    )
    conclude(run, summary, render_markdown(summary), f"{settings.benchmark}: {', '.join(labels)}")
    return summary


def _count_undecided(run: Run, model: EvaluatedModel) -> int:
    found = (score for ref in model.judgments for score in run.store.read(ref, Score))
    return sum(score.verdict not in ("followed", "violated") for score in found)


def _differences(run: Run, benchmark: Benchmark, plan: Plan, scores: Sequence[Sequence[PartRef]]) -> list[Difference]:
    if len(plan.labels) == 1:
        return []
    tallies = tally_scores(run.store, benchmark, dict(zip(plan.labels, scores, strict=True)))
    return compare_scores(benchmark, tallies, seed=plan.seed, resamples=plan.resamples, tested=False)


def render_markdown(summary: BenchmarkSummary) -> str:
    """The summary as the Prefect UI shows it."""
    rows = [
        (item.model, item.metric, f"{item.value:.4f}", format_interval(item.low, item.high), item.n)
        for item in summary.metrics
        if "/kind/" not in item.metric
    ]
    return "\n\n".join(
        [
            f"# {summary.benchmark}: {summary.dialogues} dialogues, {summary.turns} turns",
            table(("model", "metric", "value", "95 % interval", "n"), rows),
            f"Calls: {summary.calls_made} made, {summary.calls_cached} from the call cache.",
        ]
    )
