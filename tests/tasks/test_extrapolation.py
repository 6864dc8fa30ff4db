"""A sample scaled to the whole run."""

from __future__ import annotations

from typing import Any

import pytest

from models.endpoints import Endpoint, Role, Roles
from models.settings import FactorySettings, Seeds
from storage.sampled import CallsOf, Sample, SampledUnit, Tally
from tasks.extrapolation import Sizes, count_seeds, extrapolate

NEAR: dict[str, Any] = {"base_url": "http://127.0.0.1:1/v1", "model": "small", "price_in": 1, "price_out": 2}
FAR: dict[str, Any] = {"base_url": "http://127.0.0.1:2/v1", "model": "large"}
SETTINGS = FactorySettings(
    run="test",
    endpoints={"near": Endpoint(**NEAR, max_concurrency=4), "far": Endpoint(**FAR, max_concurrency=1)},
    roles=Roles(policy=Role(endpoint="near"), author=Role(endpoint="near"), judge=Role(endpoint="far")),
)
SIZES: Sizes = {("roles", "en"): 10, ("roles", "zh"): 5, ("personas", "en"): 100, ("personas", "zh"): 2}

EN = [SampledUnit("roles", "en", f"e{number}") for number in range(2)]
ZH = [SampledUnit("roles", "zh", f"z{number}") for number in range(2)]
SPEAKERS = [SampledUnit("personas", "en", f"p{number}") for number in range(2)]
LISTENERS = [SampledUnit("personas", "zh", f"q{number}") for number in range(2)]

SAMPLED = CallsOf("sample_responses", "policy", "small")
JUDGED = CallsOf("audit_pairs", "judge", "large")
AUTHORED = CallsOf("expand_users", "author", "small")


def tally(calls: int, seconds: float = 0.0, cost: float | None = 0.0) -> Tally:
    return Tally(calls=calls, failed=0, tokens_in=10 * calls, tokens_out=calls, cost=cost, seconds=seconds)


SAMPLE = Sample(
    run="test_estimate",
    units=[*EN, *ZH, *SPEAKERS, *LISTENERS],
    calls={
        AUTHORED: {unit: tally(1, 1.0, 0.25) for unit in [*SPEAKERS, *LISTENERS]},
        SAMPLED: {unit: tally(4, 2.0, 0.5) for unit in [*EN, *ZH]},
        # no pair of the other roles needs the judge
        JUDGED: {EN[0]: tally(6, 30.0, None)},
    },
    pairs={"e0": 8, "e1": 4, "z0": 3},
    disk_bytes=4_000,
    seconds=1.5,
)


def test_each_stage_grows_with_what_it_is_made_of() -> None:
    found = extrapolate(SETTINGS, SAMPLE, SIZES)
    stages = {item.stage: item for item in found.stages}
    assert (stages["expand_users"].scales_with, stages["expand_users"].calls.value) == ("personas", 102)
    assert (stages["sample_responses"].scales_with, stages["sample_responses"].calls.value) == ("roles", 60)
    assert stages["sample_responses"].calls.high == 60
    assert found.calls.value == 102 + 60 + 30
    assert found.tokens_in.value == 10 * found.calls.value
    # 8 and 4 pairs of English roles, 3 and 0 of Chinese ones
    assert found.pairs.value == pytest.approx(6 * 10 + 1.5 * 5)
    assert found.disk_bytes == 15_000


def test_a_role_that_makes_no_calls_counts_with_zero() -> None:
    [judged] = [item for item in extrapolate(SETTINGS, SAMPLE, SIZES).stages if item.stage == "audit_pairs"]
    assert judged.calls.value == 3 * 10
    assert judged.calls.low == 6 and judged.calls.high is not None and judged.calls.high > 60


def test_the_busiest_endpoint_and_the_unknown_price() -> None:
    found = extrapolate(SETTINGS, SAMPLE, SIZES)
    assert (found.busiest_endpoint, found.seconds.value) == ("far", 150)
    assert (found.cost, found.paid, found.unpriced) == (None, None, ["far"])
    without = Sample(**{**vars(SAMPLE), "calls": {key: SAMPLE.calls[key] for key in (AUTHORED, SAMPLED)}})
    priced = extrapolate(SETTINGS, without, SIZES)
    assert priced.cost is not None and priced.cost.value == 102 * 0.25 + 15 * 0.5
    assert (priced.paid, priced.unpriced) == (4 * 0.25 + 4 * 0.5, [])
    assert (priced.busiest_endpoint, priced.seconds.value) == ("near", (102 * 1.0 + 15 * 2.0) / 4)


def test_what_is_to_be_paid_is_held_against_what_is_left_of_the_budget() -> None:
    calls = {SAMPLED: {unit: tally(4, 2.0, cost) for unit, cost in zip([*EN, *ZH], (1.0, 2.0, 3.0, 3.0), strict=True)}}
    sample = Sample(**{**vars(SAMPLE), "calls": calls})
    open_end = extrapolate(SETTINGS, sample, SIZES)
    assert (open_end.budget_left, open_end.fits) == (None, None)
    assert open_end.cost is not None and open_end.to_pay is not None and open_end.to_pay.high is not None
    assert open_end.to_pay.value == open_end.cost.value - 9
    for spent, fits in ((0.0, True), (0.2, False)):
        settings = SETTINGS.model_copy(update={"budget": open_end.to_pay.high + 0.1})
        found = extrapolate(settings, sample, SIZES, spent=spent)
        assert found.fits is fits
        assert found.budget_left == pytest.approx(open_end.to_pay.high + 0.1 - spent)


def test_servers_of_one_endpoint_share_its_load() -> None:
    urls = [f"http://127.0.0.1:{port}/v1" for port in (1, 3, 5)]
    far = SETTINGS.endpoints["far"].model_copy(update={"base_url": urls})
    spread = SETTINGS.model_copy(update={"endpoints": {**SETTINGS.endpoints, "far": far}})
    assert extrapolate(spread, SAMPLE, SIZES).seconds.value == 50


def test_a_run_without_calls() -> None:
    found = extrapolate(SETTINGS, Sample(**{**vars(SAMPLE), "calls": {}}), SIZES)
    assert (found.calls.value, found.seconds.value, found.busiest_endpoint, found.paid) == (0, 0, "", 0)


def test_the_size_of_a_run_is_that_of_its_seeds() -> None:
    sizes = count_seeds(SETTINGS)
    assert sum(count for (unit, _), count in sizes.items() if unit == "roles") == 69
    assert sum(count for (unit, _), count in sizes.items() if unit == "personas") == 66
    few = SETTINGS.model_copy(update={"seeds": Seeds(max_roles=3, max_personas=1000, languages=["zh"])})
    assert count_seeds(few)["roles", "zh"] == 3
    assert count_seeds(few)["personas", "zh"] == sizes["personas", "zh"]
