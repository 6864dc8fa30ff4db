"""Reversal: the exact opposite of every constraint, by code where there is a check, else by the author.

Without an author a constraint that no check decides is negated as a whole: the reply has to break it. That is its exact
opposite whatever it says, if not what a person would write.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from models.base import Language
from models.records import FROM_SEED, Constraint, PartRef, Reversal, RoleSeed, SystemProfile
from tasks.batch import Batch, stage_task
from tasks.llm.prompts import reversal as prompt
from tasks.llm.prompts import reversal_check
from tasks.llm.prompts.fence import on_one_line
from tasks.llm.structured import Question, ask_structured

REVERSED_BY_CODE = "code"
NEGATED = "negation"

_NEGATIONS: dict[Language, tuple[str, ...]] = {
    "en": (
        "Break this demand: “{text}”",
        "Your response must not meet the following demand: “{text}”",
        "Make sure that your response violates this: “{text}”",
    ),
    "zh": (
        "请违反这条要求：“{text}”",
        "你的回复不得满足以下要求：“{text}”",
        "请确保你的回复不符合这条要求：“{text}”",
    ),
}

MAX_TRIES = 3
"""Opposites that the author writes of a constraint at most: one, and two more with what was wrong with those before."""


@stage_task(produces="reversals")
def reverse_constraints(batch: Batch, systems: PartRef) -> Iterator[Reversal]:
    """Reverse the constraints of some systems: the consequent only, the trigger stays (paper, section 3.3).

    An opposite that the author cannot get right is kept unverified: pairs that need it are not made, and counted.
    """
    profiles = batch.read(systems, SystemProfile)
    drafts: dict[str, Draft] = {}
    if batch.settings.roles.author is not None:
        given = _given_opposites(batch, systems, profiles)
        drafts = {
            constraint.constraint_id: Draft(constraint, system.language, given.get(constraint.constraint_id, ""))
            for system in profiles
            for constraint in system.constraints
            if constraint.check is None
        }
        _write_opposites(batch, list(drafts.values()))
    for system in profiles:
        for constraint in system.constraints:
            draft = drafts.get(constraint.constraint_id)
            yield draft.finish(system.system_id) if draft else reverse(constraint, system.system_id, system.language)


def _given_opposites(batch: Batch, systems: PartRef, profiles: Sequence[SystemProfile]) -> dict[str, str]:
    """The opposites that came with the roles, by constraint id: drafts, for nobody has verified them."""
    if not any(system.author == FROM_SEED for system in profiles):
        return {}
    roles = {role.role_id: role for role in batch.read_upstream(systems, "roles", RoleSeed)}
    return {
        constraint.constraint_id: item.opposite
        for system in profiles
        if system.author == FROM_SEED
        for constraint, item in zip(system.constraints, roles[system.role_id].constraints, strict=True)
        if item.opposite
    }


def reverse(constraint: Constraint, system_id: str, language: Language) -> Reversal:
    """The complement of a constraint's check, in words; the negation of the whole where there is no check.

    The phrasing follows from the constraint's id, so that the words are varied and the same every time.
    """
    number = int(constraint.constraint_id, 16)
    if constraint.check is None:
        phrasings, opposite, method = _NEGATIONS[language], None, NEGATED
        text = phrasings[number % len(phrasings)].format(text=constraint.text)
    else:
        opposite, method = constraint.check.complement(), REVERSED_BY_CODE
        text = opposite.describe(language, number % opposite.phrasings)
    return Reversal(
        constraint_id=constraint.constraint_id,
        system_id=system_id,
        text=text,
        check=opposite,
        method=method,
        verified=True,
    )


@dataclass
class Draft:
    """An opposite while the author works on it."""

    constraint: Constraint
    language: Language
    text: str = ""
    author: str = FROM_SEED
    verified: bool = False
    tried: list[tuple[str, str]] = field(default_factory=list)
    """Opposites that were refused, each with the counterexample."""

    def finish(self, system_id: str) -> Reversal:
        """The record of the last opposite."""
        return Reversal(
            constraint_id=self.constraint.constraint_id,
            system_id=system_id,
            text=self.text,
            check=None,
            method=self.author,
            verified=self.verified,
        )


def _write_opposites(batch: Batch, drafts: list[Draft]) -> None:
    """Have opposites written and verified, all open ones at once, until they are right or the tries are used up."""
    for _ in range(MAX_TRIES):
        missing = [draft for draft in drafts if not draft.verified]
        if not missing:
            return
        untried = [draft for draft in missing if draft.text and not draft.tried]
        _verify(batch, untried + _write(batch, [draft for draft in missing if draft.tried or not draft.text]))
    for draft in drafts:
        if not draft.verified:
            batch.leave_out("irreversible", "constraints")


def _write(batch: Batch, drafts: list[Draft]) -> list[Draft]:
    """One opposite each; returns those that got one."""
    questions = [
        Question(
            messages=prompt.messages(draft.constraint, draft.language, draft.tried),
            answer=prompt.Opposite,
            complain=prompt.complain_about(draft.constraint, draft.language),
            language=draft.language,
        )
        for draft in drafts
    ]
    written = []
    for draft, [reply] in zip(drafts, ask_structured(batch, "author", questions), strict=True):
        draft.author = reply.model
        if reply.value is not None:
            draft.text = on_one_line(reply.value.opposite)
            written.append(draft)
    return written


def _verify(batch: Batch, drafts: list[Draft]) -> None:
    """The second question: does every possible response follow exactly one of the two?"""
    questions = [
        Question(
            messages=reversal_check.messages(draft.constraint, draft.text, draft.language),
            answer=reversal_check.Exactness,
            complain=reversal_check.complain,
            language=draft.language,
        )
        for draft in drafts
    ]
    for draft, [reply] in zip(drafts, ask_structured(batch, "author", questions), strict=True):
        if reply.value is None:
            draft.tried.append((draft.text, "nobody could say whether it is exact"))
            continue
        wrong = reversal_check.objection(reply.value)
        draft.verified = not wrong
        if wrong:
            draft.tried.append((draft.text, wrong))
