"""The command ``rpo train``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.environment import prepare_environment
from flows.stopping import stoppable
from models.loading import describe_settings, load_as
from models.training import Method, TrainingSettings

KEYS = "`rpo train --settings` lists every key with its description."


def train(
    *,
    run: Annotated[str | None, Parameter(help="The factory run whose pairs are trained on; without it: demo.")] = None,
    data: Annotated[str | None, Parameter(help="Folder of the data, or s3://bucket/prefix.")] = None,
    method: Annotated[Method | None, Parameter(help="rpo, or one of the paper's baselines.")] = None,
    name: Annotated[str | None, Parameter(help="Name of the training run; without it RUN_METHOD.")] = None,
    config: Annotated[Path | None, Parameter(help="TOML file with the keys of --settings.")] = None,
    set_: Annotated[
        list[str] | None, Parameter(name="--set", negative="", help="KEY=VALUE, such as training.learning_rate=1e-4.")
    ] = None,
    settings: Annotated[bool, Parameter(negative="", help="List every setting with its default and meaning.")] = False,
    as_json: Annotated[
        bool, Parameter(name="--json", negative="", help="One JSON document on standard output.")
    ] = False,
) -> None:
    """Train a policy on the pairs of a finished run. The same command again goes on from the last checkpoint."""
    prepare_environment(quiet=True)
    if settings:
        from flows.terminal import show_settings

        show_settings(describe_settings(TrainingSettings), as_json)
        return
    given = {"run": run, "data": data, "training.method": method, "name": name}
    overrides = [*(set_ or []), *(f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None)]
    run_training(load_as(TrainingSettings, config, overrides=overrides, keys=KEYS), as_json)


def run_training(settings: TrainingSettings, as_json: bool) -> None:
    """Train in this process, as far as the trainer's own is not it, and show what it came to."""
    prepare_environment(quiet=True)
    # imported here: Prefect takes seconds
    from flows.terminal import show_progress
    from flows.terminal_training import show_training, show_training_next
    from flows.training import train as train_flow

    with stoppable(), show_progress():
        outcome = train_flow(settings)
    if as_json:
        print(outcome.model_dump_json())
    else:
        show_training(outcome)
        show_training_next(settings)
