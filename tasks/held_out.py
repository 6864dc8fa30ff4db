"""The held-out set: systems whose constraints training has not seen, and the twin of each with all of them reversed."""

from __future__ import annotations

import random
from collections.abc import Iterator

from models.base import Language, digest
from models.constraints import Check
from models.constraints.draw import DrawnConstraint
from models.records import Constraint, PartRef, RoleSeed, SystemProfile
from storage.outcomes import REVERSED_AUTHOR
from storage.trained import TrainingSet
from tasks.batch import Batch, stage_task
from tasks.expansion import catalogue_system, draw_for_role

MAX_DRAWS = 200
"""Sets that are drawn for a role at most; where training has seen something of each, the least seen one is taken."""


@stage_task(produces="systems")
def draw_held_out(batch: Batch, roles: PartRef, trained: list[PartRef]) -> Iterator[SystemProfile]:
    """Roles to system profiles, with constraints whose texts, and those of their opposites, training has not seen.

    Args:
        batch: The batch.
        roles: The held-out roles.
        trained: The parts with the systems and reversals of the training run.
    """
    seen = TrainingSet(batch.store, trained).constraint_texts()
    for role in batch.read(roles, RoleSeed):
        yield catalogue_system(batch, role, _draw_unseen(batch, role, seen))


@stage_task(produces="systems")
def reverse_systems(batch: Batch, systems: PartRef, trained: list[PartRef]) -> Iterator[SystemProfile]:
    """The twin of every system: each constraint replaced by its exact complement, triggers kept."""
    seen = TrainingSet(batch.store, trained).constraint_texts()
    for system in batch.read(systems, SystemProfile):
        constraints = [
            _reverse(constraint, system.language, seen, batch.row_id(constraint.constraint_id))
            for constraint in system.constraints
        ]
        yield system.model_copy(
            update={
                "system_id": batch.row_id(system.system_id),
                "constraints": constraints,
                "author": REVERSED_AUTHOR,
            }
        )


def _draw_unseen(batch: Batch, role: RoleSeed, seen: set[str]) -> list[DrawnConstraint]:
    best: list[DrawnConstraint] = []
    fewest = MAX_DRAWS * len(seen) + 1
    for number in range(MAX_DRAWS):
        rng = random.Random(digest(["held out", batch.settings.seed, role.role_id, number]))  # noqa: S311
        drawn = [_reworded(item, role.language, seen) for item in draw_for_role(batch.settings, role, rng)]
        found = sum(
            text in seen
            for item in drawn
            for text in (item.text, _word(item.check.complement(), role.language, 0, seen))
        )
        if found < fewest:
            best, fewest = drawn, found
        if not found:
            break
    return best


def _reworded(item: DrawnConstraint, language: Language, seen: set[str]) -> DrawnConstraint:
    """The constraint in other words, where training has seen these."""
    if item.text not in seen:
        return item
    return item.model_copy(update={"text": _word(item.check, language, 0, seen)})


def _word(check: Check, language: Language, first: int, seen: set[str]) -> str:
    """The check in the first phrasing that training has not seen; ``first`` where it has seen them all."""
    phrasings = [check.describe(language, (first + step) % check.phrasings) for step in range(check.phrasings)]
    return next((text for text in phrasings if text not in seen), phrasings[0])


def _reverse(constraint: Constraint, language: Language, seen: set[str], constraint_id: str) -> Constraint:
    assert constraint.check is not None  # noqa: S101  (the catalogue draws checks only)
    opposite = constraint.check.complement()
    text = _word(opposite, language, int(constraint_id, 16), seen)
    return constraint.model_copy(update={"constraint_id": constraint_id, "text": text, "check": opposite})
