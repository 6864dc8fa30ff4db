"""Extrapolation: what a whole run will come to, from what each role and persona of a sample came to."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

from models.accounts import endpoint_of, find_unpriced
from models.base import Language
from models.estimate import Expected, RunEstimate, SampledSeeds, StageEstimate, Stratum, Unit, expect
from models.records import PersonaSeed, RoleSeed
from models.settings import FactorySettings
from storage.sampled import CallsOf, Sample, SampledUnit, Tally
from tasks.seeds import read_seeds, seed_path

Sizes = dict[tuple[Unit, Language], int]
"""How many roles and personas of each language a run has."""


def count_seeds(settings: FactorySettings) -> Sizes:
    """The size of a run.

    Raises:
        SeedError: A seed file cannot be read.
    """
    seeds, wanted = settings.seeds, list(settings.seeds.languages)
    found: dict[Unit, list[Language]] = {
        "roles": [seed.language for seed in read_seeds(seed_path(seeds.roles), RoleSeed, wanted)],
        "personas": [seed.language for seed in read_seeds(seed_path(seeds.personas), PersonaSeed, wanted)],
    }
    most: dict[Unit, int | None] = {"roles": seeds.max_roles, "personas": seeds.max_personas}
    return {
        (unit, language): min(languages.count(language), most[unit] or len(languages))
        for unit, languages in found.items()
        for language in wanted
    }


def extrapolate(settings: FactorySettings, sample: Sample, sizes: Sizes, *, spent: float = 0.0) -> RunEstimate:
    """The estimate of a run.

    Each language is a stratum of its own: prompts and answers are not of one length in two languages. The stage that
    makes users grows with the personas, every other one with the roles.

    Args:
        settings: Those of the whole run.
        sample: The sample, taken apart.
        sizes: The whole run.
        spent: What the run has spent of its budget when it was started before.
    """
    whole = _Whole(sample, sizes)
    keys = whole.keys
    tallies = [tally for of_units in sample.calls.values() for tally in of_units.values()]
    endpoints = sorted({endpoint_of(settings, key.role) for key in keys})
    loads = {name: _load(settings, whole, name) for name in endpoints}
    busiest = max(loads, key=lambda name: loads[name].value, default="")
    roles = [(len(whole.sampled("roles", language)), sizes["roles", language]) for language in settings.seeds.languages]
    cost = whole.cost(keys)
    paid = None if cost is None else math.fsum(tally.cost or 0 for tally in tallies)
    to_pay = None if cost is None or paid is None else cost.plus(-paid)
    left = None if settings.budget is None else max(0.0, settings.budget - spent)
    return RunEstimate(
        run=settings.run,
        sample=sample.run,
        seeds=[
            SampledSeeds(unit=unit, language=language, sampled=len(units), whole=size)
            for (unit, language), size in sizes.items()
            if (units := whole.sampled(unit, language))
        ],
        stages=[_estimate_stage(settings, whole, key) for key in keys],
        calls=whole.total(keys, lambda tally: tally.calls),
        tokens_in=whole.total(keys, lambda tally: tally.tokens_in),
        tokens_out=whole.total(keys, lambda tally: tally.tokens_out),
        cost=cost,
        paid=paid,
        to_pay=to_pay,
        budget_left=left,
        fits=None if left is None or to_pay is None else (to_pay.high or to_pay.value) <= left,
        unpriced=find_unpriced(settings, endpoints),
        failed=sum(tally.failed for tally in tallies),
        pairs=whole.scale({"roles"}, lambda unit: sample.pairs.get(unit.seed_id, 0)),
        busiest_endpoint=busiest,
        seconds=loads[busiest] if busiest else expect([]),
        disk_bytes=round(sample.disk_bytes * sum(size for _, size in roles) / sum(count for count, _ in roles)),
        sample_seconds=sample.seconds,
    )


class _Whole:
    """A sample scaled to the whole run."""

    def __init__(self, sample: Sample, sizes: Sizes) -> None:
        self._sample, self._sizes = sample, sizes

    @property
    def keys(self) -> list[CallsOf]:
        """Whose calls there are."""
        return list(self._sample.calls)

    def unit_of(self, key: CallsOf) -> Unit:
        """What some calls grow with."""
        return next(iter(self._sample.calls[key])).unit

    def sampled(self, unit: Unit, language: Language) -> list[SampledUnit]:
        """The roles or personas of a language that the sample has."""
        return [item for item in self._sample.units if (item.unit, item.language) == (unit, language)]

    def scale(self, units: Collection[Unit], amount: Callable[[SampledUnit], float]) -> Expected:
        """The total of something over all roles, or personas, or both."""
        return expect(
            [
                Stratum([amount(item) for item in found], size)
                for (unit, language), size in self._sizes.items()
                if unit in units and (found := self.sampled(unit, language))
            ]
        )

    def total(self, keys: Collection[CallsOf], measure: Callable[[Tally], float]) -> Expected:
        """The total over some calls; a unit that made none of them counts with zero."""
        tallies = [self._sample.calls[key] for key in keys]
        units = {owner.unit for of_units in tallies for owner in of_units}
        return self.scale(
            units, lambda unit: math.fsum(measure(of_units[unit]) for of_units in tallies if unit in of_units)
        )

    def cost(self, keys: Collection[CallsOf]) -> Expected | None:
        """The cost of some calls; None if the price of one is unknown."""
        if any(tally.cost is None for key in keys for tally in self._sample.calls[key].values()):
            return None
        return self.total(keys, lambda tally: tally.cost or 0)


def _load(settings: FactorySettings, whole: _Whole, endpoint: str) -> Expected:
    """Seconds that an endpoint is busy with all its slots."""
    given = settings.endpoints[endpoint]
    slots = given.max_concurrency * max(1, len(given.base_urls))
    keys = [key for key in whole.keys if endpoint_of(settings, key.role) == endpoint]
    return whole.total(keys, lambda tally: tally.seconds).over(slots)


def _estimate_stage(settings: FactorySettings, whole: _Whole, key: CallsOf) -> StageEstimate:
    return StageEstimate(
        **key._asdict(),
        endpoint=endpoint_of(settings, key.role),
        scales_with=whole.unit_of(key),
        calls=whole.total([key], lambda tally: tally.calls),
        tokens_in=whole.total([key], lambda tally: tally.tokens_in),
        tokens_out=whole.total([key], lambda tally: tally.tokens_out),
        cost=whole.cost([key]),
        seconds=whole.total([key], lambda tally: tally.seconds),
    )
