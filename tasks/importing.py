"""Rows of a file as seeds of the factory: one seed file, and a report of every row that did not become one."""

from __future__ import annotations

import contextlib
import hashlib
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from models.errors import ImportFileError, SettingsError
from models.imports import ImportSettings, ImportSummary
from models.media import find_media
from models.records import RoleSeed
from storage.files import atomic_file
from storage.imports.duplicates import Seen, open_seen
from storage.imports.opening import folder_given, require_file
from storage.imports.reading import read_rows
from storage.imports.report import Outcome, Report, open_report
from storage.imports.rows import Refused, Row, excerpt_of
from storage.roots import machine_dir
from tasks.import_layouts import choose_columns
from tasks.import_rows import Made, OtherLanguageError, Reader, RowError

Progress = Callable[[int], None]
"""Told how many rows were read so far, now and then."""

_TELL_EVERY = 2_000
_SHOWN_COLUMNS = 50
_ROWS_FOR_COLUMNS = 100


class _Outputs(NamedTuple):
    seeds: Path
    report: Path
    summary: Path


@dataclass
class _Counts:
    rows: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    filtered: Counter[str] = field(default_factory=Counter)
    stand_ins: Counter[str] = field(default_factory=Counter)

    def left_out(self, outcome: Outcome) -> Counter[str]:
        """The counts of what was left out for one of the three causes."""
        return {"refused": self.refused, "duplicate": self.duplicates, "filtered": self.filtered}[outcome]


class _NothingError(Exception):
    """No row was accepted."""


def import_seeds(settings: ImportSettings, progress: Progress | None = None) -> ImportSummary:
    """Read a file of others, and write what of it the factory can use as a seed file.

    Nothing of the file is trusted: its texts are data, no file is named after anything in it, and memory does not grow
    with it. The seed file, the report and the summary beside it appear when they are complete.

    Args:
        settings: What is imported, from where, as what.
        progress: Told how many rows were read so far.

    Raises:
        SettingsError: The layout of the file is not known, or an option does not fit it.
        ImportFileError: The file cannot be read at all, or no row of it can be used (the report says why, then).
        StorageError: Seeds or report cannot be written.
    """
    if not settings.file:
        raise SettingsError("`file` is empty: there is nothing to import.", safe="Nothing was written.")
    started = time.monotonic()
    source, outputs = Path(settings.file), _name_outputs(settings)
    readable = (row for row in read_rows(source, settings.limits) if isinstance(row, Row))
    # of JSON lines the first one need not have every field
    names = list(dict.fromkeys(name for row in islice(readable, _ROWS_FOR_COLUMNS) for name in row.values))
    layout, columns = choose_columns(settings, names) if names else (settings.layout, {})
    reader, counts = Reader(settings, columns), _Counts()
    with (
        open_report(outputs.report) as report,
        contextlib.suppress(_NothingError),
        atomic_file(outputs.seeds, "Seed file") as file,
        open_seen(settings.near) as seen,
    ):
        for row in _counted(read_rows(source, settings.limits), counts, progress):
            made = _judge(row, settings, reader, seen, report, counts)
            if made is not None:
                file.write(made.seed.model_dump_json(exclude_defaults=True).encode() + b"\n")
                counts.languages[made.seed.language] += 1
                counts.stand_ins.update(made.stand_ins)
        if not counts.languages:
            raise _NothingError
    used = {column.partition(".")[0] for candidates in columns.values() for column in candidates}
    summary = ImportSummary(
        kind=settings.kind,
        file=str(source),
        sha256=_hash(source),
        license=settings.license,
        layout=layout,
        columns={ours: " or ".join(found) for ours, theirs in columns.items() if (found := _there(theirs, names))},
        unused=[excerpt_of(name) for name in names if name not in used][:_SHOWN_COLUMNS],
        rows=counts.rows,
        accepted=counts.languages.total(),
        languages=dict(counts.languages.most_common()),
        refused=dict(counts.refused.most_common()),
        duplicates=dict(counts.duplicates.most_common()),
        filtered=dict(counts.filtered.most_common()),
        stand_ins=dict(counts.stand_ins.most_common()),
        to=str(outputs.seeds),
        report=str(outputs.report),
        seconds=time.monotonic() - started,
        peak_mb=_peak_mb(),
    )
    if not summary.accepted:
        raise _none_accepted(summary)
    with atomic_file(outputs.summary, "Summary of the import") as file:
        file.write(summary.model_dump_json(indent=2).encode() + b"\n")
    return summary


