"""The estimate of a run as the terminal shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.markup import escape
from rich.table import Table

from flows.estimate import format_expected
from flows.terminal import command_folder, err, out
from models.estimate import Expected, RunEstimate, SampledSeeds

_UNITS = (("h", 3600), ("min", 60), ("s", 1))


def announce_sample() -> None:
    """What is about to be paid."""
    err.print(
        "The sample is made for real: its calls are made and paid, once. The run itself finds their answers in the "
        "call cache."
    )


def show_estimate(estimated: RunEstimate) -> None:
    """What a run will come to."""
    sampled = ", ".join(_say_seeds(item) for item in estimated.seeds if item.unit == "roles")
    out.print(
        f"[bold]Estimate of run {estimated.run}[/] from {sampled}, made as run {estimated.sample} in "
        f"{estimated.sample_seconds:.1f} s\n"
    )
    out.print(_tabulate(estimated))
    out.print(f"\n[bold]Pairs[/]  {format_expected(estimated.pairs)}")
    out.print(f"[bold]Cost[/]   {_say_cost(estimated)}")
    if estimated.budget_left is not None and estimated.to_pay is not None:
        fits = "what is to be paid fits" if estimated.fits else "[bold red]what is to be paid may not fit[/]"
        out.print(f"[bold]Budget[/] {estimated.budget_left:,.4f} is left of it: {fits}")
    if estimated.busiest_endpoint:
        out.print(
            f"[bold]Time[/]   {_say_time(estimated.seconds)}, no less: endpoint {escape(estimated.busiest_endpoint)} "
            "at its max_concurrency, as fast as it answered the sample"
        )
    out.print(f"[bold]Disk[/]   about {estimated.disk_bytes / 1e6:.1f} MB of parts, exports and answers")
    if estimated.failed:
        out.print(f"[bold]Failed[/] {estimated.failed} calls of the sample: their tokens are not in the estimate")
    out.print(f"\n{_say_method(estimated)}")
    out.print("What an earlier run has answered already is not subtracted.")
    out.print(f"\n[bold]Next[/]\n  {command_folder()}rpo run   with the same options, without --dry-run")


def _tabulate(estimated: RunEstimate) -> Table:
    """Stages as totals; the whole run with the ends of its intervals. The artifact and --json have them all."""
    table = Table(box=None)
    table.add_column("stage", no_wrap=True)
    table.add_column("role", no_wrap=True)
    for head in ("calls", "tokens in", "tokens out", "cost"):
        table.add_column(head, justify="right")
    for item in estimated.stages:
        table.add_row(item.stage, item.role, *_show((item.calls, item.tokens_in, item.tokens_out, item.cost), _value))
    whole = (estimated.calls, estimated.tokens_in, estimated.tokens_out, estimated.cost)
    table.add_row("whole run", "", *_show(whole, _value), style="bold")
    if estimated.calls.low is not None:
        table.add_row("  at least", "", *_show(whole, lambda expected: expected.low))
        table.add_row("  at most", "", *_show(whole, lambda expected: expected.high))
    return table


def _show(totals: Sequence[Expected | None], end: Callable[[Expected], float | None]) -> list[str]:
    """Calls, tokens in, tokens out and cost of a row."""
    *counts, cost = [None if expected is None else end(expected) for expected in totals]
    return [*("" if count is None else f"{count:,.0f}" for count in counts), "-" if cost is None else f"{cost:,.4f}"]


def _value(expected: Expected) -> float:
    return expected.value


def _say_seeds(item: SampledSeeds) -> str:
    return f"{item.sampled} of {item.whole} {item.unit} in {item.language}"


def _say_cost(estimated: RunEstimate) -> str:
    if estimated.cost is None:
        missing = ", ".join(f"endpoints.{name}" for name in estimated.unpriced)
        return f"unknown: set price_in and price_out of {missing}" if missing else "unknown: prices came after calls"
    return (
        f"{escape(format_expected(estimated.cost, digits=4))}; the sample has paid {estimated.paid:,.4f} of it, to be "
        f"paid is {escape(format_expected(estimated.to_pay, digits=4))}"
    )


def _say_time(seconds: Expected) -> str:
    name, unit = next((name, unit) for name, unit in _UNITS if seconds.value >= 2 * unit or unit == 1)
    return f"{escape(format_expected(seconds.over(unit), digits=1))} {name}"


def _say_method(estimated: RunEstimate) -> str:
    if estimated.calls.low is None:
        return "One role of a language shows no spread: give --sample 2 or more for intervals."
    return "Intervals: 90 %, by Student's t over the sampled roles of each language, which are the first of their file."
