"""How well constraints are followed: SysBench's CSR, ISR and SSR, with bootstrap intervals over roles.

Plain Python on purpose: ``rpo compare`` needs no scientific package, and thousands of resamples of hundreds of roles
take seconds.
"""

from __future__ import annotations

import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from operator import itemgetter, mul
from typing import NamedTuple

CSR, ISR, SSR = "csr", "isr", "ssr"
MAIN_METRICS = (CSR, ISR, SSR)


class Parts(NamedTuple):
    """What a verdict is also counted under: of each metric, the names of its parts, such as ``kind/word_count``."""

    csr: tuple[str, ...] = ()
    isr: tuple[str, ...] = ()
    ssr: tuple[str, ...] = ()


class Outcome(NamedTuple):
    """One verdict, with all that it is counted by."""

    role: str
    """What the bootstrap draws: all dialogues of a role stay together. A benchmark's session is a role of its own."""
    dialogue: Hashable
    turn: int
    satisfied: bool | None
    """What it is to csr; None: no item of it."""
    holds: bool | None
    """Whether its response can still be whole; None: that is not known."""
    parts: Parts = Parts()


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


def tally(outcomes: Iterable[Outcome], *, by_turn: bool = False) -> Tally:
    """Totals a metric and role.

    - ``csr``: share of the constraints that are followed (as SysBench publishes it: over all constraints, not a mean
      of means).
    - ``isr``: share of the responses that follow all their constraints.
    - ``ssr``: of a dialogue, the number of turns from the first that are followed in full, over its turns.

    A response of which it is not known whether it is whole is none of isr; its dialogue is none of ssr. A turn without
    verdicts counts nowhere.

    Args:
        outcomes: The verdicts.
        by_turn: Also csr and isr of each turn, and as ``ssr/turn/N`` the share of the dialogues whose first N turns
            are all followed in full.
    """
    items: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    responses: dict[tuple[str, Hashable], dict[int, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
    for outcome in outcomes:
        responses[outcome.role, outcome.dialogue][outcome.turn].append(outcome)

    def count(metric: str, role: str, value: float, parts: Iterable[str]) -> None:
        for name in (metric, *(f"{metric}/{part}" for part in parts)):
            items[name][role].append(value)

    for (role, _), turns in responses.items():
        held = []
        for turn in sorted(turns):
            this_turn = (f"turn/{turn}",) if by_turn else ()
            for outcome in turns[turn]:
                if outcome.satisfied is not None:
                    count(CSR, role, outcome.satisfied, outcome.parts.csr + this_turn)
            whole = _is_whole(turns[turn])
            held.append(whole)
            if whole is not None:
                count(ISR, role, whole, turns[turn][0].parts.isr + this_turn)
        if None not in held:
            leading = next((place for place, whole in enumerate(held) if not whole), len(held))
            count(SSR, role, leading / len(held), turns[min(turns)][0].parts.ssr)
            for place, turn in enumerate(sorted(turns) if by_turn else ()):
                items[f"{SSR}/turn/{turn}"][role].append(leading > place)
    return {
        metric: {role: Total(sum(values), len(values)) for role, values in sorted(roles.items())}
        for metric, roles in sorted(items.items())
    }


def _is_whole(outcomes: Sequence[Outcome]) -> bool | None:
    """Whether all constraints of a response are followed; None where that is not known."""
    holds = {outcome.holds for outcome in outcomes}
    if False in holds:
        return False
    return None if None in holds else True


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
