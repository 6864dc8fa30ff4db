"""The author model's answers as profiles: what is usable of them becomes a record, what is not is counted."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pydantic import ValidationError

from models.base import digest
from models.constraints import Check, QueryIsQuestion, QueryMentions, QuerySituation, Trigger
from models.constraints.conflicts import conflicts
from models.constraints.proposals import read_check
from models.records import Constraint, PersonaSeed, RoleSeed, SystemProfile, UserProfile
from tasks.batch import Batch
from tasks.llm.prompts import system_profile, user_profile
from tasks.llm.prompts.fence import on_one_line
from tasks.llm.prompts.system_profile import WrittenConstraint, WrittenProfile
from tasks.llm.structured import Question, ask_structured

EDGE_SHARE = 0.15
"""Share of the roles that may get a constraint on how a response starts or ends (paper, appendix)."""
ODD_SHARE = 0.05
"""Share of the roles that may get an eccentric one."""


def author_systems(batch: Batch, roles: Sequence[RoleSeed], max_words: int) -> list[SystemProfile | None]:
    """The profiles that the author writes for some roles; None where it gave nothing usable.

    Args:
        batch: The batch.
        roles: The roles.
        max_words: Length of a long answer of the policy, in words.
    """
    questions = [
        Question(
            messages=system_profile.messages(role, draw_wishes(batch.settings.seed, role, max_words)),
            answer=WrittenProfile,
            complain=system_profile.complain_in(role.language),
            language=role.language,
        )
        for role in roles
    ]
    systems: list[SystemProfile | None] = []
    for role, [reply] in zip(roles, ask_structured(batch, "author", questions), strict=True):
        system = None if reply.value is None else read_profile(batch, role, reply.value, reply.model)
        if system is None:
            batch.leave_out("failed" if reply.failed else "unreadable", "profiles")
        systems.append(system)
    return systems


def draw_wishes(seed: int, role: RoleSeed, max_words: int) -> system_profile.Wishes:
    """How many constraints a role gets, and whether rare ones are among them: drawn, as a model finds them often."""
    rng = random.Random(digest(["wishes", seed, role.role_id]))  # noqa: S311  (draws, not secrets)
    return system_profile.Wishes(
        constraints=rng.randint(system_profile.MIN_CONSTRAINTS, system_profile.MAX_CONSTRAINTS),
        max_words=max_words,
        edge=rng.random() < EDGE_SHARE,
        odd=rng.random() < ODD_SHARE,
    )


def read_profile(batch: Batch, role: RoleSeed, written: WrittenProfile, author: str) -> SystemProfile | None:
    """The profile in an answer; the questions stay those of the seed. None: no constraint of it is usable."""
    system_id = batch.row_id(role.identity())
    constraints: list[Constraint] = []
    for item in written.constraints:
        found = _read_constraint(batch, role, item, batch.row_id(system_id, len(constraints)))
        if found is None:
            batch.leave_out("unreadable_trigger", "constraints")
        elif any(_is_same(found, other) for other in constraints):
            batch.leave_out("repeated", "constraints")
        elif any(_conflict(found, other) for other in constraints):
            batch.leave_out("conflicting", "constraints")
        else:
            constraints.append(found)
    if not constraints:
        return None
    return SystemProfile(
        system_id=system_id,
        role_id=role.role_id,
        language=role.language,
        name=on_one_line(written.name),
        description=on_one_line((" " if role.language == "en" else "").join(written.description)),
        skills=[on_one_line(skill) for skill in written.skills],
        questions=role.questions,
        constraints=constraints,
        author=author,
    )


def _read_constraint(batch: Batch, role: RoleSeed, written: WrittenConstraint, constraint_id: str) -> Constraint | None:
    """A constraint; None where its trigger is none.

    One with a check reads in the check's own words: "three paragraphs" is less than what the check of paragraphs asks
    for, and a response must not be called violated for what its prompt did not say.
    """
    try:
        trigger = read_trigger(written)
    except ValidationError:
        return None
    text, kind, check = on_one_line(written.text), str(written.category), None
    if written.check is not None:
        check = _accept_check(batch, role, written, trigger)
    if check is not None:
        text = check.describe(role.language, int(constraint_id, 16) % check.phrasings)
        kind = check.kind
    return Constraint(constraint_id=constraint_id, text=text, kind=kind, trigger=trigger, check=check)


def _accept_check(batch: Batch, role: RoleSeed, written: WrittenConstraint, trigger: Trigger | None) -> Check | None:
    assert written.check is not None  # noqa: S101  (the caller has looked; narrows the type)
    if isinstance(trigger, QuerySituation):
        # code cannot tell whether the situation is there: it would call violated what was not demanded
        batch.leave_out("check_in_situation", "checks")
        return None
    check, refusal = read_check(written.check, written.text, role.language)
    if refusal is not None:
        batch.leave_out(refusal, "checks")
    return check


def read_trigger(written: WrittenConstraint) -> Trigger | None:
    """When a constraint applies; None: always.

    Raises:
        ValidationError: It applies when words are mentioned, or in a situation, and there are none.
    """
    match written.applies:
        case "mention":
            return QueryMentions(words=[on_one_line(word) for word in written.words])
        case "question":
            return QueryIsQuestion()
        case "situation":
            return QuerySituation(situation=_clause(written.situation))
    return None


def _clause(situation: str) -> str:
    """The situation as the clause that the trigger's words stand around: "When ... ," and "当...时，"."""
    text = on_one_line(situation).strip(" ,.，。;；")
    for start in ("When ", "when ", "If ", "if ", "当", "如果"):
        text = text.removeprefix(start)
    return text.removesuffix("的时候").removesuffix("时").strip()


def _is_same(one: Constraint, other: Constraint) -> bool:
    return one.text.casefold() == other.text.casefold() or (one.check is not None and one.check == other.check)


def _conflict(one: Constraint, other: Constraint) -> bool:
    return one.check is not None and other.check is not None and conflicts(one.check, other.check)


def author_users(batch: Batch, personas: Sequence[PersonaSeed]) -> list[UserProfile | None]:
    """The users that the author makes of some personas; None where it gave nothing usable."""
    questions = [
        Question(
            messages=user_profile.messages(persona),
            answer=user_profile.Character,
            complain=user_profile.complain_in(persona.language),
            language=persona.language,
        )
        for persona in personas
    ]
    users: list[UserProfile | None] = []
    for persona, [reply] in zip(personas, ask_structured(batch, "author", questions), strict=True):
        if reply.value is None:
            batch.leave_out("failed" if reply.failed else "unreadable", "profiles")
            users.append(None)
            continue
        profile = user_profile.render(reply.value, persona.language)
        users.append(
            UserProfile(
                user_id=batch.row_id(persona.model_dump()), **persona.model_dump(), profile=profile, author=reply.model
            )
        )
    return users
