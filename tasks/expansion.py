"""Seeds to profiles: roles get constraints, unless they bring some, and become systems, personas become users.

An author model writes them where one is configured (``tasks.authoring``). Otherwise, and where its answer is not
usable, the ``catalogue`` does: it draws from the constraint algebra, costs nothing, and its constraints are decided
exactly.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from models.base import digest
from models.constraints.draw import DrawnConstraint, draw_constraints
from models.records import FROM_SEED, Constraint, PartRef, PersonaSeed, RoleSeed, SystemProfile, UserProfile
from models.settings import FactorySettings
from tasks.authoring import author_systems, author_users
from tasks.batch import Batch, stage_task

AUTHOR = "catalogue"
GIVEN_KIND = "given"
"""Kind of a constraint that a seed brings without a check."""

# words that a model writes to a token, roughly: lengths are drawn for what the policy can reach
WORDS_PER_TOKEN = 0.7


@stage_task(produces="systems")
def expand_systems(batch: Batch, roles: PartRef) -> Iterator[SystemProfile]:
    """Role descriptions to system profiles with constraints (paper, section 3.1)."""
    seeds = batch.read(roles, RoleSeed)
    bare = [role for role in seeds if not role.constraints]
    authored: list[SystemProfile | None] = [None] * len(bare)
    if batch.settings.roles.author is not None:
        authored = author_systems(batch, bare, max_words(batch.settings))
    written = {role.role_id: system for role, system in zip(bare, authored, strict=True)}
    for role in seeds:
        yield _keep_system(batch, role) if role.constraints else written[role.role_id] or _draw_system(batch, role)


def max_words(settings: FactorySettings) -> int:
    """Words that the policy can write in an answer, roughly."""
    return int(settings.roles.policy.max_tokens * WORDS_PER_TOKEN)


def _draw_system(batch: Batch, role: RoleSeed) -> SystemProfile:
    rng = random.Random(digest([batch.settings.seed, role.role_id]))  # noqa: S311  (draws, not secrets)
    return catalogue_system(batch, role, draw_for_role(batch.settings, role, rng))


def _keep_system(batch: Batch, role: RoleSeed) -> SystemProfile:
    """A role with the constraints that it brings."""
    system_id = batch.row_id(role.identity())
    return SystemProfile(
        system_id=system_id,
        **role.profile(),
        constraints=[
            Constraint(
                constraint_id=batch.row_id(system_id, number),
                text=item.text,
                kind=item.check.kind if item.check else GIVEN_KIND,
                trigger=item.trigger,
                check=item.check,
            )
            for number, item in enumerate(role.constraints)
        ],
        author=FROM_SEED,
    )


def catalogue_system(batch: Batch, role: RoleSeed, drawn: Sequence[DrawnConstraint]) -> SystemProfile:
    """A role with constraints that the catalogue drew."""
    system_id = batch.row_id(role.identity())
    return SystemProfile(
        system_id=system_id,
        **role.profile(),
        constraints=[
            Constraint(
                constraint_id=batch.row_id(system_id, number),
                text=item.text,
                kind=item.kind,
                trigger=item.trigger,
                check=item.check,
            )
            for number, item in enumerate(drawn)
        ],
        author=AUTHOR,
    )


def draw_for_role(settings: FactorySettings, role: RoleSeed, rng: random.Random) -> list[DrawnConstraint]:
    """The constraints of a system: as many, and as long, as the settings say."""
    bounds = settings.constraints
    return draw_constraints(
        rng,
        language=role.language,
        count=rng.randint(bounds.min_per_system, bounds.max_per_system),
        max_words=max_words(settings),
        questions=role.questions,
        conditional_share=bounds.conditional_share,
    )


@stage_task(produces="users")
def expand_users(batch: Batch, personas: PartRef) -> Iterator[UserProfile]:
    """Personas to user profiles (paper, section 3.1); the catalogue takes a persona as it is."""
    seeds = batch.read(personas, PersonaSeed)
    authored: list[UserProfile | None] = [None] * len(seeds)
    if batch.settings.roles.author is not None:
        authored = author_users(batch, seeds)
    for persona, user in zip(seeds, authored, strict=True):
        yield user or _keep_persona(batch, persona)


def _keep_persona(batch: Batch, persona: PersonaSeed) -> UserProfile:
    return UserProfile(
        user_id=batch.row_id(persona.model_dump()),
        **persona.model_dump(),
        profile=persona.persona,
        author=AUTHOR,
    )
