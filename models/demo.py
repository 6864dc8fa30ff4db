"""The demo: settings small enough for minutes on two cores, large enough to see every table filled."""

from __future__ import annotations

from models.endpoints import Role, Roles
from models.evaluation import EvaluationSettings
from models.settings import Dialogues, FactorySettings, Seeds
from models.training import PairFilter, TrainingOptions, TrainingSettings

FACTORY = FactorySettings(
    run="demo",
    batch_size=2,
    seeds=Seeds(max_roles=4, max_personas=4),
    # the embedded model follows half of its constraints: at the paper's 0.7 hardly a dialogue would go on
    dialogues=Dialogues(turns=2, reference_samples=2, min_score=0),
    roles=Roles(policy=Role(endpoint="demo", max_tokens=72)),
)

TRAINING = TrainingSettings(
    run="demo",
    pairs=PairFilter(max_rows=32),
    training=TrainingOptions(
        epochs=1,
        learning_rate=1e-4,  # the paper's 5e-4 is for a thousand rows a step
        global_batch=4,
        # one pair at a time: nothing is padded, and two gigabytes are enough
        device_batch=1,
        max_length=640,
        gradient_checkpointing=False,
        save_steps=5,
    ),
)

EVALUATION = EvaluationSettings(run="demo", systems=3, samples=2)
