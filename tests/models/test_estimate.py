"""Totals with their intervals."""

from __future__ import annotations

import math
import random

import pytest

from models.estimate import Stratum, expect, t_quantile


def test_a_total_and_its_interval() -> None:
    # by hand: mean 4, total 40; s^2 = 8, variance = 10 * (10 - 2) * 8 / 2 = 320; t(1) = 6.314
    found = expect([Stratum([2, 6], 10)])
    assert found.value == 40
    assert found.high == pytest.approx(40 + 6.314 * math.sqrt(320))
    assert found.low == 8  # what the sample alone came to


def test_strata_add_up() -> None:
    # equal variances of 320: Satterthwaite gives 2 degrees of freedom
    found = expect([Stratum([2, 6], 10), Stratum([12, 16], 10)])
    assert found.value == 180
    assert found.high == pytest.approx(180 + 2.920 * math.sqrt(640))
    # one that does not vary brings no freedom
    still = expect([Stratum([2, 6], 10), Stratum([5, 5, 5, 5], 10)])
    assert still.high == pytest.approx(90 + 6.314 * math.sqrt(320))


def test_all_that_there_is_is_exact() -> None:
    found = expect([Stratum([1, 5, 9], 3), Stratum([4], 1)])
    assert (found.value, found.low, found.high) == (19, 19, 19)


def test_one_of_many_has_no_interval() -> None:
    found = expect([Stratum([3], 7), Stratum([1, 2], 9)])
    assert (found.value, found.low, found.high) == (34.5, None, None)
    assert expect([]).value == 0


def test_the_interval_holds_the_truth_in_nine_of_ten_samples() -> None:
    rng = random.Random(0)
    people = [[rng.gauss(100, 20) for _ in range(40)], [rng.gauss(60, 15) for _ in range(30)]]
    truth = sum(map(sum, people))
    held = 0
    for _ in range(2000):
        found = expect([Stratum(rng.sample(stratum, 4), len(stratum)) for stratum in people])
        assert found.low is not None and found.high is not None
        held += found.low <= truth <= found.high
    assert 0.87 < held / 2000 < 0.94


@pytest.mark.parametrize(("freedom", "value"), [(1, 6.314), (30, 1.697), (31, 1.696), (60, 1.671), (10_000, 1.645)])
def test_t_quantiles(freedom: int, value: float) -> None:
    assert t_quantile(freedom) == pytest.approx(value, abs=0.002)
