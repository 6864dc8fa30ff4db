"""What a person sees on the terminal: progress bars while a run goes, its summary at the end, errors that help."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from flows import run as current_run
from flows.output import PipedConsole
from flows.report import report_path
from flows.rounds import tabulate_rounds
from flows.terminal_accounts import say_cost, say_diversity, say_failures, tabulate_accounts
from flows.watching import Listener
from models.errors import FactoryError
from models.summary import NOISE_CASES, RunSummary
from storage.roots import machine_dir

out = PipedConsole(highlight=False, soft_wrap=True)
err = PipedConsole(stderr=True, highlight=False, soft_wrap=True)


def show_error(error: FactoryError) -> None:
    """What failed, what is safe, what to type next: a line each."""
    err.print(f"[bold red]error:[/] {escape(error.what)}")
    if error.safe:
        err.print(f"[green]safe:[/]  {escape(error.safe)}")
    if error.next_step:
        err.print(f"[bold]next:[/]  {escape(error.next_step)}")


LINE_EVERY_S = 60.0
"""Of a run whose standard error is a file or a pipe."""


@contextmanager
def show_progress() -> Iterator[None]:
    """How far each stage of the run in this process is: bars on a terminal, elsewhere a line now and then."""
    with _bars() if sys.stderr.isatty() else _lines() as current_run.listener:
        try:
            yield
        finally:
            current_run.listener = None


@contextmanager
def _bars() -> Iterator[Listener]:
    bars: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err) as progress:

        def follow(stage: str, planned: int, done: int) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(_words(stage), total=0)
            total = progress.tasks[bars[stage]].total or 0
            progress.update(bars[stage], total=total + planned, advance=done)

        yield follow


@contextmanager
def _lines() -> Iterator[Listener]:
    planned, done = Counter[str](), Counter[str]()
    ended = threading.Event()

    def follow(stage: str, more: int, made: int) -> None:
        planned[stage] += more
        done[stage] += made

    def tell() -> None:
        told: set[str] = set()
        while not ended.wait(LINE_EVERY_S):
            said = {
                f"{_words(stage)} {done[stage]} of {total}": done[stage] < total for stage, total in [*planned.items()]
            }
            # what is finished is said once, but where there is nothing else to say
            if going := [what for what, is_going in said.items() if is_going or what not in told] or [*said]:
                err.print(f"{datetime.now():%H:%M:%S} {', '.join(going)}")
            told.update(going)

    threading.Thread(target=tell, name="progress", daemon=True).start()
    try:
        yield follow
    finally:
        ended.set()


def _words(stage: str) -> str:
    return stage.replace("_", " ")


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "-"


def show_summary(summary: RunSummary) -> None:
    """The summary of a run."""
    out.print(
        f"[bold]Run {summary.run}[/]: {summary.systems} systems, {summary.dialogues} dialogues, {summary.turns} turns, "
        f"{summary.responses} responses, {summary.judgments} judgments, [bold]{summary.pairs} pairs[/]"
    )
    if summary.ended:
        reasons = ", ".join(f"{reason} {count}" for reason, count in summary.ended.items())
        out.print(f"[bold]Ended early[/]  {sum(summary.ended.values())} dialogues: {reasons} (see dialogues.min_score)")
    _show_satisfaction(summary)
    margins = ", ".join(f"{margin}: {count}" for margin, count in sorted(summary.margins.items())) or "none"
    out.print(f"\n[bold]Pairs by margin[/]  {margins}")
    out.print("\n[bold]The same responses under plain DPO[/] (Figure 1 of the paper)")
    for case, text in NOISE_CASES.items():
        count = summary.noise_cases.get(case, 0)
        out.print(f"  case {case}  {count:>6}  {_share(count, summary.pairs):>4}  {text}")
    passed = summary.audited - summary.audit_failed
    out.print(
        f"\n[bold]Audit[/]  {passed} of {summary.audited} pairs proven: the chosen response follows every triggered "
        "constraint of its\n       rewritten prompt, the rejected one violates exactly `margin` of them"
    )
    if summary.unscored:
        out.print(f"[bold]Unscored[/]  {summary.unscored} judgments: their responses made no pairs")
    _show_calibration(summary)
    _show_rounds(summary)
    if any(account.role == "user" for account in summary.accounts):
        out.print(f"[bold]Diversity[/]  {say_diversity(summary.diversity)}")
    if (accounts := tabulate_accounts(summary.accounts)) is not None:
        out.print()
        out.print(accounts)
        out.print()
    if summary.failures:
        out.print(f"[bold]Failures[/]  {say_failures(summary)}")
    out.print(
        f"[bold]Calls[/]  {summary.calls_made} made now, {summary.calls_cached} answered by the call cache; the run's "
        f"tokens: {summary.tokens_in} in, {summary.tokens_out} out; cost {say_cost(summary)}"
    )
    out.print(f"[bold]Time[/]   {summary.seconds:.1f} s")


def _show_calibration(summary: RunSummary) -> None:
    """One line for all the judge was measured on; kinds and languages are in the catalog and the artifact."""
    if not summary.calibration:
        return
    whole = summary.calibration[0]
    agreement = "-" if whole.agreement is None else f"{whole.agreement:.0%}"
    kappa = "not defined" if whole.kappa is None else f"{whole.kappa:.2f}"
    wrong = [
        f"calls {rate:.0%} of the {truth} ones {said}"
        for rate, truth, said in (
            (whole.false_positive, "violated", "followed"),
            (whole.false_negative, "followed", "violated"),
        )
        if rate is not None
    ]
    out.print(
        f"[bold]Judge[/]  agrees with the checks on {agreement} of {whole.n} constraints, kappa {kappa}"
        + "".join(f"; {text}" for text in wrong)
    )


def _show_rounds(summary: RunSummary) -> None:
    if not summary.rounds:
        return
    table = Table(title="Rounds", title_justify="left", title_style="bold", box=None)
    (first, *runs), rows = tabulate_rounds(summary.rounds)
    table.add_column(first, no_wrap=True)
    for run in runs:
        table.add_column(run, justify="right")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    out.print()
    out.print(table)


def _show_satisfaction(summary: RunSummary) -> None:
    table = Table(title="Satisfaction by constraint kind", title_justify="left", title_style="bold", box=None)
    columns = 2
    for _ in range(columns):
        table.add_column("kind")
        table.add_column("followed", justify="right")
        table.add_column("judged", justify="right")
    cells = [(item.kind, _share(item.followed, item.scored), str(item.scored)) for item in summary.satisfaction]
    half = -(-len(cells) // columns)
    for index in range(half):
        right = cells[index + half] if index + half < len(cells) else ("", "", "")
        table.add_row(*cells[index], *right)
    out.print()
    out.print(table)


def command_folder() -> str:
    """What to type before `rpo`: an environment that is not activated has none on the path."""
    return "" if shutil.which("rpo") else f"{Path(sys.argv[0]).parent}/"


def show_settings(rows: Sequence[tuple[str, str, str]], as_json: bool) -> None:
    """Every setting with its default and meaning."""
    if as_json:
        print(json.dumps([dict(zip(("key", "default", "description"), row, strict=True)) for row in rows]))
        return
    for key, default, description in rows:
        out.print(f"{key} = {default}" if default else key, markup=False, style="bold")
        out.print(f"    {description}", markup=False)


def show_next_steps(summary: RunSummary, data: str) -> None:
    """Where the files are, and what to type next."""
    out.print("\n[bold]Files[/]")
    for name, splits in summary.exported.items():
        counts = ", ".join(f"{count} {split}" for split, count in splits.items())
        out.print(f"  {escape(str(summary.export_folder))}/{name:<13} {counts}")
    if (report := report_path(data, summary.run)).is_file():
        out.print(f"  {escape(str(report))}   the report, for a browser")
    out.print(f"  {escape(str(machine_dir(data)))}/catalog.duckdb   every table of every run, for any DuckDB client")
    folder = command_folder()
    data = escape(data)
    out.print("\n[bold]Next[/]")
    out.print(f'  {folder}rpo sql --data {data} "select margin, count(*) from pairs group by 1 order by 1"')
    out.print(f"  {folder}rpo status --data {data}")
    out.print(f"  {folder}rpo doctor              before a run on your own models: checks endpoints, keys, disk")
    out.print(f"  {folder}rpo up                  Prefect's UI, which shows this run and runs and schedules others")
