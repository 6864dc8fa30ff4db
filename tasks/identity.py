"""What makes two parts the same.

A part's key is a hash of the keys of its inputs and of the settings that influence its *content*. This module says
which those are, stage by stage. These do not belong, and why:

* ``run``, ``data``: where and under which name parts are used, not what is in them.
* ``batch_size``: how work is cut. A different cut makes different parts (their inputs differ), but the
  same rows and the same calls, which the call cache answers.
* an endpoint's ``base_url``, ``api_key_env``, ``max_concurrency``, ``shared_limit``, ``timeout_s``, ``max_tries``,
  ``samples_in_one_request``, ``price_in``, ``price_out`` and ``serve``: how to reach a model, not which model it is.
  Two servers that give one name to different weights are told apart by ``identity``.
* ``budget``, ``max_failed_share``: when a run stops. What is missing from a part that lost calls is told apart by
  ``incomplete_key``.
* ``runner``: which processes make a part.
* ``export``, ``seeds.license``: exports are files for people, written anew each time, not parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from models.base import digest
from models.endpoints import RoleName
from models.records import PartRef
from models.settings import FactorySettings
from tasks.llm.prompts import (
    critic,
    judge,
    reference_response,
    rephrase,
    reversal,
    reversal_check,
    system_profile,
    triggers,
    user_profile,
    user_query,
)

# change it when a key's ingredients change; parts of older keys are then made again, calls are not
KEY_VERSION = 1


def role_identity(settings: FactorySettings, name: RoleName) -> dict[str, Any] | None:
    """Which model answers for a role, and how it samples; None where nobody does."""
    role = settings.role(name)
    if role is None:
        return None
    endpoint = settings.endpoints[role.endpoint]
    return {
        "model": endpoint.model,
        "identity": endpoint.identity,
        "temperature": role.temperature,
        "top_p": role.top_p,
        "max_tokens": role.max_tokens,
    }


def author_identity(settings: FactorySettings, *prompts: str) -> dict[str, Any] | None:
    """Who writes, and the hashes of the prompts; None without an author: no prompt has an effect then."""
    who = role_identity(settings, "author")
    return who and {**who, "prompts": prompts}


def judging_identity(settings: FactorySettings) -> dict[str, Any]:
    """Who judges what no check decides, by which prompt, with how many votes.

    Without a judge nothing but that: the prompt and the votes have no effect then, and older keys stay as they are.
    """
    who = role_identity(settings, "judge")
    if who is None:
        return {"judge": None}
    return {"judge": who, "votes": settings.judging.votes, "prompt": judge.identity()}


def refining_identity(settings: FactorySettings) -> dict[str, Any]:
    """Who rewrites what scores too low, by which prompt, how often, and who scores; nothing without a critic."""
    who = role_identity(settings, "critic")
    if who is None:
        return {}
    rules = settings.dialogues
    refining = {"critic": who, "prompt": critic.identity(), "rounds": rules.refinements, "min_score": rules.min_score}
    return {"refining": refining, "judging": judging_identity(settings)}


def playing_identity(settings: FactorySettings) -> dict[str, Any]:
    """Who plays the dialogues and by which rules; a prompt only where somebody is asked by it."""
    user = role_identity(settings, "user")
    identity = {
        "seed": settings.seed,
        "dialogues": settings.dialogues.model_dump(exclude={"refinements"}),
        "user": user and {**user, "prompts": [user_query.identity(), rephrase.identity()]},
        "responder": role_identity(settings, "responder"),
        "reminder": reference_response.identity(),
        **refining_identity(settings),
    }
    if settings.roles.judge is not None:
        identity |= {"judging": judging_identity(settings), "triggers": triggers.identity()}
    return identity


def pairing_identity(settings: FactorySettings) -> dict[str, Any]:
    """The rules of pairs; those that leave nothing out by default only where they do."""
    judging = settings.judging
    identity = settings.pairs.model_dump(exclude={"refined"} if settings.pairs.refined == "keep" else None)
    if judging.min_kappa is not None:
        identity |= {"min_kappa": judging.min_kappa, "min_calibrations": judging.min_calibrations}
    return identity


_INGREDIENTS: dict[str, Callable[[FactorySettings], dict[str, Any]]] = {
    # the seed rows themselves are hashed by the caller
    "read_roles": lambda s: {},
    "read_personas": lambda s: {},
    "import_answers": lambda s: {},
    "expand_systems": lambda s: {
        "seed": s.seed,
        "constraints": s.constraints.model_dump(),
        "author": author_identity(s, system_profile.identity()),
        # the catalogue scales lengths to what the policy may write
        "max_tokens": s.roles.policy.max_tokens,
    },
    "expand_users": lambda s: {"seed": s.seed, "author": author_identity(s, user_profile.identity())},
    "play_dialogues": playing_identity,
    "sample_responses": lambda s: {
        "seed": s.seed,
        "samples": s.samples,
        "policy": role_identity(s, "policy"),
        **refining_identity(s),
    },
    "judge_responses": judging_identity,
    "calibrate_judge": lambda s: {**judging_identity(s), "share": s.judging.calibration_share},
    "reverse_constraints": lambda s: {
        "seed": s.seed,
        "author": author_identity(s, reversal.identity(), reversal_check.identity()),
    },
    "build_pairs": pairing_identity,
    # code alone proves pairs without a judge: its key stays as it was
    "audit_pairs": lambda s: judging_identity(s) if s.roles.judge is not None else {},
    "audit_by_verdicts": lambda s: {},
    # an evaluation: the rest of it are the stages above, with other roles and other policies
    "draw_held_out": lambda s: {
        "seed": s.seed,
        "constraints": s.constraints.model_dump(),
        "max_tokens": s.roles.policy.max_tokens,
    },
    "reverse_systems": lambda s: {},
    "measure_models": lambda s: {},
    # a benchmark: its turns are hashed by the caller, what code decides depends on nothing else
    "read_benchmark": lambda s: {},
    "answer_benchmark": lambda s: {"seed": s.seed, "policy": role_identity(s, "policy")},
    "score_ifeval": lambda s: {},
    "score_multi_if": lambda s: {},
    "score_sysbench": lambda s: {**judging_identity(s), "earlier": judge.earlier_identity()},
    "measure_benchmark": lambda s: {},
}


def stage_identity(stage: str, settings: FactorySettings, *, version: int = 1) -> str:
    """The hash of everything but the inputs that a stage's content depends on.

    Args:
        stage: Name of the stage.
        settings: The settings of the run.
        version: The stage's own version; it goes up when a prompt or rule of the stage changes.
    """
    return digest([KEY_VERSION, stage, version, _INGREDIENTS[stage](settings)])


def part_key(stage: str, settings: FactorySettings, inputs: Sequence[PartRef], *extra: object, version: int = 1) -> str:
    """The key of the part that a stage makes of ``inputs``; ``extra`` is whatever else it was given."""
    return digest([stage_identity(stage, settings, version=version), [ref.key for ref in inputs], list(extra)])


def incomplete_key(key: str, lost: Sequence[str]) -> str:
    """The key of a part that calls are missing from, which failed for good; ``lost`` are their request hashes.

    What is made from such a part depends on what is missing, and nobody takes it for the whole one.
    """
    return digest([key, sorted(lost)])
