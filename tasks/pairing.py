"""Pairing: every two responses to a turn that differ, in SQL over the run's parts."""

from __future__ import annotations

from models.records import Exclusion, PartRef
from storage import pairs
from tasks.batch import Batch, stage_task

_OF_RESPONSES = ("unjudged", "unscored", "contradicted", "same_text", "same_verdicts")
_OF_PAIRS = ("below_margin", "irreversible", "capped")


@stage_task(produces="pairs", also=("exclusions",))
def build_pairs(batch: Batch, responses: list[PartRef], judgments: list[PartRef], reversals: list[PartRef]) -> PartRef:
    """Build the pairs of a run (paper, section 3.3): the one stage that waits for all parts before it."""
    built = pairs.build_pairs(
        batch.store,
        batch.key,
        judgments=judgments,
        responses=responses,
        reversals=reversals,
        rules=batch.settings.pairs,
    )
    counts = built.counts.model_dump()
    left_out = [
        Exclusion(stage=batch.stage, reason=reason, what=what, count=counts[reason])
        for what, reasons in (("responses", _OF_RESPONSES), ("pairs", _OF_PAIRS))
        for reason in reasons
    ]
    batch.store.write("exclusions", batch.key, left_out, inputs=[built.part])
    return built.part
