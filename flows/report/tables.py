"""The tables of a run, from its summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flows.rounds import tabulate_rounds
from models.accounts import CallAccount
from models.agreement import JudgeAgreement
from models.diversity import Diversity
from models.summary import RoundResult
from storage.report_tables import Row


def share(value: float) -> str:
    """A share as people write it."""
    return f"{value:.0%}"


@dataclass(frozen=True)
class Table:
    """A table; the first ``left`` columns hold words, the others numbers."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[object]]
    left: int = 1


def tabulate_judge(calibration: Sequence[JudgeAgreement]) -> Table | None:
    """The judge model against the checks; None: it was not measured."""
    if not calibration:
        return None
    rows = [
        (
            *(item.kind, item.language, item.n, item.unscored, _rate(item.agreement)),
            "" if item.kappa is None else f"{item.kappa:.2f}",
            *(_rate(item.false_positive), _rate(item.false_negative)),
        )
        for item in calibration
    ]
    head = ("kind", "language", "n", "unreadable", "agreement", "kappa", "false positive", "false negative")
    return Table("The judge model against the checks, by kind and language", head, rows, left=2)


def tabulate_diversity(diversity: Sequence[Diversity]) -> Table | None:
    """How varied the texts of each language are; None: there are none."""
    if not diversity:
        return None
    rows = [
        (
            *(item.what, item.language, f"{item.texts:,}", f"{item.measured:,}", share(item.distinct_openings)),
            *(_rate(item.distinct_trigrams), f"{item.compression_ratio:.1f}"),
        )
        for item in diversity
    ]
    head = ("texts", "language", "n", "measured", "distinct openings", "distinct trigrams", "compression ratio")
    return Table("How varied the texts are", head, rows, left=2)


def tabulate_accounts(accounts: Sequence[CallAccount]) -> Table | None:
    """The calls by stage and role; None: no model was asked."""
    if not accounts:
        return None
    rows = [
        (
            *(item.stage, item.role, item.model, f"{item.calls:,}", f"{item.cached:,}", f"{item.failed:,}"),
            *(f"{item.retries:,}", f"{item.tokens_in:,}", f"{item.tokens_out:,}"),
            "unknown" if item.cost is None else f"{item.cost:.4f}",
            "" if item.median_seconds is None else f"{item.median_seconds:.2f}",
            f"{item.seconds:,.1f}",
        )
        for item in accounts
    ]
    head = (
        *("stage", "role", "model", "calls", "cached", "failed", "retries", "tokens in", "tokens out", "cost"),
        *("s a request", "s in all"),
    )
    return Table("Calls by stage and role", head, rows, left=3)


def tabulate_failures(failures: Sequence[Row]) -> Table | None:
    """What went wrong with calls and answers; None: nothing."""
    if not failures:
        return None
    rows = [(row["stage"], row["role"], row["kind"], f"{row['times']:,}", f"{row['lost']:,}") for row in failures]
    head = ("stage", "role", "kind", "how often", "given up")
    return Table("What went wrong with calls and answers", head, rows, left=3)


def tabulate_exclusions(exclusions: Sequence[Row]) -> Table | None:
    """What made no pairs, and why; None: nothing was left out."""
    if not exclusions:
        return None
    rows = [(row["stage"], row["what"], row["reason"], f"{row['times']:,}") for row in exclusions]
    return Table("Left out, and why", ("stage", "what", "reason", "how many"), rows, left=3)


def tabulate_all_rounds(rounds: Sequence[RoundResult]) -> Table | None:
    """The rounds beside each other; None: there is one only."""
    if not rounds:
        return None
    head, rows = tabulate_rounds(rounds)
    return Table("The rounds beside each other", head, rows)


def _rate(value: float | None) -> str:
    return "" if value is None else share(value)
