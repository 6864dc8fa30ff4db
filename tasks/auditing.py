"""The audit: every pair proven from its texts, under its rewritten prompt.

Nothing of the judging is used: the checks of the rewritten constraints decide both responses afresh. A pair passes if
the chosen response violates nothing and the rejected one exactly ``margin`` constraints.
"""

from __future__ import annotations

from collections.abc import Iterator

from models.records import Audit, PartRef, Response
from storage.pair_rows import PairRow, read_pair_rows
from tasks.batch import Batch, stage_task
from tasks.judging import decide


@stage_task(produces="audits")
def audit_pairs(batch: Batch, pairs: PartRef, responses: PartRef, reversals: PartRef) -> Iterator[Audit]:
    """Audit the pairs among the responses of one part."""
    for row in read_pair_rows(batch.store, pairs, responses, reversals):
        yield audit(row)


def audit(row: PairRow) -> Audit:
    """Decide both responses of a pair under its rewritten prompt."""
    triggered = set(row.played.turn.triggered_ids)
    constraints = [c for c in row.constraints if c.constraint_id in triggered]

    def verdicts(response: Response) -> list[str]:
        return [decide(constraint, response.text, row.played.turn.query) for constraint in constraints]

    chosen, rejected = verdicts(row.chosen), verdicts(row.rejected)
    undecided = chosen.count("unscored")
    return Audit(
        pair_id=row.pair.pair_id,
        passed=chosen.count("violated") == 0 and rejected.count("violated") == row.pair.margin and undecided == 0,
        chosen_violated=chosen.count("violated"),
        rejected_violated=rejected.count("violated"),
        undecided=undecided,
    )
