"""Seeds to profiles: roles get constraints and become systems, personas become users.

This is the ``catalogue`` author: it draws from the constraint algebra. It costs nothing and its constraints are decided
exactly.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from models.base import digest
from models.constraints.draw import DrawnConstraint, draw_constraints
from models.records import Constraint, PartRef, PersonaSeed, RoleSeed, SystemProfile, UserProfile
from models.settings import FactorySettings
from tasks.batch import Batch, stage_task

AUTHOR = "catalogue"

# words that a model writes to a token, roughly: lengths are drawn for what the policy can reach
WORDS_PER_TOKEN = 0.7


@stage_task(produces="systems")
def expand_systems(batch: Batch, roles: PartRef) -> Iterator[SystemProfile]:
    """Role descriptions to system profiles with constraints (paper, section 3.1)."""
    for role in batch.read(roles, RoleSeed):
        yield _expand_system(batch, role)


def _expand_system(batch: Batch, role: RoleSeed) -> SystemProfile:
    rng = random.Random(digest([batch.settings.seed, role.role_id]))  # noqa: S311  (draws, not secrets)
    return catalogue_system(batch, role, draw_for_role(batch.settings, role, rng))


def catalogue_system(batch: Batch, role: RoleSeed, drawn: Sequence[DrawnConstraint]) -> SystemProfile:
    """A role with constraints that the catalogue drew."""
    system_id = batch.row_id(role.model_dump())
    return SystemProfile(
        system_id=system_id,
        **role.model_dump(),
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
        max_words=int(settings.roles.policy.max_tokens * WORDS_PER_TOKEN),
        questions=role.questions,
        conditional_share=bounds.conditional_share,
    )


@stage_task(produces="users")
def expand_users(batch: Batch, personas: PartRef) -> Iterator[UserProfile]:
    """Personas to user profiles; the catalogue takes a persona as it is."""
    for persona in batch.read(personas, PersonaSeed):
        yield UserProfile(
            user_id=batch.row_id(persona.model_dump()),
            **persona.model_dump(),
            profile=persona.persona,
            author=AUTHOR,
        )
