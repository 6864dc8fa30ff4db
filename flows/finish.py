"""The end of a run: exports, the catalog, the summary."""

from __future__ import annotations

import time
from collections.abc import Sequence

from prefect.artifacts import create_markdown_artifact

from flows.rounds import compare_rounds, tabulate_rounds
from flows.run import Run
from flows.terminal_accounts import say_failures
from models.accounts import CallAccount, find_unpriced
from models.agreement import JudgeAgreement
from models.diversity import Diversity
from models.markdown import table
from models.summary import NOISE_CASES, RoundResult, RunSummary
from storage.accounts import read_accounts
from storage.catalog import build_catalog
from storage.diversity import read_diversity
from storage.exports import export_run
from storage.roots import machine_dir
from storage.shared_calls import read_spending
from storage.summary import count_run


def finish_run(run: Run) -> RunSummary:
    """Write the exports and the summary of a run whose parts are all there."""
    build_catalog(run.store.place)
    exported = export_run(run.store, run.book.manifest, run.settings.export)
    accounts = read_accounts(run.store.place, run.settings)
    summary = RunSummary(
        run=run.settings.run,
        **count_run(run.store.place, run.settings.run),
        accounts=accounts,
        spent=read_spending(run.store.place).get(run.settings.run),
        unpriced=find_unpriced(run.settings, (account.endpoint for account in accounts if account.cost is None)),
        diversity=read_diversity(run.store.place, run.settings.run),
        calls_made=run.calls_now.made,
        calls_cached=run.calls_now.cached,
        exported=exported.rows,
        export_folder=exported.folder,
        seconds=round(time.monotonic() - run.started, 1),
        rounds=compare_rounds(run.store.place, run.book.manifest),
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
            *_render_calibration(summary.calibration),
            *render_rounds(summary.rounds),
            *_render_accounts(summary.accounts),
            *([f"Failures: {say_failures(summary)}"] if summary.failures else []),
            *_render_diversity(summary.diversity),
        ]
    )


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


def render_rounds(rounds: Sequence[RoundResult]) -> list[str]:
    """The rounds beside each other; nothing where there is one only."""
    return ["## Rounds", table(*tabulate_rounds(rounds))] if rounds else []


def _render_calibration(calibration: Sequence[JudgeAgreement]) -> list[str]:
    """The judge against the checks; nothing where it was not measured."""
    if not calibration:
        return []

    def show(value: float | None) -> str:
        return "" if value is None else f"{value:.2f}"

    head = ("kind", "language", "n", "unscored", "agreement", "kappa", "false positive", "false negative")
    rows = [
        (
            *(item.kind, item.language, item.n, item.unscored),
            *(show(rate) for rate in (item.agreement, item.kappa, item.false_positive, item.false_negative)),
        )
        for item in calibration
    ]
    return ["## The judge model against the checks", table(head, rows)]


def _render_accounts(accounts: Sequence[CallAccount]) -> list[str]:
    """The calls by stage and role; nothing where no model was asked."""
    if not accounts:
        return []
    head = ("stage", "role", "model", "calls", "cached", "failed", "retries", "in", "out", "cost", "s a call", "s")
    rows = [
        (
            *(item.stage, item.role, item.model, item.calls, item.cached, item.failed, item.retries),
            *(item.tokens_in, item.tokens_out, "unknown" if item.cost is None else f"{item.cost:.4f}"),
            *("" if item.median_seconds is None else f"{item.median_seconds:.2f}", f"{item.seconds:.1f}"),
        )
        for item in accounts
    ]
    return ["## Calls by stage and role", table(head, rows)]


def _render_diversity(diversity: Sequence[Diversity]) -> list[str]:
    if not diversity:
        return []
    head = ("texts", "language", "n", "measured", "distinct openings", "distinct trigrams", "compression ratio")
    rows = [
        (
            *(item.what, item.language, item.texts, item.measured, f"{item.distinct_openings:.2f}"),
            *(
                "" if item.distinct_trigrams is None else f"{item.distinct_trigrams:.2f}",
                f"{item.compression_ratio:.2f}",
            ),
        )
        for item in diversity
    ]
    return ["## Diversity", table(head, rows)]
