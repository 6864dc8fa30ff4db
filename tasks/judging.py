"""Judging: a verdict for each response and triggered constraint, by code where there is a check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from models.records import Constraint, Judgment, PartRef, Response, SystemProfile, Turn, Verdict
from tasks.batch import Batch, stage_task

JUDGE_BY_CODE = "code"


@stage_task(produces="judgments")
def judge_responses(batch: Batch, responses: PartRef) -> Iterator[Judgment]:
    """Decide every response, constraint by constraint (paper, section 3.2)."""
    turns = {(t.dialogue_id, t.turn): t for t in batch.read_upstream(responses, "turns", Turn)}
    systems = {s.system_id: s for s in batch.read_upstream(responses, "systems", SystemProfile)}
    for response in batch.read(responses, Response):
        turn = turns[response.dialogue_id, response.turn]
        triggered = set(turn.triggered_ids)
        for position, constraint in enumerate(systems[turn.system_id].constraints):
            if constraint.constraint_id in triggered:
                yield _judge(response, turn.query, position, constraint)


def decide(constraint: Constraint, text: str, query: str) -> Verdict:
    """The verdict of a constraint's check on a text; ``unscored`` where there is no check."""
    if constraint.check is None:
        return "unscored"
    return "followed" if constraint.check.follows(text, query) else "violated"


def satisfaction(verdicts: Sequence[Verdict]) -> float:
    """Share of the scored verdicts that are ``followed``; 1 where nothing is scored."""
    scored = [verdict for verdict in verdicts if verdict in ("followed", "violated")]
    return scored.count("followed") / len(scored) if scored else 1.0


def _judge(response: Response, query: str, position: int, constraint: Constraint) -> Judgment:
    verdict = decide(constraint, response.text, query)
    return Judgment(
        response_id=response.response_id,
        constraint_id=constraint.constraint_id,
        dialogue_id=response.dialogue_id,
        turn=response.turn,
        position=position,
        verdict=verdict,
        reason="no check, and no judge model is configured" if verdict == "unscored" else "decided by the check",
        judge=JUDGE_BY_CODE,
        votes=1,
    )
