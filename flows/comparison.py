"""Comparing models that were measured: from stored verdicts, without any call."""

from __future__ import annotations

from collections.abc import Sequence

from models.errors import SettingsError
from models.evaluation import Difference, EvaluationSettings, EvaluationSummary
from storage.manifests import load
from storage.parts import PartStore
from storage.roots import data_root
from tasks.measuring import bootstrap_over, compare_tallies, tally_models


def compare_models(settings: EvaluationSettings, labels: Sequence[str]) -> list[Difference]:
    """The differences of some models to the first of them, on the same held-out dialogues.

    Raises:
        StorageError: There is no such evaluation, or parts of it are gone.
        SettingsError: It is not finished, or has not measured one of the models.
    """
    root = data_root(settings.data)
    manifest = load(root, settings.evaluation)
    again = f"Type: rpo evaluate --run {settings.run}"
    if manifest.evaluates is None or manifest.summary is None:
        raise SettingsError(f"{settings.evaluation!r} is not a finished evaluation.", next_step=again)
    summary = EvaluationSummary.model_validate(manifest.summary)
    judgments = {model.label: model.judgments for model in summary.models}
    unknown = [label for label in labels if label not in judgments]
    if unknown or len(set(labels)) < len(labels):
        why = f"{unknown[0]!r} was not measured" if unknown else "each model can be named once"
        raise SettingsError(
            f"{why}; evaluation {settings.evaluation!r} has: {', '.join(judgments)}.",
            next_step=f"{again} --model {unknown[0]}" if unknown else "",
        )
    tallies = tally_models(
        PartStore(root),
        {label: judgments[label] for label in labels},
        without=summary.held_out.dialogues_left_out,
    )
    return compare_tallies(tallies, bootstrap_over(tallies, seed=summary.seed, resamples=summary.resamples))
