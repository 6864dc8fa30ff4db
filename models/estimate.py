"""What a run will come to, from a sample of its roles: totals with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from models.base import Language, Strict

CONFIDENCE = 0.9

# 95 % points of Student's t by degrees of freedom, from 1: a two-sided interval of 90 %
_T = (
    6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796, 1.782, 1.771, 1.761, 1.753,
    1.746, 1.740, 1.734, 1.729, 1.725, 1.721, 1.717, 1.714, 1.711, 1.708, 1.706, 1.703, 1.701, 1.699, 1.697,
)  # fmt: skip
_NORMAL = 1.645

Unit = Literal["roles", "personas"]
"""What the calls of a stage grow with."""


class Expected(Strict):
    """A total that the whole run will come to, with its 90 % interval."""

    value: float = Field(description="The total of the sample, scaled.")
    low: float | None = Field(description="Lower end of the interval; null: one of a kind was sampled, no spread.")
    high: float | None = Field(description="Upper end of the interval.")

    def over(self, divisor: float) -> Expected:
        """The total in a larger unit, or shared out."""
        low, high = (None if end is None else end / divisor for end in (self.low, self.high))
        return Expected(value=self.value / divisor, low=low, high=high)

    def plus(self, amount: float) -> Expected:
        """The total with something added that is certain."""
        low, high = (None if end is None else end + amount for end in (self.low, self.high))
        return Expected(value=self.value + amount, low=low, high=high)


class StageEstimate(Strict):
    """The calls of one role in one stage of the whole run."""

    stage: str = Field(description="The stage that asks.")
    role: str = Field(description="The role that answers.")
    model: str = Field(description="The model that plays it.")
    endpoint: str = Field(description="Its endpoint.")
    scales_with: Unit = Field(description="What the calls grow with.")
    calls: Expected
    tokens_in: Expected
    tokens_out: Expected
    cost: Expected | None = Field(description="Null: the endpoint has no prices.")
    seconds: Expected = Field(description="Sum over the requests, many of which are under way at a time.")


class SampledSeeds(Strict):
    """How much of the run's seeds the sample holds."""

    unit: Unit = Field(description="roles or personas.")
    language: Language = Field(description="Their language.")
    sampled: int = Field(ge=1, description="How many the sample has.")
    whole: int = Field(ge=1, description="How many the run has.")


class RunEstimate(Strict):
    """What a run will come to, before it starts."""

    run: str = Field(description="The run that is estimated.")
    sample: str = Field(description="The run of the sample, whose calls were made and are paid.")
    seeds: list[SampledSeeds] = Field(description="Sampled and whole, by kind and language.")
    stages: list[StageEstimate] = Field(description="Calls by stage and role.")
    calls: Expected
    tokens_in: Expected
    tokens_out: Expected
    cost: Expected | None = Field(description="Cost of the whole run, sample included; null: a price is unknown.")
    paid: float | None = Field(description="Cost of the sample's calls, which the run finds answered.")
    to_pay: Expected | None = Field(description="Cost without what the sample has paid.")
    budget_left: float | None = Field(description="What is left of the run's budget; null: it has none.")
    fits: bool | None = Field(
        description="Whether the upper end of what is to be paid is within the budget; null: there is none."
    )
    unpriced: list[str] = Field(description="Endpoints whose missing prices make the cost unknown.")
    failed: int = Field(ge=0, description="Calls of the sample that failed for good; they count as calls only.")
    pairs: Expected
    busiest_endpoint: str = Field(description="The endpoint that the run waits for; empty: it makes no calls.")
    seconds: Expected = Field(description="Time of its requests over its max_concurrency: the run takes no less.")
    disk_bytes: int = Field(ge=0, description="Parts, exports and answers, roughly.")
    sample_seconds: float = Field(ge=0, description="What the sample took.")


@dataclass(frozen=True)
class Stratum:
    """Units of one kind: an amount of each of those that were sampled, and how many there are in all."""

    sampled: Sequence[float]
    whole: int

    @property
    def total(self) -> float:
        """The sample scaled to the whole."""
        return math.fsum(self.sampled) / len(self.sampled) * self.whole

    @property
    def variance(self) -> float | None:
        """Variance of that total, without replacement; None where it cannot be known."""
        n, mean = len(self.sampled), math.fsum(self.sampled) / len(self.sampled)
        if n == self.whole:
            return 0.0
        if n < 2:
            return None
        spread = math.fsum((amount - mean) ** 2 for amount in self.sampled) / (n - 1)
        return self.whole * (self.whole - n) * spread / n


def expect(strata: Sequence[Stratum]) -> Expected:
    """The total over some strata with its t-interval.

    A stratified sample without replacement, its degrees of freedom by Satterthwaite's formula (Cochran, Sampling
    Techniques, 3rd edition, section 5.4). Not a bootstrap: that of two units is far too narrow. The total is never
    less than what the sample alone came to.
    """
    value = math.fsum(stratum.total for stratum in strata)
    variances = [stratum.variance for stratum in strata]
    known = [variance for variance in variances if variance is not None]
    if len(known) < len(variances):
        return Expected(value=value, low=None, high=None)
    variance = math.fsum(known)
    if variance == 0:
        return Expected(value=value, low=value, high=value)
    freedom = variance**2 / math.fsum(
        v**2 / (len(stratum.sampled) - 1) for v, stratum in zip(known, strata, strict=True) if v
    )
    margin = t_quantile(int(freedom)) * math.sqrt(variance)
    least = math.fsum(amount for stratum in strata for amount in stratum.sampled)
    return Expected(value=value, low=max(least, value - margin), high=value + margin)


def t_quantile(freedom: int) -> float:
    """The 95 % point of Student's t, within 0.002."""
    if freedom <= len(_T):
        return _T[max(1, freedom) - 1]
    return _NORMAL + (_NORMAL**3 + _NORMAL) / (4 * freedom)
