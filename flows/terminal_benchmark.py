"""What a person sees of an evaluation on a benchmark."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from flows.scores import format_interval
from flows.terminal import out
from flows.terminal_evaluation import KINDS, MANY, show_differences
from models.benchmarks import Accuracy, FileScore, GroupScore, RefusedRow
from models.evaluation import BenchmarkSummary
from tasks.benchmarks import BENCHMARKS

SHOWN_REFUSALS = 5
SHOWN_KEYS = 10


def show_benchmark(summary: BenchmarkSummary) -> None:
    """The main metrics of all models, what was not counted, then what differs from the first model."""
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
    main = BENCHMARKS[summary.benchmark].main
    for metric in dict.fromkeys(item.metric for item in summary.metrics if item.metric.startswith(main)):
        items = [found.get((label, metric)) for label in labels]
        if KINDS in metric or MANY in metric or None in items:
            continue
        cells = [cell for i in items if i for cell in (f"{i.value:.4f}", escape(format_interval(i.low, i.high)))]
        tabulated.add_row(escape(metric), *cells, str(max(item.n for item in items if item)))
    out.print(tabulated)
    for label, count in summary.unanswered.items():
        out.print(f"[bold]Unanswered[/]  {count} turns of {escape(label)}; the same command asks for them again")
    for label, count in summary.undecided.items():
        out.print(f"[bold]Undecided[/]  {count} verdicts on {escape(label)}: see `reason` in the table scores")
    _show_refused(len(summary.refused), summary.refused[:SHOWN_REFUSALS])
    for name, why in summary.left_out.items():
        out.print(f"[bold]Left out[/]  {escape(name)}: {escape(why)}")
    out.print("all metrics, by label and kind: select * from metrics")
    if summary.differences:
        shown = [item for item in summary.differences if item.metric.startswith(main)]
        show_differences(shown, kinds=False)
    out.print(
        f"[bold]Calls[/]  {summary.calls_made} made now, {summary.calls_cached} answered by the call cache  "
        f"[bold]Time[/]  {summary.seconds:.1f} s"
    )


def show_file_score(score: FileScore) -> None:
    """The accuracies of a file, what does not count, and the kinds of instruction."""
    out.print(
        f"[bold]{score.benchmark}[/] {escape(score.file)}: {score.prompts} prompts, {score.instructions} instructions"
    )
    groups: dict[str, GroupScore] = {"all": score}
    for name, step in score.steps.items():
        groups[f"step {name}"] = step
        groups |= {f"step {name}, {language}": group for language, group in step.languages.items()}
    out.print(_groups_table(groups, averaged=bool(score.steps)))
    if score.steps:
        out.print("average: mean of the four accuracies of a step; of all, mean over the steps")
    if score.unusable.count:
        out.print(
            f"[bold]Undecidable[/]  {score.unusable.count} instructions, counted as {score.unusable_count_as}; keys: "
            f"{escape(', '.join(score.unusable.keys[:SHOWN_KEYS]))}"
        )
    if score.not_applicable.count:
        reasons = ", ".join(f"{kind} {count}" for kind, count in score.not_applicable.reasons.items())
        out.print(f"[bold]Not applicable[/]  {score.not_applicable.count} instructions: {escape(reasons)}")
    if score.unanswered:
        out.print(f"[bold]Unanswered[/]  {score.unanswered} prompts, which count nowhere")
    _show_refused(score.refused, score.refused_first)
    kinds = Table(box=box.SIMPLE_HEAD)
    kinds.add_column("kind", no_wrap=True)
    for name in ("strict", "loose", "n"):
        kinds.add_column(name, justify="right")
    for kind, found in score.kinds.items():
        kinds.add_row(escape(kind), f"{found.strict.accuracy:.1%}", f"{found.loose.accuracy:.1%}", str(found.strict.n))
    out.print(kinds)


def _groups_table(groups: dict[str, GroupScore], *, averaged: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for name in ("prompt strict", "instruction strict", "prompt loose", "instruction loose"):
        table.add_column(name, justify="right")
    if averaged:
        table.add_column("average", justify="right")
    for name, group in groups.items():
        found = (group.strict.prompt, group.strict.instruction, group.loose.prompt, group.loose.instruction)
        average = "" if group.average is None else f"{group.average:.2%}"
        table.add_row(escape(name), *map(_cell, found), *([average] if averaged else []))
    return table


def _cell(accuracy: Accuracy | None) -> str:
    return "" if accuracy is None else f"{accuracy.accuracy:.2%} ({accuracy.followed}/{accuracy.n})"


def _show_refused(count: int, first: Sequence[RefusedRow]) -> None:
    for row in first:
        out.print(f"[bold]Refused[/]  line {row.line}: {escape(row.what)}")
    if count > len(first):
        out.print(f"          and {count - len(first)} more rows")
