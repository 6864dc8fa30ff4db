"""The demo with training: the factory, the trainer and the measurement in one flow run."""

from __future__ import annotations

from prefect import flow

from flows.cancellation import show_as_cancelled
from flows.evaluation import evaluate
from flows.factory import factory
from flows.training import train
from models.base import Strict
from models.evaluation import EvaluationSettings, EvaluationSummary
from models.settings import FactorySettings
from models.summary import RunSummary
from models.training import TrainingOutcome, TrainingSettings


class DemoOutcome(Strict):
    """What the three stages came to."""

    factory: RunSummary
    training: TrainingOutcome
    evaluation: EvaluationSummary


@flow(
    name="demo",
    flow_run_name="demo {settings.run}",
    on_cancellation=[show_as_cancelled],
    on_failure=[show_as_cancelled],
)
def demo_with_training(
    settings: FactorySettings, training: TrainingSettings, evaluation: EvaluationSettings
) -> DemoOutcome:
    """Seeds to pairs, pairs to an adapter, and the policy before and after on dialogues that neither has seen.

    Args:
        settings: The factory run.
        training: How its pairs are trained on.
        evaluation: How base and adapter are measured.
    """
    return DemoOutcome(factory=factory(settings), training=train(training), evaluation=evaluate(evaluation))
