"""Reversal: the exact opposite of every constraint."""

from __future__ import annotations

from collections.abc import Iterator

from models.base import Language
from models.records import Constraint, PartRef, Reversal, SystemProfile
from tasks.batch import Batch, stage_task

REVERSED_BY_CODE = "code"


@stage_task(produces="reversals")
def reverse_constraints(batch: Batch, systems: PartRef) -> Iterator[Reversal]:
    """Reverse the constraints of some systems: the consequent only, the trigger stays (paper, section 3.3)."""
    for system in batch.read(systems, SystemProfile):
        for constraint in system.constraints:
            yield reverse(constraint, system.system_id, system.language)


def reverse(constraint: Constraint, system_id: str, language: Language) -> Reversal:
    """The complement of a constraint's check, in words; unverified where there is no check.

    The phrasing follows from the constraint's id, so that the words are varied and the same every time.
    """
    if constraint.check is None:
        return Reversal(
            constraint_id=constraint.constraint_id,
            system_id=system_id,
            text="",
            check=None,
            method="none",
            verified=False,
        )
    opposite = constraint.check.complement()
    return Reversal(
        constraint_id=constraint.constraint_id,
        system_id=system_id,
        text=opposite.describe(language, int(constraint.constraint_id, 16) % opposite.phrasings),
        check=opposite,
        method=REVERSED_BY_CODE,
        verified=True,
    )
