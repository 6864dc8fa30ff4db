"""Held-out dialogues: roles, constraint texts and queries that the training run does not have, in both polarities."""

from __future__ import annotations

from collections.abc import Sequence

from flows.run import Part, Run, SeedPart
from flows.stages import store_seeds
from models.base import Language
from models.errors import SeedError
from models.evaluation import EvaluationSettings
from models.records import PartRef, RoleSeed
from storage.manifests import Manifest
from storage.trained import TrainingSet
from tasks import held_out
from tasks.seeds import read_seeds, seed_path

MIN_QUESTIONS = 3
"""Questions that a role needs, as in the seed file."""


def hold_out_roles(run: Run, settings: EvaluationSettings, trained: Manifest) -> list[SeedPart]:
    """Roles that the training run did not use, with the questions that it did not ask.

    Raises:
        SeedError: A language has none left.
    """
    path = settings.roles or run.settings.seeds.roles
    languages = list(run.settings.seeds.languages)
    seeds = read_seeds(seed_path(path), RoleSeed, languages)
    training = TrainingSet(run.store, trained.parts)
    used, asked = training.roles(), training.queries()
    known = {value for role in used for value in role}
    roles = []
    for seed in seeds:
        questions = [question for question in seed.questions if question not in asked]
        if not known & {seed.role_id, seed.name, seed.description} and len(questions) >= MIN_QUESTIONS:
            roles.append(seed.model_copy(update={"questions": questions}))
    for language in languages:
        if not any(role.language == language for role in roles):
            raise _none_left(path, language, trained.run)
    return store_seeds(run, "roles", roles, at_most=settings.systems)


def _none_left(path: str, language: Language, run: str) -> SeedError:
    return SeedError(
        f"{path} has no role in {language} that the run {run!r} has not used: nothing is left to hold out.",
        safe="Nothing was started.",
        next_step="Give a file with other roles: `--roles FILE`.",
    )


def draw_held_out(run: Run, roles: Sequence[SeedPart], trained: Manifest) -> list[Part]:
    """Held-out roles to system profiles."""
    return run.fan_out(held_out.draw_held_out, [(part.ref, _seen_constraints(trained)) for part in roles])


def reverse_systems(run: Run, systems: Sequence[Part], trained: Manifest) -> list[Part]:
    """The twin of every system, with all its constraints reversed."""
    return run.fan_out(held_out.reverse_systems, [(part, _seen_constraints(trained)) for part in systems])


def _seen_constraints(trained: Manifest) -> list[PartRef]:
    return [*trained.parts_of("systems"), *trained.parts_of("reversals")]
