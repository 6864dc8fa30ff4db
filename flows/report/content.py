"""What the report of a run says, from its manifest and tables: numbers, charts and texts, not yet a page."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import get_args

from pydantic import ValidationError

from flows.report.cases import CASES, Case
from flows.report.charts import Chart
from flows.report.example import Example, describe_example
from flows.report.pictures import draw_cases, draw_judge, draw_kinds, draw_margins, draw_spending, draw_turns
from flows.report.settings import Fact, Player, describe_players, list_settings
from flows.report.tables import (
    Table,
    tabulate_accounts,
    tabulate_all_rounds,
    tabulate_diversity,
    tabulate_exclusions,
    tabulate_failures,
    tabulate_judge,
)
from flows.report.trained import BenchmarkReport, TrainingReport, describe_benchmarks, describe_trainings
from flows.summary import summarise_run
from flows.terminal_accounts import say_cost, say_failures
from models.agreement import JudgeAgreement
from models.endpoints import RoleName
from models.loading import validate_settings
from models.settings import FactorySettings
from models.summary import RunSummary
from storage import report_tables
from storage.manifests import ImportedFrom, Manifest
from storage.report_example import find_couple
from storage.report_tables import CaseCount, Row
from storage.roots import Root, machine_dir
from tasks.work import Calls

EXAMPLES = 3
"""Examples of each thing that went wrong."""


@dataclass(frozen=True)
class Stage:
    """A dataset of the run, in the picture of what was made from what."""

    dataset: str
    what: str
    rows: int


@dataclass(frozen=True)
class Report:
    """All that the page shows. Texts of models and people are plain: the template escapes them."""

    run: str
    status: str
    failure: str | None
    started: datetime
    finished: datetime | None
    imported: ImportedFrom | None
    policy: str | None
    seed: int
    settings_hash: str
    summary: RunSummary
    calls: int
    cached: int
    """Calls, and those of them that the call cache answered when their part was made."""
    cost: str
    failed_calls: str
    followed: tuple[int, int]
    """Constraints that the policy's own responses follow, and those that were judged."""
    perfect: tuple[int, int]
    """Of these responses those that follow everything, and those of which that is known."""
    couples: int
    clean: int
    """Couples of responses, and those that plain DPO makes a clean pair of."""
    levels: list[list[Stage]]
    players: list[Player]
    settings: list[Fact]
    satisfaction: list[Chart]
    cases: list[tuple[int, Case, CaseCount]]
    cases_chart: Chart | None
    example: Example | None
    margins: Chart | None
    unproven: list[Row]
    judge: JudgeAgreement | None
    judge_charts: list[Chart]
    judge_table: Table | None
    disagreements: list[Row]
    diversity: Table | None
    spending: list[Chart]
    accounts: Table | None
    failures: Table | None
    failure_examples: list[Row]
    exclusions: Table | None
    unscored: list[Row]
    rounds: Table | None
    trainings: list[TrainingReport]
    benchmarks: list[BenchmarkReport]


def collect_report(root: Root, manifest: Manifest) -> Report:
    """Read everything that there is of a run, finished or not.

    Raises:
        StorageError: The run is not in the catalog, or a part of it is damaged.
        SettingsError: The settings in the manifest are not ones of this version.
    """
    run = manifest.run
    settings = validate_settings(manifest.settings, source=f"the manifest of run {run}")
    summary = _summary_of(root, manifest, settings)
    turns, cases = report_tables.count_turns(root, run), report_tables.count_cases(root, run)
    failures, exclusions = report_tables.read_failures(root, run), report_tables.read_exclusions(root, run)
    couple = find_couple(root, run)
    counted = "Without what the critic rewrote." if settings.roles.critic else ""
    return Report(
        run=run,
        status=manifest.status,
        failure=manifest.failure,
        started=manifest.started_at,
        finished=manifest.finished_at,
        imported=manifest.imported,
        policy=manifest.policy,
        seed=settings.seed,
        settings_hash=manifest.settings_hash,
        summary=summary,
        calls=sum(account.calls for account in summary.accounts),
        cached=sum(account.cached for account in summary.accounts),
        cost=say_cost(summary),
        failed_calls=say_failures(summary),
        followed=(sum(turn.followed for turn in turns), sum(turn.scored for turn in turns)),
        perfect=(sum(turn.perfect for turn in turns), sum(turn.whole for turn in turns)),
        couples=sum(case.couples for case in cases),
        clean=sum(case.couples for case in cases if CASES[case.case].outcome == "clean"),
        levels=_levels(manifest),
        players=describe_players(settings, manifest.imported.asked if manifest.imported else get_args(RoleName)),
        settings=list_settings(manifest.settings),
        satisfaction=[*draw_kinds(summary.satisfaction, counted), *draw_turns(turns, counted)],
        cases=_all_cases(cases),
        cases_chart=draw_cases(cases, summary),
        example=describe_example(couple) if couple else None,
        margins=draw_margins(summary),
        unproven=report_tables.find_unproven(root, run, limit=EXAMPLES) if summary.audit_failed else [],
        judge=summary.calibration[0] if summary.calibration else None,
        judge_charts=list(draw_judge(summary.calibration)),
        judge_table=tabulate_judge(summary.calibration),
        disagreements=report_tables.find_disagreements(root, run, limit=EXAMPLES) if summary.calibration else [],
        diversity=tabulate_diversity(summary.diversity),
        spending=draw_spending(summary),
        accounts=tabulate_accounts(summary.accounts),
        failures=tabulate_failures(failures),
        failure_examples=failures[:EXAMPLES],
        exclusions=tabulate_exclusions(exclusions),
        unscored=report_tables.find_unscored(root, run, limit=EXAMPLES) if summary.unscored else [],
        rounds=tabulate_all_rounds(summary.rounds),
        trainings=describe_trainings(machine_dir(root), run),
        benchmarks=describe_benchmarks(root, run),
    )


def _summary_of(root: Root, manifest: Manifest, settings: FactorySettings) -> RunSummary:
    """The summary of a finished run, as it was written; of any other what there is so far."""
    if manifest.status == "complete":
        with suppress(ValidationError):  # one of another version is made anew
            return RunSummary.model_validate(manifest.summary)
    ended = manifest.finished_at or manifest.started_at
    seconds = (ended - manifest.started_at).total_seconds()
    return summarise_run(root, manifest, settings, calls=Calls(), seconds=seconds, exported=None)


_LEVELS = (
    (("roles", "role seeds"), ("personas", "persona seeds")),
    (("systems", "system prompts with constraints"), ("users", "simulated users")),
    (("turns", "turns of dialogues"),),
    (("responses", "responses"),),
    (("judgments", "verdicts, one a constraint"), ("reversals", "reversed constraints")),
    (("pairs", "preference pairs"),),
    (("audits", "pairs decided again"),),
)


def _levels(manifest: Manifest) -> list[list[Stage]]:
    return [
        [Stage(name, what, sum(part.rows for part in manifest.parts_of(name))) for name, what in level]
        # an import has no seeds
        for level in (_LEVELS[1:] if manifest.imported else _LEVELS)
    ]


def _all_cases(cases: Sequence[CaseCount]) -> list[tuple[int, Case, CaseCount]]:
    found = {case.case: case for case in cases}
    return [(number, case, found.get(number, CaseCount(number, 0, 0, 0, None))) for number, case in CASES.items()]
