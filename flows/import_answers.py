"""Answers that others sampled, with or without verdicts, through the factory's last stages to audited pairs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from prefect import flow

from flows.chain import Chain, Stage
from flows.factory import RUNNER
from flows.finish import finish_run
from flows.report.publishing import publish_report, report_failure
from flows.run import Run, open_run
from models.answers import AnswersFile
from models.base import Strict
from models.records import Exclusion, PartRef
from models.settings import FactorySettings
from models.summary import RunSummary
from storage.imports.details import read_details
from storage.imports.dialogue_rows import Found, RowCounts, read_dialogues
from storage.imports.report import open_report, report_path
from storage.imports.sysbench import read_sysbench
from storage.manifests import ImportedFrom
from storage.roots import data_root, machine_dir
from storage.summary import count_alone
from tasks.entering import STAGE, enter_dialogues, group_by_system
from tasks.identity import part_key


class AnswersSummary(Strict):
    """What became of the rows of a file, and of the run that they made."""

    rows: int
    passed_over: int
    """Rows that were not asked for."""
    refused: dict[str, int]
    """By reason."""
    report: str
    """File with a line for each refused row."""
    alone: int
    """Responses that no other one shares the history with: they make no pairs."""
    stand_ins: int
    """Turns whose history has an answer that is not in the file: a response stands in for it."""
    summary: RunSummary


@flow(
    name="import-verdicts",
    flow_run_name="import-verdicts {settings.run}",
    task_runner=RUNNER,
    on_failure=[report_failure],
)
def import_verdicts(settings: FactorySettings, answers: AnswersFile) -> AnswersSummary:
    """Responses with their verdicts to audited pairs: reversed, paired, and proven with the verdicts as truth.

    Args:
        settings: Everything the run depends on; of the roles only an author is asked, where there is one.
        answers: The file.
    """
    return _import(settings, answers, judged=True)


@flow(
    name="import-responses",
    flow_run_name="import-responses {settings.run}",
    task_runner=RUNNER,
    on_failure=[report_failure],
)
def import_responses(settings: FactorySettings, answers: AnswersFile) -> AnswersSummary:
    """Responses to audited pairs: judged by the checks and the judge, then as those of the factory.

    Args:
        settings: Everything the run depends on; of the roles only author and judge are asked, where there are any.
        answers: The file.
    """
    return _import(settings, answers, judged=False)


def _import(settings: FactorySettings, answers: AnswersFile, *, judged: bool) -> AnswersSummary:
    path = report_path(machine_dir(settings.data), settings.run)
    with open_report(path) as report:
        counts = RowCounts(partial(report.add, "refused"))
        found = _read(answers, settings, counts, judged=judged)
        # all of the file is read by now, and no run of that name begun anew
        first = next(found, None)
        if first is None:
            raise counts.nothing_in(Path(answers.path))
        with open_run(settings, imported=_source(answers, judged=judged)) as run:
            given = _enter(run, chain([first], found), counts, judged=judged)
            _account_for(run, counts)
            Chain(run, given).make("audit_pairs")
            summary = finish_run(run)
    publish_report(settings.data, settings.run)
    return AnswersSummary(
        rows=counts.rows,
        passed_over=counts.passed_over,
        refused=dict(counts.refused),
        report=str(path),
        alone=count_alone(data_root(settings.data), settings.run),
        stand_ins=counts.stand_ins,
        summary=summary,
    )


def _source(answers: AnswersFile, *, judged: bool) -> ImportedFrom:
    return ImportedFrom(
        file=Path(answers.path).name,
        layout=answers.layout,
        history=answers.history if answers.layout == "sysbench" else None,
        verdicts=judged,
    )


def _read(answers: AnswersFile, settings: FactorySettings, counts: RowCounts, *, judged: bool) -> Iterator[Found]:
    scratch = machine_dir(settings.data) / "tmp"
    match answers.layout:
        case "sysbench":
            return read_sysbench(answers, scratch, counts)
        case "detail":
            return group_by_system(read_details(answers, counts), scratch)
        case "rpo":
            return group_by_system(read_dialogues(answers, counts, judged=judged), scratch)


def _enter(run: Run, found: Iterator[Found], counts: RowCounts, *, judged: bool) -> dict[Stage, list[PartRef]]:
    """The parts of the imported dialogues, by the stages that would have made them."""
    given: dict[Stage, list[PartRef]] = {
        stage: [] for stage in ("expand_systems", "expand_users", "play_dialogues", "sample_responses")
    }
    if judged:
        given |= {"judge_responses": [], "calibrate_judge": []}
    for entered in enter_dialogues(run.store, run.settings, found, counts, judged=judged):
        given["expand_systems"].append(entered.systems)
        given["expand_users"].append(entered.users)
        given["play_dialogues"].append(entered.turns)
        given["sample_responses"].append(entered.responses)
        if entered.judgments:
            given["judge_responses"].append(entered.judgments)
    return given


def _account_for(run: Run, counts: RowCounts) -> None:
    """The refused rows among what the run left out."""
    refused = sorted(counts.refused.items())
    if not refused:
        return
    key = part_key(STAGE, run.settings, [], "refused", refused)
    rows = [Exclusion(stage=STAGE, reason=reason, what="rows", count=count) for reason, count in refused]
    run.book.add([run.store.find("exclusions", key) or run.store.write("exclusions", key, rows)])
