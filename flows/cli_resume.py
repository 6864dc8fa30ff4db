"""The command ``rpo resume``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli_demo import run_demo
from flows.cli_estimate import run_estimate
from flows.cli_evaluation import run_benchmark, run_evaluation
from flows.cli_factory import run_factory
from flows.cli_import_answers import run_import
from flows.cli_options import Json
from flows.cli_training import run_training
from flows.environment import prepare_environment
from flows.stopping import stoppable
from models.answers import AnswersFile
from models.evaluation import EvaluationSettings
from models.imports import ImportSettings
from models.settings import FactorySettings
from models.training import TrainingSettings

if TYPE_CHECKING:
    from flows.chain import Stage
    from flows.resume import Resumed


def resume(
    run: Annotated[
        str | None, Parameter(help="Name of the run, the training run or the evaluation; without: the last one.")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Go on with the last run that failed, crashed or was cancelled, where it ran before: by a worker, or here.

    Whatever it was: factory, import, estimate, training, evaluation. Only what is missing is made, and no completed
    call again.
    """
    prepare_environment(quiet=True)
    # imported here: Prefect takes seconds
    from flows.resume import resume_run
    from flows.terminal_operate import announce_resumed

    with stoppable():
        resumed = resume_run(run)
    if as_json and resumed.by != "this process":
        print(resumed.model_dump_json())
        return
    announce_resumed(resumed)
    if resumed.by == "this process":
        _go_on(resumed, as_json)


def _go_on(resumed: Resumed, as_json: bool) -> None:
    """The same flow in this process, as its command would begin it."""
    given = resumed.parameters
    settings = given["settings"]
    match resumed.flow:
        case "demo":
            training = TrainingSettings.model_validate(given["training"])
            run_demo(settings, training, EvaluationSettings.model_validate(given["evaluation"]), as_json)
        case "factory":
            run_factory(settings, as_json, given.get("policy"))
        case "stage":
            _make_stage(settings, given["stage"], given.get("policy"), as_json)
        case "estimate":
            run_estimate(settings, given["roles"], as_json)
        case "import":
            _import_rows(settings, as_json)
        case "import-verdicts" | "import-responses":
            answers = AnswersFile.model_validate(given["answers"])
            run_import(answers, settings, judged=resumed.flow == "import-verdicts", as_json=as_json)
        case "train":
            run_training(settings, as_json)
        case "evaluation":
            run_evaluation(settings, as_json)
        case "benchmark":
            run_benchmark(settings, as_json)


def _make_stage(settings: FactorySettings, stage: Stage, policy: str | None, as_json: bool) -> None:
    from flows.one_stage import make_stage
    from flows.terminal import out, show_progress

    with stoppable(), show_progress():
        made = make_stage(settings, stage, policy)
    if as_json:
        print(made.model_dump_json())
    else:
        out.print(f"Stage {made.stage} of run {made.run}: {made.rows} rows in {made.parts} parts.")


def _import_rows(settings: ImportSettings, as_json: bool) -> None:
    from flows.importing import import_rows
    from flows.terminal_importing import show_import

    with stoppable():
        summary = import_rows(settings)
    if as_json:
        print(summary.model_dump_json())
    else:
        show_import(summary)
