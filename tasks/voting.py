"""Asking the judge model: votes on each constraint of a response, and the verdict that more than half agree on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from models.base import Language
from models.prompting import ChatMessage
from models.records import Constraint, SystemProfile, Verdict, VoteSplit
from tasks.batch import Batch
from tasks.llm.prompts import judge
from tasks.llm.prompts.ids import short_ids
from tasks.llm.structured import Question, Reply, ask_structured

_SHOWN = 300
"""Characters of an unreadable answer that a reason shows."""


@dataclass(frozen=True)
class Case:
    """A response and the constraints that the judge is to decide on it."""

    system: SystemProfile
    query: str
    response: str
    constraints: Sequence[Constraint]


@dataclass(frozen=True)
class Opinion:
    """What the judge came to on one constraint."""

    verdict: Verdict
    reason: str
    judge: str
    split: VoteSplit


@dataclass(frozen=True)
class Inquiry:
    """What is put to the judge: a response with some demands."""

    messages: list[ChatMessage]
    demands: int
    language: Language


def ask_judge(batch: Batch, cases: Sequence[Case]) -> list[list[Opinion]]:
    """The judge's opinion on every constraint of every case, in their order: one call a case and vote.

    Raises:
        StageError: Calls failed for good. What cannot be read is no failure but ``unscored``.
    """
    return put_to_judge(
        batch,
        [
            Inquiry(
                judge.messages(case.system, case.query, case.response, case.constraints),
                len(case.constraints),
                case.system.language,
            )
            for case in cases
        ],
    )


def put_to_judge(batch: Batch, inquiries: Sequence[Inquiry]) -> list[list[Opinion]]:
    """The judge's opinion on every demand of every inquiry, as ``ask_judge``."""
    questions = [
        Question(
            messages=inquiry.messages,
            answer=judge.GivenVerdicts,
            complain=judge.complain_unless(inquiry.demands, inquiry.language),
            samples=batch.settings.judging.votes,
            language=inquiry.language,
        )
        for inquiry in inquiries
    ]
    replies = ask_structured(batch, "judge", questions)
    return [count_votes(inquiry.demands, given) for inquiry, given in zip(inquiries, replies, strict=True)]


def count_votes(constraints: int, replies: Sequence[Reply[judge.GivenVerdicts]]) -> list[Opinion]:
    """The opinion on each of so many constraints; a reply is a vote on all of them.

    A verdict needs more than half of all votes, the unreadable ones among them. Anything else is ``unscored``.
    """
    readable = [{item.id: item for item in reply.value.verdicts} for reply in replies if reply.value is not None]
    unreadable = [reply for reply in replies if reply.value is None]
    opinions = []
    for short in short_ids(constraints):
        given = [vote[short] for vote in readable]
        counts = Counter(item.verdict for item in given)
        winner = next((verdict for verdict, count in counts.items() if 2 * count > len(replies)), None)
        if winner is not None:
            reason = next(item.reason for item in given if item.verdict == winner)
        else:
            reason = _why_unscored(counts, unreadable, len(replies))
        split = VoteSplit(
            followed=counts["followed"],
            violated=counts["violated"],
            not_applicable=counts["not_applicable"],
            unreadable=len(unreadable),
        )
        opinions.append(Opinion(winner or "unscored", reason, replies[0].model, split))
    return opinions


def _why_unscored(counts: Counter[judge.Given], unreadable: Sequence[Reply[judge.GivenVerdicts]], votes: int) -> str:
    parts = []
    if counts:
        split = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
        parts.append(f"no majority of {votes} votes: {split}")
    if unreadable:
        raw = " ".join(unreadable[0].raw.split())
        shown = f"{raw[:_SHOWN]}..." if len(raw) > _SHOWN else raw
        parts.append(f"{len(unreadable)} of {votes} answers unreadable: {unreadable[0].why}; the answer: {shown!r}")
    return "; ".join(parts)
