"""What an import of answers came to, on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.markup import escape

from flows.import_answers import AnswersSummary
from flows.terminal import out, show_next_steps, show_summary
from flows.training_rows import ImportedRows


def show_answers(imported: AnswersSummary, data: str) -> None:
    """What became of the rows, then the summary of the run that they made."""
    _show_rows(imported.rows, imported.refused, imported.report, imported.passed_over)
    for line in _histories(imported):
        out.print(line)
    out.print()
    show_summary(imported.summary)
    show_next_steps(imported.summary, data)


def show_training_rows(imported: ImportedRows) -> None:
    """What became of training rows, and where they are."""
    _show_rows(imported.rows, imported.refused, imported.report)
    splits = ", ".join(f"{count} {split}" for split, count in imported.exported.items())
    out.print(f"\n[bold]Files[/]\n  {escape(imported.folder)}   {splits}, for TRL")
    out.print(
        "\nNo run: the rows have no constraints and verdicts to prove them by. LLaMA-Factory reads the file as it is."
    )


def _show_rows(rows: int, refused: Mapping[str, int], report: str, passed_over: int = 0) -> None:
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(refused.items()))
    others = f", {passed_over} of another history passed over" if passed_over else ""
    others += f", {sum(refused.values())} refused: {reasons}" if refused else ", none refused"
    out.print(f"[bold]Rows[/]  {rows} read{others}")
    if refused:
        out.print(f"  {escape(report)}   every refused row, with its line, field and reason")


def _histories(imported: AnswersSummary) -> Iterator[str]:
    if imported.alone:
        yield (
            f"[bold]Alone[/]  {imported.alone} of {imported.summary.responses} responses: no other one answers the "
            "same turn after the same history, so they make no pairs"
        )
    if imported.stand_ins:
        yield (
            f"[bold]Stand-ins[/]  {imported.stand_ins} of {imported.summary.turns} turns follow an answer that is not "
            "in the file: in their prompts the response that follows most stands in for it"
        )
