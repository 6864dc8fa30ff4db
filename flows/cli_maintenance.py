"""The commands ``rpo gc`` and ``rpo compact``, and ``rpo doctor --store``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from flows.cli_options import Data, Json
from models.errors import SettingsError
from storage.compaction import MANY_PARTS, Compaction, compact_runs
from storage.garbage import GRACE_HOURS, GarbageReport, Total, free_garbage, look_for_garbage
from storage.places import require_data
from storage.roots import data_root


def gc(
    *,
    delete: Annotated[
        bool, Parameter(negative="", help="Free it; without, it is only said what would be freed.")
    ] = False,
    grace: Annotated[float, Parameter(help="Hours: what is younger is kept.")] = GRACE_HOURS,
    unfinished: Annotated[
        bool,
        Parameter(negative="", help="Also free parts that a run which is not finished might find again."),
    ] = False,
    data: Data = "data",
    as_json: Json = False,
) -> None:
    """Free what no run uses: parts with their accounts, leftovers of killed processes, results that name lost parts.

    Without --delete nothing is changed. Completed calls stay in the call cache, whatever is freed.
    """
    if grace < 0:
        raise SettingsError("--grace is a number of hours, from 0.", safe="Nothing was deleted.")
    work = free_garbage if delete else look_for_garbage
    report = work(data_root(data), grace_hours=grace, unfinished=unfinished)
    if as_json:
        print(report.model_dump_json())
    else:
        _show_garbage(report, data, grace)


def compact(
    *,
    run: Annotated[str | None, Parameter(help="Only this run; without: every finished one.")] = None,
    above: Annotated[int, Parameter(help="Datasets of a run with more parts than this are compacted.")] = MANY_PARTS,
    data: Data = "data",
    as_json: Json = False,
) -> None:
    """Write datasets of many parts as one file each, which queries read instead. The parts stay."""
    if above < 1:
        raise SettingsError("--above is a number of parts, from 1.", safe="Nothing was compacted.")
    root = data_root(data)
    require_data(root)
    done = compact_runs(root, run=run, above=above)
    if done:
        # imported here: DuckDB weighs 40 MB
        from storage.catalog import build_catalog

        build_catalog(root)
    if as_json:
        print(json.dumps([item.model_dump() for item in done]))
    else:
        _show_compacted(done, above)


def doctor_store(data: str, as_json: bool) -> None:
    """Check a data folder and say what to do; exit code 1 if something is wrong."""
    from flows.terminal import out
    from storage.checking import check_store

    findings = []
    for finding in check_store(data_root(data)):
        findings.append(finding)
        if as_json:
            continue
        out.print("[green]ok [/]" if finding.ok else "[bold red]fix[/]", end=" ")
        out.print(finding.what, markup=False, highlight=False)
        for line in (finding.safe, finding.fix):
            if line:
                out.print(f"    {line}", markup=False, highlight=False)
    if as_json:
        print(json.dumps([finding.model_dump() for finding in findings]))
    if not all(finding.ok for finding in findings):
        sys.exit(1)


def _show_garbage(report: GarbageReport, data: str, grace: float) -> None:
    from flows.terminal import out

    def say(text: str) -> None:
        out.print(text, markup=False, highlight=False)

    for total in report.freed:
        say(f"{total.what:<16} {total.files:>8} files {format_size(total.size):>10}")
    if report.freed:
        what = "freed" if report.deleted else "would be freed"
        say(f"{what:<16} {report.files:>8} files {format_size(report.size):>10}")
    else:
        say("Nothing to free.")
    if report.young.files:
        say(f"Kept: {_count(report.young)} younger than {grace:g} hours (--grace)")
    if report.unfinished.files:
        names = ", ".join(report.unfinished_runs)
        say(
            f"Kept: {_count(report.unfinished)} that a run which is not finished may find again: {names} (--unfinished)"
        )
    for line in report.left_alone:
        say(f"Left alone: {line}")
    if report.in_use:
        say("A run is under way: --delete waits for its end.")
    if report.freed and not report.deleted:
        say(f"Nothing was deleted. To free it: rpo gc --delete --data {data}")


def _show_compacted(done: Sequence[Compaction], above: int) -> None:
    from flows.terminal import out

    if not done:
        out.print(f"Nothing to compact: no dataset of a finished run has more than {above} parts.", highlight=False)
    for item in done:
        took = f"{item.seconds:.1f} s" if item.seconds else "was there"
        sizes = f"{format_size(item.parts_size)} to {format_size(item.size)}"
        text = f"{item.run}.{item.dataset:<12} {item.parts:>6} parts {item.rows:>10} rows  {sizes}  {took}"
        out.print(text, markup=False, highlight=False)


def _count(total: Total) -> str:
    return f"{total.files} files ({format_size(total.size)})"


def format_size(size: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
