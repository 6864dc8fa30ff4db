"""Refining: the critic rewrites a response that follows too little, round by round (paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

from models.records import Constraint, Verdict
from tasks.batch import Batch
from tasks.llm.prompts import critic
from tasks.llm.structured import Question, ask_structured
from tasks.scoring import Asked, Draft, Scored, pick_best, score


def refine(batch: Batch, responses: Sequence[tuple[Asked, Scored]]) -> list[list[Scored]]:
    """The rewrites of each response, in the order in which they were made.

    As long as the best of a response and its rewrites scores under ``dialogues.min_score``, that best one is rewritten
    once a round, all at the same time. Without a critic there are none.
    """
    rewrites: list[list[Scored]] = [[] for _ in responses]
    if batch.settings.roles.critic is None:
        return rewrites
    for number in range(1, batch.settings.dialogues.refinements + 1):
        bests = [pick_best([first, *made]) for (_, first), made in zip(responses, rewrites, strict=True)]
        poor = [place for place, best in enumerate(bests) if _is_mendable(batch, best)]
        if not poor:
            break
        drafts = _ask_critic(batch, [(responses[place][0], bests[place]) for place in poor], number)
        made = [(place, draft) for place, draft in zip(poor, drafts, strict=True) if draft is not None]
        scored = score(batch, [(responses[place][0], [draft]) for place, draft in made])
        for (place, _), [rewrite] in zip(made, scored, strict=True):
            rewrites[place].append(rewrite)
    return rewrites


def _is_mendable(batch: Batch, best: Scored) -> bool:
    """Whether it scores too low and something of it is known to be violated: what is unscored, nobody can mend."""
    return best.score < batch.settings.dialogues.min_score and "violated" in best.verdicts


def _ask_critic(batch: Batch, responses: Sequence[tuple[Asked, Scored]], number: int) -> list[Draft | None]:
    """One rewrite each; None where the critic gave none that can be used."""
    last = batch.settings.dialogues.refinements
    questions = []
    for asked, best in responses:
        language, text = asked.system.language, best.draft.text
        violated, followed = (_with(asked, best, verdict) for verdict in ("violated", "followed"))
        questions.append(
            Question(
                messages=critic.messages(asked.system, asked.query, text, violated, followed, (number, last)),
                answer=critic.Rewrite,
                complain=critic.complain_about(text, len(violated), language),
                language=language,
            )
        )
    drafts: list[Draft | None] = []
    for [reply] in ask_structured(batch, "critic", questions):
        if reply.value is None:
            batch.leave_out("failed" if reply.failed else "unreadable", "rewrites")
            drafts.append(None)
        else:
            drafts.append(Draft(reply.value.response.strip(), reply.model, "refined"))
    return drafts


def _with(asked: Asked, response: Scored, verdict: Verdict) -> list[Constraint]:
    """The triggered constraints on which a response has a verdict."""
    return [item for item, given in zip(asked.triggered, response.verdicts, strict=True) if given == verdict]
