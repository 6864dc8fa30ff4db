"""The command ``rpo demo``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flows.cli_factory import run_factory
from flows.cli_options import Data, Json
from flows.environment import prepare_environment
from flows.stopping import stoppable
from models.evaluation import EvaluationSettings
from models.settings import FactorySettings
from models.training import TrainingSettings


def demo(
    *,
    train: Annotated[
        bool, Parameter(negative="", help="Also train the policy on the pairs, and measure it before and after.")
    ] = False,
    data: Data = "data",
    as_json: Json = False,
) -> None:
    """Run the whole factory on the embedded model: no key, no server, no download. Minutes on two cores."""
    from models.demo import EVALUATION, FACTORY, TRAINING

    folder = {"data": data}
    settings = FACTORY.model_copy(update=folder)
    if train:
        run_demo(settings, TRAINING.model_copy(update=folder), EVALUATION.model_copy(update=folder), as_json)
    else:
        run_factory(settings, as_json)


def run_demo(
    settings: FactorySettings, training: TrainingSettings, evaluation: EvaluationSettings, as_json: bool
) -> None:
    """Factory, training and evaluation in this process, as one flow; and what they came to."""
    from tasks.training.launch import require_extra

    require_extra()
    prepare_environment(quiet=True)
    # imported here: Prefect takes seconds
    from flows.demo import demo_with_training
    from flows.terminal import out, show_next_steps, show_progress, show_summary
    from flows.terminal_evaluation import show_evaluation
    from flows.terminal_training import show_training

    with stoppable(), show_progress():
        outcome = demo_with_training(settings, training, evaluation)
    if as_json:
        print(outcome.model_dump_json())
        return
    show_summary(outcome.factory)
    out.print()
    show_training(outcome.training)
    out.print()
    show_evaluation(outcome.evaluation)
    show_next_steps(outcome.factory, settings.data)
