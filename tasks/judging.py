"""Judging: a verdict for each response and triggered constraint, by code where there is a check, else by a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from models.records import Constraint, Judgment, PartRef, Response, SystemProfile, Turn, Verdict
from tasks.batch import Batch, stage_task
from tasks.voting import Case, Opinion, ask_judge

JUDGE_BY_CODE = "code"


@dataclass(frozen=True)
class TriggeredCase:
    """A response with the constraints that its query triggers, each with its place in the system prompt."""

    response: Response
    system: SystemProfile
    query: str
    triggered: list[tuple[int, Constraint]]

    def ask_about(self, constraints: Sequence[Constraint]) -> Case:
        """The response as the judge gets it, with some of its constraints."""
        return Case(self.system, self.query, self.response.text, constraints)


@stage_task(produces="judgments", version=2)
def judge_responses(batch: Batch, responses: PartRef) -> Iterator[Judgment]:
    """Decide every response, constraint by constraint (paper, section 3.2).

    Constraints with a check are decided in code. The others of a response go to the judge model in one call; where
    none is configured they stay unscored.
    """
    cases = read_cases(batch, responses)
    opinions = _ask_for_the_unchecked(batch, cases) if batch.settings.roles.judge is not None else {}
    for case in cases:
        for position, constraint in case.triggered:
            opinion = opinions.get((case.response.response_id, constraint.constraint_id))
            yield _judge(case, position, constraint, opinion)


def decide(constraint: Constraint, text: str, query: str) -> Verdict:
    """The verdict of a constraint's check on a text; ``unscored`` where there is no check."""
    if constraint.check is None:
        return "unscored"
    return "followed" if constraint.check.follows(text, query) else "violated"


def satisfaction(verdicts: Sequence[Verdict]) -> float:
    """Share of the scored verdicts that are ``followed``; 1 where nothing is scored."""
    scored = [verdict for verdict in verdicts if verdict in ("followed", "violated")]
    return scored.count("followed") / len(scored) if scored else 1.0


def read_cases(batch: Batch, responses: PartRef) -> list[TriggeredCase]:
    """The responses of a part with what they are judged by."""
    turns = {(t.dialogue_id, t.turn): t for t in batch.read_upstream(responses, "turns", Turn)}
    systems = {s.system_id: s for s in batch.read_upstream(responses, "systems", SystemProfile)}
    cases = []
    for response in batch.read(responses, Response):
        turn = turns[response.dialogue_id, response.turn]
        system, ids = systems[turn.system_id], set(turn.triggered_ids)
        triggered = [(place, item) for place, item in enumerate(system.constraints) if item.constraint_id in ids]
        cases.append(TriggeredCase(response, system, turn.query, triggered))
    return cases


def _ask_for_the_unchecked(batch: Batch, cases: Sequence[TriggeredCase]) -> dict[tuple[str, str], Opinion]:
    """The judge's opinions by response and constraint."""
    asked = [
        (case, unchecked) for case in cases if (unchecked := [item for _, item in case.triggered if item.check is None])
    ]
    answers = ask_judge(batch, [case.ask_about(unchecked) for case, unchecked in asked])
    return {
        (case.response.response_id, constraint.constraint_id): opinion
        for (case, unchecked), opinions in zip(asked, answers, strict=True)
        for constraint, opinion in zip(unchecked, opinions, strict=True)
    }


def _judge(case: TriggeredCase, position: int, constraint: Constraint, opinion: Opinion | None) -> Judgment:
    if opinion is None:
        verdict, judge, votes = decide(constraint, case.response.text, case.query), JUDGE_BY_CODE, 1
        unjudged = "no check, and no judge model is configured"
        reason = unjudged if verdict == "unscored" else "decided by the check"
    else:
        verdict, reason, judge = opinion.verdict, opinion.reason, opinion.judge
        votes = sum(opinion.split.model_dump().values())
    return Judgment(
        response_id=case.response.response_id,
        constraint_id=constraint.constraint_id,
        dialogue_id=case.response.dialogue_id,
        turn=case.response.turn,
        position=position,
        verdict=verdict,
        reason=reason,
        judge=judge,
        votes=votes,
        split=None if opinion is None else opinion.split,
    )
