"""The commands ``rpo import verdicts``, ``rpo import responses`` and ``rpo import records``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from flows.cli_options import Json
from flows.environment import prepare_environment
from flows.stopping import stoppable
from models.answers import AnswersFile
from models.loading import load_settings
from models.settings import FactorySettings
from models.sysbench import History
from storage.roots import data_root

File = Annotated[Path, Parameter(help="JSON lines, a JSON list, CSV or Parquet.")]
Run = Annotated[str, Parameter(help="Name of the run that it becomes.")]
Data = Annotated[str | None, Parameter(help="Folder of the data, or s3://bucket/prefix.")]
Config = Annotated[Path | None, Parameter(help="Settings file; without it factory.toml, if it is there.")]
Set = Annotated[list[str] | None, Parameter(name="--set", negative="", help="KEY=VALUE, such as pairs.min_margin=2.")]


def verdicts(
    file: File,
    /,
    *,
    layout: Annotated[Literal["rpo", "sysbench"], Parameter(help="Of the file.")] = "rpo",
    history: Annotated[
        History, Parameter(help="Of sysbench: answers after the ground-truth history, or after each model's own.")
    ] = "gt",
    judge: Annotated[str, Parameter(help="Of sysbench: who gave the verdicts.")] = "gpt-4o",
    run: Run = "imported",
    data: Data = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Responses with their verdicts: constraints are reversed, pairs built, audited and exported.

    What no check decides is reversed by the settings' author; where there is none, negated as a whole.
    """
    answers = AnswersFile(path=str(file), layout=layout, history=history, judge=judge)
    run_import(answers, _settings(run, data, config, set_), judged=True, as_json=as_json)


def responses(
    file: File,
    /,
    *,
    run: Run = "imported",
    data: Data = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Responses without verdicts: judged by the checks and the settings' judge, then reversed and paired."""
    answers = AnswersFile(path=str(file))
    run_import(answers, _settings(run, data, config, set_), judged=False, as_json=as_json)


def records(
    file: File,
    /,
    *,
    run: Run = "imported",
    validation_share: Annotated[float, Parameter(help="Of training rows: share of dialogues held out.")] = 0.1,
    data: Data = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """The released RPO records: dialogues with responses and verdicts, or training rows.

    Training rows are pairs without the verdicts that they were made from: they become an export for TRL, and no run.
    """
    from storage.imports.records import tell_records

    settings = _settings(run, data, config, set_)
    if tell_records(file) == "detail":
        run_import(AnswersFile(path=str(file), layout="detail"), settings, judged=True, as_json=as_json)
        return
    from flows.terminal_answers import show_training_rows
    from flows.training_rows import import_training_rows

    imported = import_training_rows(file, settings, validation_share)
    if as_json:
        print(imported.model_dump_json())
    else:
        show_training_rows(imported)


def _settings(run: str, data: str | None, config: Path | None, set_: list[str] | None) -> FactorySettings:
    overrides = [*(set_ or []), f"run={json.dumps(run)}"]
    if data is not None:
        overrides.append(f"data={json.dumps(data)}")
    return load_settings(config, environ=os.environ, overrides=overrides)


def run_import(answers: AnswersFile, settings: FactorySettings, *, judged: bool, as_json: bool) -> None:
    """Make a run of the answers of a file in this process, and show what it came to.

    Args:
        answers: The file.
        settings: Those of the run.
        judged: The file has the verdicts.
        as_json: One JSON document on standard output.
    """
    data_root(settings.data)  # a store that cannot be used is said before Prefect starts
    prepare_environment(quiet=True)
    # imported here: Prefect takes seconds
    from flows.import_answers import import_responses, import_verdicts
    from flows.terminal import show_progress
    from flows.terminal_answers import show_answers

    with stoppable(), show_progress():
        imported = (import_verdicts if judged else import_responses)(settings, answers)
    if as_json:
        print(imported.model_dump_json())
    else:
        show_answers(imported, settings.data)
