"""How a system profile reads as a system prompt.

Sampling, judging, the audit and every export use this one function: a pair is proven under the very text that a
trainer sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypedDict

from models.base import Language
from models.constraints import render_constraint_text
from models.records import Constraint, Reversal, SystemProfile, Turn


class ChatMessage(TypedDict):
    """A message as the chat APIs and TRL take it."""

    role: Literal["system", "user", "assistant"]
    content: str


_LAYOUT: dict[Language, str] = {
    "en": "You are {name}. {description}{skills}\n\nConstraints:\n{constraints}",
    "zh": "你是{name}。{description}{skills}\n\n约束：\n{constraints}",
}
_WHOLE: dict[Language, str] = {
    "en": "{description}\n\nThe following demands hold; where the text above says otherwise, follow them and not it:\n"
    "{constraints}",
    "zh": "{description}\n\n以下要求必须遵守；若与上文有冲突，一律以这里为准：\n{constraints}",
}
"""Of a system prompt that somebody else wrote: its own demands cannot be taken out of it, but overruled."""
_SKILLS: dict[Language, str] = {"en": "\nSkills: {}.", "zh": "\n技能：{}。"}
_SEPARATOR: dict[Language, str] = {"en": ", ", "zh": "、"}


def reverse_in(constraints: Iterable[Constraint], reversals: dict[str, Reversal]) -> list[Constraint]:
    """The constraints with those in ``reversals`` (by constraint id) replaced by their opposites; triggers stay."""
    return [
        constraint.model_copy(update={"text": reversal.text, "check": reversal.check})
        if (reversal := reversals.get(constraint.constraint_id))
        else constraint
        for constraint in constraints
    ]


def constraint_line(constraint: Constraint, language: Language) -> str:
    """A constraint as the policy reads it: its trigger, then its text."""
    return render_constraint_text(constraint.text, constraint.trigger, language)


def render_system_prompt(system: SystemProfile, constraints: Iterable[Constraint] | None = None) -> str:
    """The system prompt of a profile.

    Args:
        system: The profile.
        constraints: What to demand instead of the profile's own constraints (a rewritten prompt).
    """
    chosen = system.constraints if constraints is None else constraints
    skills = _SEPARATOR[system.language].join(system.skills)
    lines = "\n".join(f"- {constraint_line(item, system.language)}" for item in chosen)
    return (_WHOLE if system.is_whole_prompt else _LAYOUT)[system.language].format(
        name=system.name,
        description=system.description,
        skills=_SKILLS[system.language].format(skills) if skills else "",
        constraints=lines,
    )


def triggered_ids(constraints: Iterable[Constraint], query: str) -> list[str]:
    """Ids of the constraints that a query triggers, as far as code can tell.

    Those are the ones without a trigger and those whose trigger fires; a situation, which no code sees, always does.
    """
    return [c.constraint_id for c in constraints if c.trigger is None or c.trigger.fires(query)]


def history_messages(system_prompt: str, earlier: Sequence[Turn], query: str) -> list[ChatMessage]:
    """The messages of a turn: system prompt, earlier queries with their reference responses, this query."""
    messages: list[ChatMessage] = [{"role": "system", "content": system_prompt}]
    for turn in earlier:
        messages.append({"role": "user", "content": turn.query})
        messages.append({"role": "assistant", "content": turn.reference})
    messages.append({"role": "user", "content": query})
    return messages
