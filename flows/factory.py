"""The factory: seeds to audited preference pairs."""

from __future__ import annotations

from typing import Any, cast

from prefect import flow
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.finish import finish_run
from flows.rounds import begin_round
from flows.run import open_run
from flows.stages import (
    audit_pairs,
    build_pairs,
    calibrate_judge,
    expand_systems,
    expand_users,
    judge_responses,
    play_dialogues,
    read_personas,
    read_roles,
    reverse_constraints,
    sample_responses,
)
from models.settings import FactorySettings
from models.summary import RunSummary

# A waiting task holds a thread (FINDINGS), and a chain of batches waits: enough that late stages start early. With 256
# the peak of ten times the roles was 335 MB, with 64 it is 313.
RUNNER: TaskRunner[PrefectFuture[Any]] = cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=64))


@flow(name="factory", flow_run_name="factory {settings.run}", task_runner=RUNNER)
def factory(settings: FactorySettings, policy: str | None = None, estimates: str | None = None) -> RunSummary:
    """Seeds to audited preference pairs (paper, section 3).

    Args:
        settings: Everything the run depends on.
        policy: A finished training run in the same data folder: the next round samples from its policy.
        estimates: The run that this one is a sample of (flows/estimate.py).
    """
    settings, previous = begin_round(settings, policy)
    with open_run(settings, policy=policy, previous=previous, estimates=estimates) as run:
        roles, personas = read_roles(run), read_personas(run)
        systems, users = expand_systems(run, roles), expand_users(run, personas)
        turns = play_dialogues(run, roles, systems, personas, users)
        responses = sample_responses(run, turns)
        judgments, calibrations = judge_responses(run, responses), calibrate_judge(run, responses)
        reversals = reverse_constraints(run, systems)
        *_, sampled, judged, measured, opposed = run.collect(
            systems, users, turns, responses, judgments, calibrations, reversals
        )
        pairs = build_pairs(run, sampled, judged, opposed, measured)
        audit_pairs(run, pairs, sampled, opposed)
        return finish_run(run)
