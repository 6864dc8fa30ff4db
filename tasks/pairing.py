"""Pairing: every two responses to a turn that differ, in SQL over the run's parts."""

from __future__ import annotations

from collections.abc import Sequence

from models.records import Calibration, Exclusion, PartRef, SystemProfile
from storage import pairs
from tasks.batch import Batch, stage_task
from tasks.calibration import find_poor_kinds, tally_calibrations

_OF_RESPONSES = ("unjudged", "unscored", "contradicted", "same_text", "same_verdicts")
_OF_PAIRS = ("below_margin", "irreversible", "capped")


@stage_task(produces="pairs", also=("exclusions",), version=2)
def build_pairs(
    batch: Batch,
    responses: list[PartRef],
    judgments: list[PartRef],
    reversals: list[PartRef],
    calibrations: Sequence[PartRef] = (),
) -> PartRef:
    """Build the pairs of a run (paper, section 3.3): the one stage that waits for all parts before it.

    Args:
        batch: The batch.
        responses: The responses of the run.
        judgments: Their judgments.
        reversals: The reversals of the run.
        calibrations: The judge measured, where it has to pass ``judging.min_kappa``.
    """
    distrust = _distrust(batch, judgments, calibrations) if calibrations else None
    built = pairs.build_pairs(
        batch.store,
        batch.key,
        judgments=judgments,
        responses=responses,
        reversals=reversals,
        rules=batch.settings.pairs,
        distrust=distrust,
    )
    counts = built.counts.model_dump()
    of_responses = list(_OF_RESPONSES)
    if distrust is not None:
        of_responses.append("poor_judge")
    if batch.settings.pairs.refined == "drop":
        of_responses.append("refined")
    left_out = [
        Exclusion(stage=batch.stage, reason=reason, what=what, count=counts[reason])
        for what, reasons in (("responses", of_responses), ("pairs", _OF_PAIRS))
        for reason in reasons
    ]
    batch.store.write("exclusions", batch.key, left_out, inputs=[built.part])
    return built.part


def _distrust(batch: Batch, judgments: Sequence[PartRef], calibrations: Sequence[PartRef]) -> pairs.Distrust:
    systems = list(dict.fromkeys(batch.store.upstream(ref, "systems") for ref in judgments))
    kinds = {
        (constraint.kind, system.language)
        for ref in systems
        for system in batch.read(ref, SystemProfile)
        for constraint in system.constraints
        if constraint.check is None
    }
    measured = tally_calibrations(row for ref in calibrations for row in batch.read(ref, Calibration))
    return pairs.Distrust(find_poor_kinds(kinds, measured, batch.settings.judging), systems, calibrations)
