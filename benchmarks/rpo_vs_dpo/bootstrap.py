"""Means and contrasts of arms with two-level bootstrap intervals: seeds first, then held-out prompts within a seed.

All arms of a seed answer the same held-out prompts, so a contrast is taken prompt by prompt before anything is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.rpo_vs_dpo.experiment import DIGITS
from benchmarks.rpo_vs_dpo.language import CONSTRAINTS

Values = NDArray[np.float64]
DRAWS = 4000
CSR, ISR = "csr", "isr"
_FOLLOWED = np.array([[number >> n & 1 for n in range(CONSTRAINTS)] for number in range(len(DIGITS))], dtype=np.float64)
_SCORES = {CSR: _FOLLOWED.mean(axis=1), ISR: _FOLLOWED.min(axis=1)}


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, its 95 % interval, and the seeds one by one."""

    mean: float
    low: float
    high: float
    by_seed: dict[int, float]

    @property
    def positive(self) -> int:
        """Seeds above 0."""
        return sum(value > 0 for value in self.by_seed.values())

    @property
    def verdict(self) -> int:
        """1: the interval lies above 0; -1: below; 0: it holds 0."""
        return (self.low > 0) - (self.high < 0)


class Results:
    """The finished runs of the final seeds."""

    def __init__(self, lines: list[dict[str, Any]]) -> None:
        self.lines = {(line["arm"], line["seed"]): line for line in lines}

    def seeds(self, *names: str) -> list[int]:
        """Seeds on which all of some arms have finished."""
        return sorted(s for s in {seed for _, seed in self.lines} if all((name, s) in self.lines for name in names))

    def vectors(self, name: str, seed: int, decoding: str) -> Values:
        """Verdicts of an arm, shape (prompts, constraints)."""
        codes = [DIGITS.index(digit) for digit in self.lines[name, seed][decoding]]
        return np.asarray(_FOLLOWED[codes])

    def contrast(self, weights: Mapping[str, float], metric: str, decoding: str = "sampled") -> Estimate | None:
        """A weighted sum of arms: ``{"rpo": 1, "dpo": -1}`` is a difference, one arm of weight 1 its mean.

        Args:
            weights: Arm -> weight.
            metric: ``csr``, the share of constraints followed, or ``isr``, of prompts with all of them followed.
            decoding: ``sampled`` or ``greedy``.

        Returns:
            None if the arms have no seed in common.
        """
        seeds = self.seeds(*weights)
        if not seeds:
            return None
        values = [
            sum(
                (
                    weight * _SCORES[metric][[DIGITS.index(digit) for digit in self.lines[name, seed][decoding]]]
                    for name, weight in weights.items()
                ),
                np.zeros(1),
            )
            for seed in seeds
        ]
        return estimate(dict(zip(seeds, values, strict=True)))

    def mean_of(self, name: str, column: str) -> float:
        """The mean over seeds of a logged number."""
        return float(np.mean([self.lines[name, seed][column] for seed in self.seeds(name)]))


def estimate(values: Mapping[int, Values], draws: int = DRAWS) -> Estimate:
    """The mean of a value for each prompt of each seed, with its interval; always the same draws."""
    rng = np.random.default_rng(0)
    # prompts are drawn anew for each draw of a seed, so a seed drawn twice is not the same twice
    stacked, seeds = list(values.values()), len(values)
    prompts = len(stacked[0])
    drawn = np.zeros(draws)
    for _ in range(seeds):
        which = rng.integers(seeds, size=draws)
        for number, per_prompt in enumerate(stacked):
            hit = np.flatnonzero(which == number)
            drawn[hit] += per_prompt[rng.integers(prompts, size=(len(hit), prompts))].mean(axis=1)
    low, high = np.quantile(drawn / seeds, [0.025, 0.975])
    by_seed = {seed: float(per_prompt.mean()) for seed, per_prompt in values.items()}
    return Estimate(float(np.mean(list(by_seed.values()))), float(low), float(high), by_seed)
