"""How far a judge model agrees with the checks: agreement, Cohen's kappa, error rates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from pydantic import Field

from models.base import Strict
from models.records import Verdict

ALL = "all"
"""Stands for every kind, or every language."""

Cell = tuple[Verdict, Verdict]
"""What the check says and what the judge says."""


class JudgeAgreement(Strict):
    """The judge against the checks, on one kind of constraint in one language."""

    kind: str = Field(description="Kind of constraint, or all.")
    language: str = Field(description="en, zh, or all.")
    n: int = Field(ge=0, description="Verdicts of the judge that could be read.")
    unscored: int = Field(ge=0, description="Verdicts that could not be read, or without a majority; not among n.")
    agreement: float | None = Field(description="Share of n on which both say the same; null: n is 0.")
    kappa: float | None = Field(
        description="Cohen's kappa: agreement beyond that of chance, 1 at best, 0 where there is none beyond it; null: "
        "both say one and the same thing every time, or n is 0."
    )
    false_positive: float | None = Field(
        description="Share of what the check finds violated that the judge calls followed; null: nothing is violated."
    )
    false_negative: float | None = Field(
        description="Share of what the check finds followed that the judge calls violated; null: nothing is followed."
    )


def measure_agreement(kind: str, language: str, counts: Mapping[Cell, int]) -> JudgeAgreement:
    """Agreement, kappa (Cohen 1960) and error rates from the counts of each pair of verdicts.

    The judge's ``not_applicable`` is a verdict of its own, which the check never gives: it counts as disagreement and
    as neither kind of error.
    """
    scored = {cell: count for cell, count in counts.items() if cell[1] != "unscored"}
    n = sum(scored.values())
    by_code: Counter[Verdict] = Counter()
    by_judge: Counter[Verdict] = Counter()
    for (code, judge), count in scored.items():
        by_code[code] += count
        by_judge[judge] += count
    same = sum(count for (code, judge), count in scored.items() if code == judge)
    # in whole numbers, so that a chance agreement of exactly 1 is seen as such
    by_chance = sum(by_code[verdict] * by_judge[verdict] for verdict in by_code)
    return JudgeAgreement(
        kind=kind,
        language=language,
        n=n,
        unscored=sum(counts.values()) - n,
        agreement=_share(same, n),
        kappa=_share(n * same - by_chance, n * n - by_chance),
        false_positive=_share(scored.get(("violated", "followed"), 0), by_code["violated"]),
        false_negative=_share(scored.get(("followed", "violated"), 0), by_code["followed"]),
    )


def summarise_agreement(rows: Iterable[tuple[str, str, Verdict, Verdict, int]]) -> list[JudgeAgreement]:
    """Every kind in every language, and before these each language as a whole and everything as a whole.

    Args:
        rows: Kind, language, the check's verdict, the judge's verdict, and how often these came together.
    """
    tallies: dict[tuple[str, str], Counter[Cell]] = {}
    for kind, language, by_code, by_judge, count in rows:
        for place in ((ALL, ALL), (ALL, language), (kind, language)):
            tallies.setdefault(place, Counter())[by_code, by_judge] += count

    def whole_first(place: tuple[str, str]) -> tuple[bool, bool, str, str]:
        kind, language = place
        return kind != ALL, language != ALL, kind, language

    return [measure_agreement(*place, tallies[place]) for place in sorted(tallies, key=whole_first)]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
