"""How well constraints are followed: SysBench's CSR, ISR and SSR, with bootstrap intervals over roles.

Plain Python on purpose: ``rpo compare`` needs no scientific package, and thousands of resamples of hundreds of roles
take seconds.
"""

from __future__ import annotations

import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter, mul
from typing import NamedTuple

CSR, ISR, SSR = "csr", "isr", "ssr"
MAIN_METRICS = (CSR, ISR, SSR)


class Outcome(NamedTuple):
    """One verdict, with all that it is counted by."""

    role: str
    polarity: str
    dialogue: str
    sample: int
    turn: int
    kind: str
    verdict: str


class Estimate(NamedTuple):
    """A value with its 95 % interval; none where fewer than two roles have the metric, or all have the same value."""

    value: float
    low: float | None
    high: float | None
    n: int


class Total(NamedTuple):
    """The sum and the number of a role's items: every metric here is a mean over items."""

    sum: float
    n: int


Tally = dict[str, dict[str, Total]]
"""Metric, then role, then its total."""


def tally(outcomes: Iterable[Outcome]) -> Tally:
    """Totals a metric and role.

    - ``csr``: share of the judged constraints that are followed (as SysBench publishes it: over all constraints,
      not a mean of means); also for each polarity and each kind of constraint.
    - ``isr``: share of the responses that follow all their constraints.
    - ``ssr``: of a dialogue, the number of turns from the first that are followed in full, over its turns; each
      sample number is a dialogue of its own.

    A verdict that is neither followed nor violated is no item of csr, and its response none of isr; its dialogue is
    none of ssr. A turn that triggers nothing has no verdicts, and counts nowhere.
    """
    items: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    sessions: dict[tuple[str, str, str, int], dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for outcome in outcomes:
        sessions[outcome.role, outcome.polarity, outcome.dialogue, outcome.sample][outcome.turn].append(outcome.verdict)
        if outcome.verdict in ("followed", "violated"):
            followed = float(outcome.verdict == "followed")
            for metric in (CSR, f"{CSR}/{outcome.polarity}", f"{CSR}/kind/{outcome.kind}"):
                items[metric][outcome.role].append(followed)
    for (role, polarity, _, _), turns in sessions.items():
        held = [_held(turns[turn]) for turn in sorted(turns)]
        for whole in held:
            if whole is not None:
                items[ISR][role].append(whole)
                items[f"{ISR}/{polarity}"][role].append(whole)
        if None not in held:
            leading = next((place for place, whole in enumerate(held) if not whole), len(held))
            items[SSR][role].append(leading / len(held))
            items[f"{SSR}/{polarity}"][role].append(leading / len(held))
    return {
        metric: {role: Total(sum(values), len(values)) for role, values in sorted(roles.items())}
        for metric, roles in sorted(items.items())
    }


def _held(verdicts: Sequence[str]) -> bool | None:
    """Whether all constraints of a response are followed; None where that is not known."""
    if "violated" in verdicts:
        return False
    return None if set(verdicts) - {"followed"} else True


class Bootstrap:
    """Resamples of roles: both polarities, all turns and all samples of a role stay together.

    The same draws serve every model, so that a difference is that of the same roles.

    Args:
        roles: The roles to draw from.
        resamples: How often.
        seed: Decides the draws.
    """

    def __init__(self, roles: Iterable[str], *, resamples: int, seed: int) -> None:
        self.roles = sorted(set(roles))
        rng = random.Random(seed)  # noqa: S311  (draws, not secrets)
        places = range(len(self.roles))
        self._weights = []
        for _ in range(resamples):
            counts = Counter(rng.choices(places, k=len(places)))
            self._weights.append([counts[place] for place in places])

    def measure(self, totals: Mapping[str, Total]) -> Estimate:
        """The mean over items, with its interval."""
        return Estimate(mean(totals), *_interval(self._means(totals)), _count(totals))

    def compare(self, before: Mapping[str, Total], after: Mapping[str, Total]) -> Estimate:
        """How much larger the second mean is, with the interval of the paired difference."""
        pairs = zip(self._means(before), self._means(after), strict=False)
        drawn = [late - early for early, late in pairs if early is not None and late is not None]
        return Estimate(mean(after) - mean(before), *_interval(drawn), min(_count(before), _count(after)))

    def _means(self, totals: Mapping[str, Total]) -> list[float | None]:
        """The mean of each resample; None where none of these roles was drawn; empty where there are fewer than two."""
        places = [place for place, role in enumerate(self.roles) if role in totals]
        if len(places) < 2:
            return []
        sums = [totals[self.roles[place]].sum for place in places]
        counts = [totals[self.roles[place]].n for place in places]
        drawn = map(itemgetter(*places), self._weights)
        return [sum(map(mul, w, sums)) / n if (n := sum(map(mul, w, counts))) else None for w in drawn]


def _interval(drawn: Iterable[float | None]) -> tuple[float | None, float | None]:
    """The middle 95 %; none where all draws agree: they then say nothing about other roles."""
    values = [value for value in drawn if value is not None]
    if len(values) < 2 or max(values) == min(values):
        return None, None
    cuts = statistics.quantiles(values, n=40, method="inclusive")
    return cuts[0], cuts[-1]


def mean(totals: Mapping[str, Total]) -> float:
    """The mean over the items of all roles."""
    return sum(total.sum for total in totals.values()) / _count(totals)


def _count(totals: Mapping[str, Total]) -> int:
    return sum(total.n for total in totals.values())
