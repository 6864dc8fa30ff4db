"""What an export was made of, for its card: nothing of a machine, no time, no address, no key."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

from models.agreement import JudgeAgreement
from models.base import Strict
from models.settings import Export
from models.summary import KindSatisfaction
from storage.catalog import query
from storage.exports.batch import ExportBatch
from storage.exports.rows import preference_row
from storage.manifests import ImportedFrom, Manifest
from storage.pair_rows import PairRow
from storage.parts import PartStore
from storage.roots import Root
from storage.summary import count_run

SHIPPED_SEEDS = Path(__file__).resolve().parents[2] / "seeds"

# An allowlist: what is added to the settings later stays out of a published file until somebody decides.
_SHOWN = ("seed", "samples", "constraints", "dialogues", "judging", "pairs")
_SHOWN_OF_IMPORT = ("seed", "judging", "pairs")
_SHOWN_OF_ROLE = ("temperature", "top_p", "max_tokens")
# Characters of a text in the example
_CUT = 700

_WRITERS = """
select 'user profiles' as what, author as "by", count(*) from {run}.users group by all
union all select 'system prompts', author, count(*) from {run}.systems group by all
union all select 'reference responses, ' || reference_origin, reference_model, count(*) from {run}.turns group by all
union all select 'responses, ' || origin, model, count(*) from {run}.responses group by all
union all select 'verdicts', judge, count(*) from {run}.judgments group by all
union all select 'reversals', method, count(*) from {run}.reversals group by all
order by all
"""
_EXCLUDED = """
select reason, what, sum("count")::bigint as n from {run}.exclusions group by all having n > 0 order by all
"""


class PairCounts:
    """What is counted while the pairs go by."""

    def __init__(self) -> None:
        self.pairs = self.dropped = self.flagged = self.judged = 0
        self.margins: Counter[int] = Counter()
        self.noise_cases: Counter[int] = Counter()
        self.languages: Counter[str] = Counter()
        self.reversed_kinds: Counter[str] = Counter()
        self.example: PairRow | None = None

    def add(self, batch: ExportBatch) -> None:
        """Count the pairs of a batch."""
        self.pairs += len(batch.pairs)
        self.dropped += batch.dropped
        self.flagged += batch.flagged
        for row in batch.pairs:
            self.example = self.example or row
            self.margins[row.pair.margin] += 1
            self.noise_cases[row.pair.noise_case] += 1
            self.languages[row.played.system.language] += 1
            triggered = set(row.played.turn.triggered_ids)
            self.judged += any(c.check is None and c.constraint_id in triggered for c in row.constraints)
            reversed_ids = set(row.pair.reversed_ids)
            self.reversed_kinds.update(c.kind for c in row.constraints if c.constraint_id in reversed_ids)


class Written(NamedTuple):
    """Who wrote how many of what."""

    what: str
    by: str
    rows: int


class SeedFile(Strict):
    """A file that a run was made from."""

    what: str
    name: str
    rows: int
    shipped: bool
    """Whether all of them are among those that the factory ships."""


class Provenance(Strict):
    """What an export was made of."""

    run: str
    imported: ImportedFrom | None
    """The file that the run was imported from; None: the factory has made it."""
    policy: str | None
    """The training run whose policy was sampled."""
    license: str
    seeds: list[SeedFile]
    seeds_license: str | None
    """What the settings say."""
    settings: dict[str, Any]
    counts: dict[str, int]
    ended: dict[str, int]
    satisfaction: list[KindSatisfaction]
    calibration: list[JudgeAgreement]
    written: list[Written]
    excluded: list[tuple[str, str, int]]
    judged: int
    """Pairs with a triggered constraint that no check decides."""
    pairs: int
    dropped: int
    """Pairs that failed the audit."""
    flagged: int
    """Pairs that a person has flagged; they are left out."""
    margins: dict[int, int]
    noise_cases: dict[int, int]
    languages: dict[str, int]
    reversed_kinds: dict[str, int]
    example: dict[str, str]
    """The texts of one pair: system prompt, query, chosen, rejected; empty: there is none."""


_COUNTED = ("systems", "dialogues", "turns", "responses", "judgments", "unscored", "pairs", "audited", "audit_failed")


def trace_run(store: PartStore, manifest: Manifest, export: Export, counts: PairCounts) -> Provenance:
    """The provenance of an export.

    Args:
        store: The parts.
        manifest: The run.
        export: The settings of the export.
        counts: What was counted of its pairs.

    Raises:
        StorageError: The run is not in the catalog, or a part of it is damaged.
    """
    run, place = manifest.run, store.place
    numbers = count_run(place, run)
    return Provenance(
        run=run,
        imported=manifest.imported,
        policy=manifest.policy,
        license=export.license,
        seeds=_trace_origin(place, manifest, numbers["responses"]),
        seeds_license=manifest.settings.get("seeds", {}).get("license"),
        settings=_show_settings(manifest, export),
        counts={name: numbers[name] for name in _COUNTED},
        ended=numbers["ended"],
        satisfaction=numbers["satisfaction"],
        calibration=numbers["calibration"],
        written=[
            Written(what, public_name(by), count) for what, by, count in query(place, _WRITERS.format(run=run)).rows
        ],
        excluded=[(reason, what, count) for reason, what, count in query(place, _EXCLUDED.format(run=run)).rows],
        judged=counts.judged,
        pairs=counts.pairs,
        dropped=counts.dropped,
        flagged=counts.flagged,
        margins=dict(sorted(counts.margins.items())),
        noise_cases=dict(counts.noise_cases),
        languages=dict(sorted(counts.languages.items())),
        reversed_kinds=dict(counts.reversed_kinds),
        example=_example(counts.example, export),
    )


def _example(row: PairRow | None, export: Export) -> dict[str, str]:
    if row is None:
        return {}
    prompt = preference_row(row, export.untriggered)["prompt"]
    texts = {
        "System prompt": prompt[0]["content"],
        "Query": prompt[-1]["content"],
        "Chosen": row.chosen.text,
        "Rejected": row.rejected.text,
    }
    return {name: text if len(text) <= _CUT else f"{text[:_CUT]} ..." for name, text in texts.items()}


def public_name(name: str) -> str:
    """A model's or a file's name, without the folders of this machine."""
    if name.startswith(("/", ".", "~", "file:")) or "\\" in name:
        return _last(name)
    return name


def _show_settings(manifest: Manifest, export: Export) -> dict[str, Any]:
    settings, imported = manifest.settings, manifest.imported
    shown = {name: settings[name] for name in (_SHOWN_OF_IMPORT if imported else _SHOWN) if name in settings}
    endpoints = settings.get("endpoints", {})
    roles = {}
    for name, role in settings.get("roles", {}).items():
        if role is not None and (imported is None or name in imported.asked):
            model = endpoints.get(role.get("endpoint"), {}).get("model", "")
            roles[name] = {"model": public_name(model), **{key: role[key] for key in _SHOWN_OF_ROLE if key in role}}
    return {
        **shown,
        "roles": roles,
        "export": {"validation_share": export.validation_share, "untriggered": export.untriggered},
    }


def _trace_origin(place: Root, manifest: Manifest, responses: int) -> list[SeedFile]:
    """The files that a run began with: its seeds, or what it was imported from."""
    if (imported := manifest.imported) is not None:
        return [SeedFile(what=imported.what, name=_last(imported.file), rows=responses, shipped=False)]
    given = manifest.settings.get("seeds", {})
    return [
        _trace_seeds(place, manifest.run, what, text, given.get(what, ""))
        for what, text in (("roles", "description"), ("personas", "persona"))
    ]


def _trace_seeds(place: Root, run: str, what: str, text: str, path: str) -> SeedFile:
    """The seeds of a run; ``text`` is the column that tells one from another."""
    shipped = _shipped_texts(what, text)
    [(rows,)] = query(place, f"select count(*) from {run}.{what}").rows
    # a file can have the name of a shipped one; and millions of rows are not fetched to find out
    is_shipped = 0 < rows <= len(shipped) and shipped.issuperset(
        found for (found,) in query(place, f"select {text} from {run}.{what}").rows
    )
    return SeedFile(what=what, name=_last(path), rows=rows, shipped=is_shipped)


def _last(path: str) -> str:
    return PureWindowsPath(PurePosixPath(path).name).name


def _shipped_texts(what: str, text: str) -> set[str]:
    path = SHIPPED_SEEDS / f"{what}.jsonl"
    if not path.is_file():
        return set()
    return {json.loads(line)[text] for line in path.read_text("utf-8").splitlines()}
