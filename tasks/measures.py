"""How well constraints are followed: SysBench's CSR, ISR and SSR, with bootstrap intervals over roles.

A benchmark's dialogues stand where roles stand here: what is drawn from is what is independent.

Plain Python on purpose: ``rpo compare`` needs no scientific package, and thousands of resamples of hundreds of roles
take seconds.
"""

from __future__ import annotations

import math
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


Totals = Mapping[str, Total]
"""A role's total, by role."""

Tally = dict[str, dict[str, Total]]
"""Metric, then role, then its total."""


def tally(outcomes: Iterable[Outcome], *, by_turn: bool = False) -> Tally:
    """Totals a metric and role.

    - ``csr``: share of the constraints that are followed (as SysBench publishes it: over all constraints, not a mean
      of means).
    - ``isr``: share of the responses that follow all their constraints.
    - ``ssr``: of a dialogue, the number of turns from the first that are followed in full, over its turns.

    A response that lacks a verdict is none of isr, also where another verdict is that it fails: to count of these
    responses those that fail, and none that may hold, is to find the worse the more verdicts are missing. A dialogue
    with a response of which it is not known whether it is whole is none of ssr. A turn without verdicts counts nowhere.

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
            if whole is not None and all(outcome.holds is not None for outcome in turns[turn]):
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
        self.roles, self.resamples, self.seed = sorted(set(roles)), resamples, seed
        rng = random.Random(seed)  # noqa: S311  (draws, not secrets)
        places = range(len(self.roles))
        self._weights = []
        for _ in range(resamples):
            counts = Counter(rng.choices(places, k=len(places)))
            self._weights.append([counts[place] for place in places])
        self._drawn: dict[int, tuple[Totals, list[float | None]]] = {}

    def measure(self, *totals: Totals) -> Estimate:
        """The mean over items, with its interval; of several totals the mean of their means."""
        return Estimate(mean(*totals), *_interval(self._average(totals)), _count(*totals))

    def compare(self, before: Totals, after: Totals) -> Estimate:
        """How much larger the second mean is, with the interval of the paired difference."""
        return self.compare_averages([before], [after])

    def compare_averages(self, before: Sequence[Totals], after: Sequence[Totals]) -> Estimate:
        """As ``compare``, of the means of several means."""
        pairs = zip(self._average(before), self._average(after), strict=False)
        drawn = [late - early for early, late in pairs if early is not None and late is not None]
        return Estimate(mean(*after) - mean(*before), *_interval(drawn), min(_count(*before), _count(*after)))

    def _average(self, parts: Sequence[Totals]) -> list[float | None]:
        """The mean of the means of each resample."""
        drawn = zip(*(self._means(totals) for totals in parts), strict=False)
        return [sum(known) / len(means) if len(known := [m for m in means if m is not None]) == len(means) else None
                for means in drawn]  # fmt: skip

    def _means(self, totals: Totals) -> list[float | None]:
        """The mean of each resample; None where none of these roles was drawn; empty where there are fewer than two."""
        if id(totals) not in self._drawn:
            # kept with its totals, so that the id stays theirs: averages ask for the same means again
            self._drawn[id(totals)] = (totals, self._draw(totals))
        return self._drawn[id(totals)][1]

    def _draw(self, totals: Totals) -> list[float | None]:
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


def mean(*totals: Totals) -> float:
    """The mean over the items of all roles; of several totals the mean of their means."""
    return sum(sum(total.sum for total in part.values()) / _count(part) for part in totals) / len(totals)


def _count(*totals: Totals) -> int:
    """The items; of several totals, which count different items, the roles."""
    if len(totals) > 1:
        return len({role for part in totals for role in part})
    return sum(total.n for total in totals[0].values())


def paired_test(before: Sequence[Totals], after: Sequence[Totals], *, resamples: int, seed: int) -> float | None:
    """How often two models that do not differ would differ so much: the p-value of a paired test, two-sided.

    Which of a role's two results is whose is swapped, role by role (approximate randomization: Noreen 1989,
    "Computer-Intensive Methods for Testing Hypotheses"; p with the one added of Phipson and Smyth 2010). Where the
    roles that differ do so by the same amount, as prompts do that are followed or not, all swaps are counted instead
    of drawn: that is McNemar's exact test (1947).

    Args:
        before: The totals of one model; several are averaged.
        after: Those of the other.
        resamples: Swaps to draw.
        seed: Decides them.

    Returns:
        None: the two models do not differ at any role.
    """
    shares: dict[str, float] = defaultdict(float)
    for early, late in zip(before, after, strict=True):
        for sign, totals in ((-1, early), (1, late)):
            for role, total in totals.items():
                shares[role] += sign * total.sum / _count(totals) / len(before)
    gaps = [gap for gap in shares.values() if abs(gap) > _SAME]
    if not gaps:
        return None
    if max(map(abs, gaps)) - min(map(abs, gaps)) < _SAME:
        rarer = min(sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps))
        return min(1.0, 2 * sum(math.comb(len(gaps), wins) for wins in range(rarer + 1)) / float(2 ** len(gaps)))
    rng, observed = random.Random(seed), abs(sum(gaps)) - _SAME  # noqa: S311  (draws, not secrets)
    extreme = 0
    for _ in range(resamples):
        signs = rng.getrandbits(len(gaps))
        swapped = sum(gap for place, gap in enumerate(gaps) if signs >> place & 1)
        extreme += abs(sum(gaps) - 2 * swapped) >= observed
    return (extreme + 1) / (resamples + 1)


_SAME = 1e-12
"""Shares that differ by less are the same but for rounding."""
