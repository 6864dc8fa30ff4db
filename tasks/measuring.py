"""Measuring: verdicts to CSR, ISR and SSR of each model, with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydantic import Field

from models.base import Strict
from models.evaluation import HELD_OUT, Difference
from models.records import Metric, PartRef
from storage.outcomes import Row, read_outcomes
from storage.parts import PartStore
from tasks.batch import Batch, stage_task
from tasks.measures import Bootstrap, Outcome, Parts, Tally, Totals, mean, paired_test, tally

Metrics = Mapping[str, Sequence[Totals]]
"""Each metric by what is averaged for it: its totals alone, or for an average those of several metrics."""


class Plan(Strict):
    """What to measure, beside the verdicts."""

    run: str = Field(description="The factory run.")
    labels: list[str] = Field(description="The models, in the order of their verdicts.")
    without: list[str] = Field(description="Dialogues to leave out.")
    seed: int = Field(description="Seed of the bootstrap.")
    resamples: int = Field(description="Draws of the bootstrap.")


@stage_task(produces="metrics", version=2)
def measure_models(batch: Batch, judgments: list[list[PartRef]], plan: str) -> Iterator[Metric]:
    """CSR, ISR and SSR of each model, over all and by polarity, CSR by kind of constraint.

    Args:
        batch: The batch.
        judgments: The parts with the verdicts on each model.
        plan: A ``Plan`` as JSON; as text it is part of the key.
    """
    wanted = Plan.model_validate_json(plan)
    tallies = tally_models(batch.store, dict(zip(wanted.labels, judgments, strict=True)), without=wanted.without)
    bootstrap = bootstrap_over(tallies, seed=wanted.seed, resamples=wanted.resamples)
    for label, totals in tallies.items():
        for metric, by_role in totals.items():
            value, low, high, n = bootstrap.measure(by_role)
            yield Metric(
                run=wanted.run, model=label, benchmark=HELD_OUT, metric=metric, value=value, low=low, high=high, n=n
            )


def tally_models(
    store: PartStore, judgments: Mapping[str, Sequence[PartRef]], *, without: Sequence[str]
) -> dict[str, Tally]:
    """The totals of each model, by its label."""
    left_out = set(without)
    return {
        label: tally(map(as_outcome, read_outcomes(store, parts, without=left_out)))
        for label, parts in judgments.items()
    }


def as_outcome(row: Row) -> Outcome:
    """A verdict on a held-out dialogue, as it is counted.

    Roles are drawn: both polarities, all turns and all samples of a role stay together. Each sample number is a
    dialogue of its own. A verdict that is neither followed nor violated is nobody's success or failure.
    """
    role, polarity, dialogue, sample, turn, kind, verdict = row
    followed = verdict == "followed" if verdict in ("followed", "violated") else None
    parts = Parts((polarity, f"kind/{kind}"), (polarity,), (polarity,))
    return Outcome(role, (dialogue, polarity, sample), turn, followed, followed, parts)


def bootstrap_over(tallies: Mapping[str, Tally], *, seed: int, resamples: int) -> Bootstrap:
    """Draws over all roles of some models: the same ones for every model."""
    roles = {role for totals in tallies.values() for by_role in totals.values() for role in by_role}
    return Bootstrap(roles, resamples=resamples, seed=seed)


def compare_tallies(tallies: Mapping[str, Tally], bootstrap: Bootstrap, *, tested: bool = False) -> list[Difference]:
    """Every model against the first one, a difference a metric that both have; with a paired test where wanted."""
    metrics = {label: {metric: [part] for metric, part in totals.items()} for label, totals in tallies.items()}
    return compare_metrics(metrics, bootstrap, tested=tested)


def compare_metrics(models: Mapping[str, Metrics], bootstrap: Bootstrap, *, tested: bool) -> list[Difference]:
    """As ``compare_tallies``, of metrics that may be averages."""
    (against, first), *others = models.items()
    return [
        Difference(
            model=label,
            against=against,
            metric=metric,
            before=mean(*first[metric]),
            after=mean(*parts),
            **bootstrap.compare_averages(first[metric], parts)._asdict(),
            p=paired_test(first[metric], parts, resamples=bootstrap.resamples, seed=bootstrap.seed) if tested else None,
        )
        for label, metrics in others
        for metric, parts in metrics.items()
        # an average of other parts is another metric
        if len(first.get(metric, [])) == len(parts)
    ]
