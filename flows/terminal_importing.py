"""What a person sees of an import."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from rich.markup import escape

from flows.terminal import LINE_EVERY_S, command_folder, err, out
from models.imports import ImportSummary
from storage.imports.rows import excerpt_of
from tasks.importing import Progress


@contextmanager
def follow_rows() -> Iterator[Progress]:
    """How many rows were read: a line that counts on a terminal, elsewhere one now and then."""
    if sys.stderr.isatty():
        with err.status("reading") as status:
            yield lambda rows: status.update(f"{rows:,} rows")
        return
    told = time.monotonic()

    def tell(rows: int) -> None:
        nonlocal told
        if time.monotonic() - told >= LINE_EVERY_S:
            told = time.monotonic()
            err.print(f"{datetime.now():%H:%M:%S} {rows:,} rows")

    yield tell


def show_import(summary: ImportSummary) -> None:
    """What became of the rows, where the files are, and what to type next."""
    layout = f"layout {summary.layout}" if summary.layout else "columns as given"
    columns = ", ".join(f"{ours} from {_plain(column)}" for ours, column in summary.columns.items())
    out.print(f"[bold]{escape(summary.file)}[/]  {layout}: {columns}")
    if summary.unused:
        out.print(f"  not used: {', '.join(map(_plain, summary.unused))}")
    out.print(f"\n[bold]Accepted[/]    {summary.accepted:,} of {summary.rows:,} rows: {_say(summary.languages)}")
    for title, counts in (
        ("Refused", summary.refused),
        ("Duplicates", summary.duplicates),
        ("Filtered", summary.filtered),
    ):
        out.print(f"[bold]{title:<11}[/] {sum(counts.values()):,}" + (f": {_say(counts)}" if counts else ""))
    if summary.stand_ins:
        out.print(f"[bold]Stand-ins[/]   general ones, where the file has none: {_say(summary.stand_ins)}")
    out.print(f"[bold]Time[/]        {summary.seconds:.1f} s, peak {summary.peak_mb:.0f} MB")
    out.print(f"\n[bold]Files[/]\n  {escape(summary.to)}   the seeds")
    out.print(f"  {escape(summary.report)}   what was left out, and why")
    setting = "personas" if summary.kind == "personas" else "roles"
    out.print(f"\n[bold]Next[/]\n  {command_folder()}rpo run --set seeds.{setting}={escape(summary.to)}")


def _say(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{_plain(reason)} {count:,}" for reason, count in counts.items())


def _plain(text: str) -> str:
    """A word of the file as text: no markup of the terminal, no control codes."""
    return escape(excerpt_of(text))
