"""Measuring on a benchmark: scores to its metrics, each model's and their differences, with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from models.benchmarks import BenchmarkName, Score
from models.evaluation import Difference
from models.records import Metric, PartRef
from storage.parts import PartStore
from tasks.batch import Batch, stage_task
from tasks.benchmarks import BENCHMARKS
from tasks.benchmarks.base import Benchmark
from tasks.measures import Tally
from tasks.measuring import Metrics, Plan, bootstrap_over, compare_metrics


@stage_task(produces="metrics", version=2)
def measure_benchmark(
    batch: Batch, scores: list[list[PartRef]], name: BenchmarkName, measured_on: str, plan: str
) -> Iterator[Metric]:
    """The benchmark's metrics of each model.

    Args:
        batch: The batch.
        scores: The parts with the scores of each model.
        name: The benchmark.
        measured_on: What the metrics call it.
        plan: A ``Plan`` as JSON; as text it is part of the key.
    """
    wanted = Plan.model_validate_json(plan)
    benchmark = BENCHMARKS[name]
    tallies = tally_scores(batch.store, benchmark, dict(zip(wanted.labels, scores, strict=True)))
    bootstrap = bootstrap_over(tallies, seed=wanted.seed, resamples=wanted.resamples)
    for label, tally in tallies.items():
        for metric, parts in expand_metrics(benchmark, tally).items():
            value, low, high, n = bootstrap.measure(*parts)
            yield Metric(
                run=wanted.run, model=label, benchmark=measured_on, metric=metric, value=value, low=low, high=high, n=n
            )


def tally_scores(store: PartStore, benchmark: Benchmark, scores: Mapping[str, Sequence[PartRef]]) -> dict[str, Tally]:
    """The totals of each model, by its label."""
    return {
        label: benchmark.tally(score for ref in parts for score in store.read(ref, Score))
        for label, parts in scores.items()
    }


def expand_metrics(benchmark: Benchmark, tally: Tally) -> Metrics:
    """Every metric, with the benchmark's averages; its main ones first."""
    averages = {
        name: [tally[part] for part in parts] for name, parts in benchmark.averages(tally.keys()).items() if parts
    }
    found = {**averages, **{metric: [totals] for metric, totals in tally.items()}}
    order = {metric: place for place, metric in enumerate(benchmark.main)}
    return dict(sorted(found.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))


def compare_scores(
    benchmark: Benchmark, tallies: Mapping[str, Tally], *, seed: int, resamples: int, tested: bool
) -> list[Difference]:
    """Every model against the first one, a difference a metric that both have.

    Args:
        benchmark: The benchmark.
        tallies: The models' totals, by label.
        seed: Seed of the draws.
        resamples: Draws of the bootstrap and of the test.
        tested: With the p-value of the paired test, which takes as long as the intervals.
    """
    metrics = {label: expand_metrics(benchmark, tally) for label, tally in tallies.items()}
    return compare_metrics(metrics, bootstrap_over(tallies, seed=seed, resamples=resamples), tested=tested)
