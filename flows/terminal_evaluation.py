"""What a person sees of an evaluation and of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from flows.scores import KIND, format_interval, say_held_out
from flows.terminal import out
from models.evaluation import Difference, EvaluationSummary
from tasks.measures import MAIN_METRICS

KINDS = "/kind/"
MANY = "/domain/"
"""Parts of metrics that are too many for a table; ``select * from metrics`` has them."""

FEW_ROLES = 20
"""Below this an interval over roles is narrower than it should be."""


def show_evaluation(summary: EvaluationSummary) -> None:
    """The metrics of all models, then what changed against the first one."""
    held_out = summary.held_out
    out.print(
        f"[bold]Evaluation {summary.evaluation}[/]: {held_out.roles} held-out roles in both polarities, "
        f"{held_out.dialogues} dialogues, models: {escape(', '.join(model.label for model in summary.models))}"
    )
    out.print(say_held_out(held_out))
    out.print(_metrics_table(summary))
    out.print("csr: constraints followed; isr: responses that follow all; ssr: leading turns of a dialogue that do")
    if held_out.roles < FEW_ROLES:
        out.print(
            f"Intervals over {held_out.roles} roles are too narrow; give --systems {FEW_ROLES} or more to conclude."
        )
    out.print()
    show_differences(summary.differences, kinds=False)
    for name, why in summary.left_out.items():
        out.print(f"[bold]Left out[/]  {escape(name)}: {escape(why)}")
    out.print(
        f"[bold]Calls[/]  {summary.calls_made} made now, {summary.calls_cached} answered by the call cache  "
        f"[bold]Time[/]  {summary.seconds:.1f} s"
    )


def _metrics_table(summary: EvaluationSummary) -> Table:
    found = {(item.model, item.metric): item for item in summary.metrics}
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("metric", no_wrap=True)
    for model in summary.models:
        table.add_column(escape(model.label), justify="right")
        table.add_column("95 % interval", no_wrap=True, style="dim")
    table.add_column("n", justify="right")
    for metric in MAIN_METRICS:
        for name in (metric, f"{metric}/original", f"{metric}/reversed"):
            items = [item for model in summary.models if (item := found.get((model.label, name)))]
            if len(items) < len(summary.models):
                continue  # nothing of it was scored
            cells = [cell for i in items for cell in (f"{i.value:.3f}", escape(format_interval(i.low, i.high)))]
            table.add_row(name, *cells, str(items[0].n), style="bold" if name == metric else "")
    return table


def show_differences(differences: Sequence[Difference], *, kinds: bool) -> None:
    """A table for each model that is compared; with ``kinds`` also one by kind of constraint."""
    for model in dict.fromkeys(item.model for item in differences):
        chosen = [item for item in differences if item.model == model and MANY not in item.metric]
        whole = [item for item in chosen if KINDS not in item.metric]
        order = [f"{metric}{part}" for metric in MAIN_METRICS for part in ("", "/original", "/reversed")]
        # a benchmark's metrics come in its own order
        _show_table(sorted(whole, key=lambda item: order.index(item.metric) if item.metric in order else 0))
        if kinds:
            by_kind = [item for item in chosen if KINDS in item.metric]
            _show_table(sorted(by_kind, key=lambda item: (item.value, item.metric)))


def _show_table(items: Sequence[Difference]) -> None:
    if not items:
        return
    first = items[0]
    of_kinds = KINDS in first.metric
    tested = any(item.p is not None for item in items)
    title = f"{first.model} against {first.against}{', by kind of constraint' if of_kinds else ''}"
    table = Table(box=box.SIMPLE_HEAD, title=escape(title), title_justify="left", title_style="bold")
    table.add_column("kind" if of_kinds else "metric")
    for name in (first.against, first.model, "difference"):
        table.add_column(escape(name), justify="right")
    table.add_column("95 % interval", no_wrap=True)
    if tested:
        table.add_column("p", justify="right")
    table.add_column("n", justify="right")
    for item in items:
        table.add_row(
            escape(item.metric.removeprefix(KIND)),
            f"{item.before:.3f}",
            f"{item.after:.3f}",
            f"{item.value:+.3f}",
            escape(format_interval(item.low, item.high)) + (" *" if item.is_clear else ""),
            *([format_p(item.p)] if tested else []),
            str(item.n),
        )
    out.print(table)
    if any(item.is_clear for item in items):
        out.print("* the interval leaves out zero" + (" (one in twenty does by chance)" if of_kinds else ""))


def format_p(p: float | None) -> str:
    """A p-value as people write it."""
    return "" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"
