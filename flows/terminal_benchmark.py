"""What a person sees of an evaluation on a benchmark."""

from __future__ import annotations

from rich import box
from rich.markup import escape
from rich.table import Table

from flows.scores import format_interval
from flows.terminal import out
from flows.terminal_evaluation import show_differences
from models.evaluation import BenchmarkSummary

SHOWN_REFUSALS = 5


def show_benchmark(summary: BenchmarkSummary) -> None:
    """The metrics of all models, what was not counted, then what differs from the first model."""
    labels = [model.label for model in summary.models]
    out.print(
        f"[bold]{summary.benchmark}[/] ({escape(summary.evaluation)}): {summary.dialogues} dialogues, {summary.turns} "
        f"turns, history: {summary.history}, models: {escape(', '.join(labels))}"
    )
    found = {(item.model, item.metric): item for item in summary.metrics}
    tabulated = Table(box=box.SIMPLE_HEAD)
    tabulated.add_column("metric", no_wrap=True)
    for label in labels:
        tabulated.add_column(escape(label), justify="right")
        tabulated.add_column("95 % interval", no_wrap=True, style="dim")
    tabulated.add_column("n", justify="right")
    for metric in dict.fromkeys(item.metric for item in summary.metrics):
        items = [found.get((label, metric)) for label in labels]
        if "/kind/" in metric or None in items:
            continue
        cells = [cell for i in items if i for cell in (f"{i.value:.4f}", escape(format_interval(i.low, i.high)))]
        tabulated.add_row(escape(metric), *cells, str(max(item.n for item in items if item)))
    out.print(tabulated)
    for label, count in summary.unanswered.items():
        out.print(f"[bold]Unanswered[/]  {count} turns of {escape(label)}; the same command asks for them again")
    for label, count in summary.undecided.items():
        out.print(f"[bold]Undecided[/]  {count} verdicts on {escape(label)}; `select reason, count(*) from scores`")
    for row in summary.refused[:SHOWN_REFUSALS]:
        out.print(f"[bold]Refused[/]  line {row.line}: {escape(row.what)}")
    if len(summary.refused) > SHOWN_REFUSALS:
        out.print(f"          and {len(summary.refused) - SHOWN_REFUSALS} more rows")
    for name, why in summary.left_out.items():
        out.print(f"[bold]Left out[/]  {escape(name)}: {escape(why)}")
    if summary.differences:
        show_differences(summary.differences, kinds=False)
    out.print(
        f"[bold]Calls[/]  {summary.calls_made} made now, {summary.calls_cached} answered by the call cache  "
        f"[bold]Time[/]  {summary.seconds:.1f} s"
    )
