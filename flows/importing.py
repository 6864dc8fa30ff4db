"""An import as a flow: the same as ``rpo import``, for a schedule or the form in the Prefect UI."""

from __future__ import annotations

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from models.imports import ImportSettings, ImportSummary
from models.markdown import escape, table
from storage.imports.rows import excerpt_of
from tasks.importing import import_seeds


@flow(name="import", flow_run_name="import {settings.kind}")
def import_rows(settings: ImportSettings) -> ImportSummary:
    """Rows of a file of others as seeds; what is left out is in a report, row by row.

    Args:
        settings: Which file, as what.
    """
    summary = import_seeds(settings)
    create_markdown_artifact(
        key=f"import-{settings.kind}",
        markdown=render_markdown(summary),
        description=f"What was taken of {settings.kind}",
    )
    return summary


def render_markdown(summary: ImportSummary) -> str:
    """The summary as the Prefect UI shows it; the file's own words are no markup."""
    counts = [
        ("accepted", "", summary.accepted),
        *(("accepted", reason, count) for reason, count in summary.languages.items()),
        *(("refused", reason, count) for reason, count in summary.refused.items()),
        *(("duplicate", reason, count) for reason, count in summary.duplicates.items()),
        *(("filtered", reason, count) for reason, count in summary.filtered.items()),
        *(("general ones", reason, count) for reason, count in summary.stand_ins.items()),
    ]
    files = [("file", summary.file), ("seeds", summary.to), ("left out", summary.report)]
    columns = [(ours, escape(excerpt_of(theirs))) for ours, theirs in summary.columns.items()]
    return "\n\n".join(
        [
            f"# Import of {summary.kind}: {summary.accepted:,} of {summary.rows:,} rows",
            table(("outcome", "", "rows"), [(outcome, escape(reason), count) for outcome, reason, count in counts]),
            table(("ours", "column"), columns),
            table(("", "path"), [(name, escape(path)) for name, path in files]),
        ]
    )
