"""Scoring: which share of its constraints a response follows, before there are judgments of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.records import Constraint, Origin, SystemProfile, Verdict
from tasks.batch import Batch
from tasks.judging import decide
from tasks.llm.calls import ChatSample
from tasks.voting import Case, ask_judge


@dataclass(frozen=True)
class Asked:
    """A query, and what a response to it has to keep to."""

    system: SystemProfile
    query: str
    triggered: Sequence[Constraint]


@dataclass(frozen=True)
class Draft:
    """A response that may be chosen, or rewritten."""

    text: str
    model: str
    origin: Origin


def draft_from(samples: Sequence[ChatSample]) -> list[Draft]:
    """The samples of a request as drafts, without those whose call failed."""
    return [Draft(sample.text, sample.model, "sampled") for sample in samples if not sample.error]


@dataclass(frozen=True)
class Scored:
    """A response with the verdicts on the triggered constraints, in their order."""

    draft: Draft
    verdicts: Sequence[Verdict]
    score: float


def score(batch: Batch, answered: Sequence[tuple[Asked, Sequence[Draft]]]) -> list[list[Scored]]:
    """Decide the responses to each query, by code where there is a check and else by the judge.

    The judge is asked as ``tasks.judging`` asks it: where a response is judged later, the call cache has the answer.
    Without a judge, what has no check does not count.
    """
    drafts = [(asked, draft) for asked, group in answered for draft in group]
    has_judge = batch.settings.roles.judge is not None
    opinions = _ask_for_the_unchecked(batch, drafts) if has_judge else {}
    scored = []
    for place, (asked, draft) in enumerate(drafts):
        given = opinions.get(place, {})
        verdicts = [
            given[item.constraint_id] if item.constraint_id in given else decide(item, draft.text, asked.query)
            for item in asked.triggered
        ]
        decided = verdicts if has_judge else [verdict for verdict in verdicts if verdict != "unscored"]
        scored.append(Scored(draft, verdicts, share_followed(decided)))
    each = iter(scored)
    return [[next(each) for _ in group] for _, group in answered]


def share_followed(verdicts: Sequence[Verdict]) -> float:
    """Share of the verdicts that are ``followed``; ``not_applicable`` demands nothing. 1 where nothing is demanded.

    An unscored one counts as not followed: a response that the judge cannot read must not win for it.
    """
    demanded = [verdict for verdict in verdicts if verdict != "not_applicable"]
    return demanded.count("followed") / len(demanded) if demanded else 1.0


def pick_best(scored: Sequence[Scored]) -> Scored:
    """The response with the highest score, the first of equals; an empty one only where all are."""
    return max(scored, key=lambda item: (bool(item.draft.text.strip()), item.score))


def _ask_for_the_unchecked(batch: Batch, drafts: Sequence[tuple[Asked, Draft]]) -> dict[int, dict[str, Verdict]]:
    """The judge's verdicts by place and constraint."""
    cases = {
        place: Case(asked.system, asked.query, draft.text, unchecked)
        for place, (asked, draft) in enumerate(drafts)
        if (unchecked := [item for item in asked.triggered if item.check is None])
    }
    return {
        place: {item.constraint_id: opinion.verdict for item, opinion in zip(case.constraints, opinions, strict=True)}
        for (place, case), opinions in zip(cases.items(), ask_judge(batch, list(cases.values())), strict=True)
    }
