"""The end of a run: exports, the catalog, the summary."""

from __future__ import annotations

import time

from prefect.artifacts import create_markdown_artifact

from flows.report.tables import (
    Table,
    tabulate_accounts,
    tabulate_all_rounds,
    tabulate_diversity,
    tabulate_judge,
)
from flows.run import Run
from flows.summary import summarise_run
from flows.terminal_accounts import say_failures
from models.markdown import table
from models.summary import NOISE_CASES, RunSummary
from storage.catalog import build_catalog
from storage.exports import export_run
from storage.roots import machine_dir


def finish_run(run: Run) -> RunSummary:
    """Write the exports and the summary of a run whose parts are all there."""
    build_catalog(run.store.place)
    exported = export_run(run.store, run.book.manifest, run.settings.export)
    summary = summarise_run(
        run.store.place,
        run.book.manifest,
        run.settings,
        calls=run.calls_now,
        seconds=time.monotonic() - run.started,
        exported=exported,
    )
    run.book.finish("complete", summary.model_dump(mode="json"))
    create_markdown_artifact(
        key=f"summary-{run.settings.run.replace('_', '-')}",
        markdown=f"{render_markdown(summary)}\n\n{render_files(run.settings.data, run.settings.run)}",
        description=f"What the run {run.settings.run} came to",
    )
    return summary


def render_markdown(summary: RunSummary) -> str:
    """The summary as the Prefect UI shows it."""
    counts = [
        (name, getattr(summary, name))
        for name in ("systems", "dialogues", "turns", "responses", "judgments", "unscored", "pairs")
    ]
    kinds = [
        (item.kind, f"{item.followed / item.scored:.0%}", item.scored)
        for item in sorted(summary.satisfaction, key=lambda item: item.followed / item.scored)
    ]
    cases = [(case, text, summary.noise_cases.get(case, 0)) for case, text in NOISE_CASES.items()]
    return "\n\n".join(
        [
            f"# Run {summary.run}",
            table(("what", "how many"), [*counts]),
            f"Audit: {summary.audited - summary.audit_failed} of {summary.audited} pairs passed.",
            f"Calls: {summary.calls_made} made, {summary.calls_cached} from the call cache.",
            "## Pairs by margin",
            table(("margin", "pairs"), [*sorted(summary.margins.items())]),
            "## The same responses under plain DPO",
            table(("case", "what it would be", "pairs"), [*cases]),
            "## Satisfaction by constraint kind",
            table(("kind", "followed", "judged"), [*kinds]),
            *_render(tabulate_judge(summary.calibration)),
            *_render(tabulate_all_rounds(summary.rounds)),
            *_render(tabulate_accounts(summary.accounts)),
            *([f"Failures: {say_failures(summary)}"] if summary.failures else []),
            *_render(tabulate_diversity(summary.diversity)),
        ]
    )


def _render(found: Table | None) -> list[str]:
    return [f"## {found.title}", table(found.head, found.rows)] if found else []


def render_files(data: str, run: str) -> str:
    """Where the run's files are, as links; the address is their text, as a browser opens files of its machine only."""
    here = machine_dir(data).resolve().as_uri()
    shared = data.rstrip("/") if "://" in data else here
    files = {
        "exports for trainers": f"{here}/exports/{run}",
        "tables (`rpo sql`)": f"{here}/catalog.duckdb",
        "settings, parts and this summary": f"{shared}/runs/{run}.json",
    }
    rows = [(what, f"[{address}]({address})") for what, address in files.items()]
    return "\n\n".join(["## Files", table(("what", "where"), rows)])
