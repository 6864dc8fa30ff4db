"""A sampled run, taken apart: what each role and each persona of it came to.

The sample is made with one seed a part, so that the calls of a part are those of one role (or persona).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from models.base import Language
from models.estimate import Unit
from models.records import LlmCall, PartRef, PersonaSeed, RoleSeed
from storage.call_cache import CALL_CACHE_FILE
from storage.catalog import query
from storage.exports import EXPORTS_FOLDER
from storage.manifests import Manifest
from storage.parts import PartStore
from storage.roots import machine_dir

# the stage that makes users; every other one grows with the roles
_OF_PERSONAS = "expand_users"

_PAIRS = """
select s.role_id, count(*) from {run}.pairs
join (select distinct dialogue_id, system_id from {run}.turns) using (dialogue_id)
join {run}.systems s using (system_id) group by 1
"""


class CallsOf(NamedTuple):
    """Whose calls."""

    stage: str
    role: str
    model: str


@dataclass(frozen=True)
class SampledUnit:
    """A role or a persona of the sample."""

    unit: Unit
    language: Language
    seed_id: str


@dataclass
class Tally:
    """What some calls came to."""

    calls: int = 0
    failed: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = 0.0
    seconds: float = 0.0

    def add(self, call: LlmCall, *, opens_request: bool) -> None:
        """Count one more call; the seconds of a request only once."""
        self.calls += 1
        self.failed += call.error is not None
        self.tokens_in += call.prompt_tokens
        self.tokens_out += call.completion_tokens
        self.cost = None if self.cost is None or call.cost is None else self.cost + call.cost
        self.seconds += call.seconds if opens_request else 0.0


@dataclass(frozen=True)
class Sample:
    """A sampled run.

    Attributes:
        run: Its name.
        units: Its roles and personas.
        calls: What their calls came to.
        pairs: Pairs by role.
        disk_bytes: What it takes on disk, without the frames of its many small files.
        seconds: What it took.
    """

    run: str
    units: list[SampledUnit]
    calls: dict[CallsOf, dict[SampledUnit, Tally]]
    pairs: dict[str, int]
    disk_bytes: int
    seconds: float


def read_sample(store: PartStore, manifest: Manifest) -> Sample:
    """Take a finished run of one seed a part apart.

    Raises:
        StorageError: A part is missing or damaged.
    """
    owners = dict(_units(store, manifest))
    calls: dict[CallsOf, dict[SampledUnit, Tally]] = {}
    seen: set[str] = set()
    for ref in manifest.parts_of("llm_calls"):
        rows = store.read(ref, LlmCall)
        unit: Unit = "personas" if rows[0].stage == _OF_PERSONAS else "roles"
        _add(calls, owners[store.upstream(ref, unit)], rows, seen)
    ended = manifest.finished_at or manifest.started_at
    return Sample(
        run=manifest.run,
        units=list(owners.values()),
        calls=calls,
        pairs=dict(query(store.place, _PAIRS.format(run=manifest.run)).rows),
        disk_bytes=_measure_disk(store, manifest),
        seconds=round((ended - manifest.started_at).total_seconds(), 1),
    )


def _units(store: PartStore, manifest: Manifest) -> Iterator[tuple[PartRef, SampledUnit]]:
    for ref in manifest.parts_of("roles"):
        [role] = store.read(ref, RoleSeed)
        yield ref, SampledUnit("roles", role.language, role.role_id)
    for ref in manifest.parts_of("personas"):
        [persona] = store.read(ref, PersonaSeed)
        yield ref, SampledUnit("personas", persona.language, persona.persona_id)


def _add(
    calls: dict[CallsOf, dict[SampledUnit, Tally]], owner: SampledUnit, rows: Iterable[LlmCall], seen: set[str]
) -> None:
    before = -1.0
    for call in rows:
        if call.request_hash in seen:  # asked twice, paid once: by the first that asked
            continue
        seen.add(call.request_hash)
        tallies = calls.setdefault(CallsOf(call.stage, call.role, call.model), {})
        # the samples of a request stand together and share its seconds to the last digit
        tallies.setdefault(owner, Tally()).add(call, opens_request=call.seconds != before)
        before = call.seconds


def _measure_disk(store: PartStore, manifest: Manifest) -> int:
    """Bytes of parts, exports, and answers in the call cache."""
    here = machine_dir(store.place)
    frames = {name: store.size(name) for name in {ref.dataset for ref in manifest.parts}}
    parts = sum(max(0, store.size(ref) - frames[ref.dataset]) for ref in manifest.parts)
    exports = sum(path.stat().st_size for path in (here / EXPORTS_FOLDER / manifest.run).rglob("*") if path.is_file())
    calls = sum(ref.rows for ref in manifest.parts_of("llm_calls"))
    return parts + exports + round(calls * _bytes_per_answer(here / CALL_CACHE_FILE))


def _bytes_per_answer(cache: Path) -> float:
    if not cache.exists():
        return 0.0
    with closing(sqlite3.connect(f"{cache.resolve().as_uri()}?mode=ro", uri=True)) as db:
        (count,) = db.execute("select count(*) from calls").fetchone()
    return float(cache.stat().st_size / count) if count else 0.0
