"""Comparing models that were measured: from stored verdicts and scored files, without any call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.errors import SettingsError
from models.evaluation import (
    BenchmarkSettings,
    BenchmarkSummary,
    Difference,
    EvaluatedModel,
    EvaluationSettings,
    EvaluationSummary,
)
from storage.manifests import load
from storage.parts import PartStore
from storage.roots import data_root
from tasks.benchmarks import BENCHMARKS
from tasks.benchmarks.measuring import compare_scores, tally_scores
from tasks.benchmarks.scored_rows import find_benchmark, read_scored
from tasks.measures import Tally
from tasks.measuring import bootstrap_over, compare_tallies, tally_models


def compare_models(settings: EvaluationSettings | BenchmarkSettings, labels: Sequence[str]) -> list[Difference]:
    """The differences of some models to the first of them, on the same held-out dialogues or the same benchmark.

    Raises:
        StorageError: There is no such evaluation, or parts of it are gone.
        SettingsError: It is not finished, or has not measured one of the models.
    """
    root = data_root(settings.data)
    manifest = load(root, settings.evaluation)
    on = f" --benchmark {manifest.benchmark}" if manifest.benchmark else ""
    again = f"Type: rpo evaluate{on}" + (f" --run {settings.run}" if settings.run else "")
    if not manifest.is_evaluation or manifest.summary is None:
        raise SettingsError(f"{settings.evaluation!r} is not a finished evaluation.", next_step=again)
    store = PartStore(root)
    if manifest.benchmark is None:
        summary = EvaluationSummary.model_validate(manifest.summary)
        chosen = _choose(summary.models, labels, settings.evaluation, again)
        verdicts = {model.label: model.judgments for model in chosen}
        tallies = tally_models(store, verdicts, without=summary.held_out.dialogues_left_out)
        bootstrap = bootstrap_over(tallies, seed=summary.seed, resamples=summary.resamples)
        return compare_tallies(tallies, bootstrap, tested=True)
    measured = BenchmarkSummary.model_validate(manifest.summary)
    chosen = _choose(measured.models, labels, settings.evaluation, again)
    benchmark = BENCHMARKS[measured.benchmark]
    tallies = tally_scores(store, benchmark, {model.label: model.judgments for model in chosen})
    return compare_scores(benchmark, tallies, seed=measured.seed, resamples=measured.resamples, tested=True)


def _choose(
    models: Sequence[EvaluatedModel], labels: Sequence[str], evaluation: str, again: str
) -> list[EvaluatedModel]:
    known = {model.label: model for model in models}
    unknown = [label for label in labels if label not in known]
    if unknown or len(set(labels)) < len(labels):
        why = f"{unknown[0]!r} was not measured" if unknown else "each model can be named once"
        raise SettingsError(
            f"{why}; evaluation {evaluation!r} has: {', '.join(known)}.",
            next_step=f"{again} --model {unknown[0]}" if unknown else "",
        )
    return [known[label] for label in labels]


def compare_files(files: Sequence[Path], *, seed: int = 0, resamples: int = 2000) -> tuple[list[Difference], int, int]:
    """The differences of scored files (``rpo score ... --rows``) to the first of them, on the dialogues that all have.

    Returns:
        The differences, the dialogues that were compared, and those that only some files have.

    Raises:
        ImportFileError: A file was not written by ``rpo score``.
        SettingsError: Two files have one name, or they have no dialogue in common.
    """
    names = [path.stem for path in files]
    if len(set(names)) < len(names):
        raise SettingsError(
            f"Two files are called {max(names, key=names.count)!r}: the table would not tell them apart.",
            next_step="Rename one of them.",
        )
    scores = {name: read_scored(path) for name, path in zip(names, files, strict=True)}
    benchmark = find_benchmark(next(iter(scores.values())))
    tallies: dict[str, Tally] = {name: benchmark.tally(found) for name, found in scores.items()}
    dialogues = [{score.dialogue_id for score in found} for found in scores.values()]
    common = set.intersection(*dialogues)
    if not common:
        raise SettingsError(
            f"{' and '.join(names)} have no dialogue in common.",
            next_step="Compare answers to the same prompts: their keys are the same.",
        )
    kept = {name: _keep(tally, common) for name, tally in tallies.items()}
    differences = compare_scores(benchmark, kept, seed=seed, resamples=resamples, tested=True)
    return differences, len(common), len(set.union(*dialogues) - common)


def _keep(tally: Tally, dialogues: set[str]) -> Tally:
    """The totals of some dialogues."""
    kept = {
        metric: {dialogue: total for dialogue, total in totals.items() if dialogue in dialogues}
        for metric, totals in tally.items()
    }
    return {metric: totals for metric, totals in kept.items() if totals}
