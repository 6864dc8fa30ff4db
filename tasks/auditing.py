"""The audit: every pair proven from its texts, under its rewritten prompt.

Nothing of the judging is used: the checks of the rewritten constraints decide both responses afresh, and the judge
model, given the rewritten constraints, what has no check. A pair passes if the chosen response violates nothing and
the rejected one exactly ``margin`` constraints. Where verdicts were imported, they are the truth, and of a reversed
constraint their opposite is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from models.records import Audit, Constraint, Judgment, PartRef, Response, Verdict
from storage.pair_rows import PairRow, read_pair_rows
from tasks.batch import Batch, stage_task
from tasks.judging import decide
from tasks.voting import Case, ask_judge

Wording = tuple[str, ...]
"""The texts of a rewritten prompt's constraints."""

Opinions = Mapping[tuple[str, Wording], Mapping[str, Verdict]]
"""The judge's verdicts, by constraint, on a response (its id) under a wording."""


@stage_task(produces="audits")
def audit_pairs(batch: Batch, pairs: PartRef, responses: PartRef, reversals: PartRef) -> Iterator[Audit]:
    """Audit the pairs among the responses of one part."""
    rows = read_pair_rows(batch.store, pairs, responses, reversals)
    if batch.settings.roles.judge is None:
        yield from (audit(row, {}) for row in rows)
        return
    kept = list(rows)
    opinions = _ask_for_the_unchecked(batch, kept)
    yield from (audit(row, opinions) for row in kept)


def audit(row: PairRow, opinions: Opinions) -> Audit:
    """Decide both responses of a pair under its rewritten prompt.

    Args:
        row: The pair.
        opinions: What the judge said of constraints without a check.
    """
    constraints = _triggered(row)

    def verdicts(response: Response) -> list[Verdict]:
        given = opinions.get((response.response_id, _wording(row)), {})
        return [
            decide(constraint, response.text, row.played.turn.query)
            if constraint.check is not None
            else given.get(constraint.constraint_id, "unscored")
            for constraint in constraints
        ]

    return _prove(row, verdicts(row.chosen), verdicts(row.rejected))


@stage_task(produces="audits")
def audit_by_verdicts(
    batch: Batch, pairs: PartRef, responses: PartRef, reversals: PartRef, judgments: PartRef
) -> Iterator[Audit]:
    """Audit the pairs among the responses of one part by the verdicts that were imported with them."""
    given = {(row.response_id, row.constraint_id): row.verdict for row in batch.read(judgments, Judgment)}
    for row in read_pair_rows(batch.store, pairs, responses, reversals):
        chosen, rejected = (_as_rewritten(row, response, given) for response in (row.chosen, row.rejected))
        yield _prove(row, chosen, rejected)


def _as_rewritten(row: PairRow, response: Response, given: Mapping[tuple[str, str], Verdict]) -> list[Verdict]:
    """The given verdicts on a response, as they are under the rewritten prompt."""
    verdicts = {
        c.constraint_id: given.get((response.response_id, c.constraint_id), "unscored") for c in _triggered(row)
    }
    for constraint_id in row.pair.reversed_ids:
        verdicts[constraint_id] = _OPPOSITE.get(verdicts[constraint_id], verdicts[constraint_id])
    return list(verdicts.values())


_OPPOSITE: dict[Verdict, Verdict] = {"followed": "violated", "violated": "followed"}


def _prove(row: PairRow, chosen: Sequence[Verdict], rejected: Sequence[Verdict]) -> Audit:
    """The audit of a pair by the verdicts on its two responses, under its rewritten prompt."""
    undecided = sum("unscored" in both for both in zip(chosen, rejected, strict=True))
    return Audit(
        pair_id=row.pair.pair_id,
        passed=chosen.count("violated") == 0 and rejected.count("violated") == row.pair.margin and undecided == 0,
        chosen_violated=chosen.count("violated"),
        rejected_violated=rejected.count("violated"),
        undecided=undecided,
    )


def _triggered(row: PairRow) -> list[Constraint]:
    triggered = set(row.played.turn.triggered_ids)
    return [constraint for constraint in row.constraints if constraint.constraint_id in triggered]


def _wording(row: PairRow) -> Wording:
    return tuple(constraint.text for constraint in row.constraints)


def _ask_for_the_unchecked(batch: Batch, rows: Sequence[PairRow]) -> Opinions:
    """The judge on both responses of every pair: one call for a response and a wording of its prompt."""
    cases: dict[tuple[str, Wording], Case] = {}
    for row in rows:
        unchecked = [constraint for constraint in _triggered(row) if constraint.check is None]
        system = row.played.system.model_copy(update={"constraints": row.constraints})
        for response in (row.chosen, row.rejected) if unchecked else ():
            case = Case(system, row.played.turn.query, response.text, unchecked)
            cases.setdefault((response.response_id, _wording(row)), case)
    answers = ask_judge(batch, list(cases.values()))
    return {
        key: {
            constraint.constraint_id: opinion.verdict
            for constraint, opinion in zip(case.constraints, opinions, strict=True)
        }
        for (key, case), opinions in zip(cases.items(), answers, strict=True)
    }