def _name_outputs(settings: ImportSettings) -> _Outputs:
    """Where seeds, report and summary go.

    Raises:
        SettingsError: The seed file would take the place of another one, or a path is none of a file.
    """
    for place in (settings.to, settings.report):
        if place and "://" in place:
            raise SettingsError(f"{place} is no file of this machine.", next_step="Give a path with --to.")
    source = Path(settings.file)
    if source.is_dir():
        raise folder_given(source)
    require_file(source)
    seeds = Path(settings.to) if settings.to else machine_dir(settings.data) / "imports" / f"{settings.kind}.jsonl"
    outputs = _Outputs(
        seeds,
        Path(settings.report) if settings.report else seeds.with_suffix(".left_out.jsonl"),
        seeds.with_suffix(".summary.json"),
    )
    taken = {path.resolve() for path in outputs} | {source.resolve()}
    if len(taken) <= len(outputs):
        raise SettingsError(
            "The file to import, the seed file and the report are not all different files.",
            safe="Nothing was written.",
            next_step="Give another --to or --report.",
        )
    if seeds.exists() and not outputs.summary.exists():
        raise SettingsError(
            f"{seeds} is there, and no import has written it.",
            safe="Nothing was written.",
            next_step="Give another --to, or remove the file.",
        )
    return outputs


def _there(candidates: Sequence[str], names: Sequence[str]) -> list[str]:
    return [column for column in candidates if column in names or column.partition(".")[0] in names]


def _counted(rows: Iterator[Row | Refused], counts: _Counts, progress: Progress | None) -> Iterator[Row | Refused]:
    for row in rows:
        counts.rows += 1
        if progress is not None and counts.rows % _TELL_EVERY == 0:
            progress(counts.rows)
        yield row


def _judge(
    row: Row | Refused, settings: ImportSettings, reader: Reader, seen: Seen, report: Report, counts: _Counts
) -> Made | None:
    """The seed in a row; None where it was left out, which is counted and reported."""

    def leave_out(outcome: Outcome, reason: str, where: str, what: str) -> None:
        excerpt = row.excerpt if isinstance(row, Refused) else excerpt_of(str(row.values))
        counts.left_out(outcome)[reason] += 1
        report.add(outcome, Refused(row.line, reason, where, what, excerpt))

    if isinstance(row, Refused):
        leave_out("refused", row.reason, row.field, row.what)
        return None
    try:
        made = reader.read(row.values)
    except RowError as error:
        leave_out("refused", error.reason, error.field, error.what)
        return None
    except OtherLanguageError as error:
        leave_out("filtered", f"language/{error}", "text", "another language is not kept")
        return None
    seed = made.seed
    text = seed.description if isinstance(seed, RoleSeed) else seed.persona
    if isinstance(seed, RoleSeed):
        media = find_media(seed.name, seed.description, settings.drop_media)
        if media is not None:
            leave_out("filtered", media.media, "text", excerpt_of(media.words))
            return None
        text = "\n".join([text, *(item.text for item in seed.constraints)])
    duplicate = seen.find_text(text)
    if duplicate is not None:
        what = f"as line {duplicate.line}" + (f", {duplicate.similarity:.2f}" if duplicate.kind == "near" else "")
        leave_out("duplicate", duplicate.kind, "text", what)
        return None
    earlier = seen.find_id(made.given_id) if made.given_id else None
    if earlier is not None:
        leave_out("refused", "duplicate_id", "id", f"the id stands on line {earlier} too")
        return None
    seen.keep(row.line, made.given_id)
    return made


def _none_accepted(summary: ImportSummary) -> ImportFileError:
    left_out = {**summary.refused, **summary.duplicates, **summary.filtered}
    causes = ", ".join(f"{reason} {count}" for reason, count in left_out.items()) or "it has no rows"
    return ImportFileError(
        f"No row of {summary.file} can be used: {causes}.",
        safe="No seed file was written.",
        next_step=f"{summary.report} says why, row by row." if summary.rows else "Check the file.",
    )


def _hash(source: Path) -> str:
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes, on macOS bytes
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
