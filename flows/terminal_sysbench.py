"""What a person sees of SysBench's scores."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from flows.terminal import out
from models.sysbench import ModelScore, SysBenchScore

_SHOWN = (
    ("csr", "kind", "CSR by kind of criterion"),
    ("isr", "alignment", "ISR by alignment of the query with the system prompt"),
    ("ssr", "relation", "SSR by relation of a session's turns"),
    ("ssr", "turn", "Share of sessions whose turns hold, from the first to this one"),
)
"""SysBench's own tables: metric, kind of part, title."""


def show_sysbench(score: SysBenchScore) -> None:
    """CSR, ISR and SSR of all models, then SysBench's own tables, and what was not as it should be."""
    which = "the model's own earlier answers" if score.history == "own" else "the ground truth's earlier answers"
    out.print(
        f"[bold]SysBench[/] {escape(score.file)}: {len(score.models)} models, {score.sessions} sessions, after {which}"
        + ("" if score.history_known else " (as you say; the file does not)")
    )
    out.print(_main_table(score.models))
    for metric, kind, title in _SHOWN:
        _show_parts(score.models, metric, kind, title)
    for line in _remarks(score):
        out.print(line, markup=False)


def _main_table(models: Sequence[ModelScore]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Percent, with 95 % intervals over sessions", title_justify="left")
    table.add_column("model", no_wrap=True)
    for metric in ("CSR", "ISR", "SSR"):
        table.add_column(metric, justify="right")
        table.add_column("", style="dim", no_wrap=True)
    for model in models:
        cells = []
        for metric in ("csr", "isr", "ssr"):
            value, interval = getattr(model, metric), model.intervals.get(metric)
            cells.append("" if value is None else f"{value:.2f}")
            cells.append(escape(f"[{interval.low:.1f}, {interval.high:.1f}]") if interval else "")
        table.add_row(escape(model.model), *cells)
    return table


def _show_parts(models: Sequence[ModelScore], metric: str, kind: str, title: str) -> None:
    values = sorted({value for model in models for value in model.by.get(kind, {})}, key=lambda text: (len(text), text))
    if not values:
        return
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    table.add_column("model", no_wrap=True)
    for value in values:
        table.add_column(escape(value), justify="right")
    for model in models:
        shares = [model.by.get(kind, {}).get(value, {}).get(metric) for value in values]
        table.add_row(escape(model.model), *("" if share is None else f"{share.value:.1f}" for share in shares))
    out.print(table)


def _remarks(score: SysBenchScore) -> list[str]:
    """What a reader of the numbers should know."""
    remarks = []
    words = {word: 0 for model in score.models for word in model.other_words}
    for model in score.models:
        for word, count in model.other_words.items():
            words[word] += count
    if words:
        counts = ", ".join(f"{count} {word!r}" for word, count in sorted(words.items(), key=lambda item: -item[1]))
        remarks.append(f"Neither yes nor no: {counts}. Not satisfied in CSR, not failed in ISR and SSR.")
    if unjudged := sum(model.unjudged for model in score.models):
        remarks.append(f"Criteria without a verdict: {unjudged}. They count nowhere, nor do their answers.")
    if lacking := [f"{model.model} {model.no_ssr}" for model in score.models if model.no_ssr]:
        remarks.append(f"Sessions without SSR, since a turn is missing or not judged: {', '.join(lacking)}.")
    if score.other_lengths:
        remarks.append(f"Sessions of other than five turns: {score.other_lengths}. SSR is over those that they have.")
    if score.repeated:
        remarks.append(
            f"Rows left out, since their place stood before: {score.repeated}, of them with another verdict: "
            f"{score.contradicting}."
        )
    if score.refused:
        remarks.append(f"Rows that cannot be read: {score.refused}: {'; '.join(score.refused_first)}.")
    return remarks
