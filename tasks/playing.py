"""A dialogue while it is played: who talks, what was said, and the draws that belong to it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from models.base import digest
from models.records import Constraint, SystemProfile, Turn, UserProfile
from tasks.batch import Batch


@dataclass
class Dialogue:
    """A dialogue in progress.

    Attributes:
        dialogue_id: Its id.
        system: Who the user talks to.
        user: Who asks.
        opening: What the scripted user says before the first question.
        questions: The questions of the role's seed, one for each turn.
        origin: What its draws depend on: not on models, nor on how work is cut into batches.
        turns: The turns that are complete.
        query: What the user says at the turn that is being played.
        repeats_opening: Whether that begins like an earlier query.
        triggered: The constraints that it triggers.
        ended: Whether it ended early: no turn follows.
    """

    dialogue_id: str
    system: SystemProfile
    user: UserProfile
    opening: str
    questions: list[str]
    origin: list[object]
    turns: list[Turn] = field(default_factory=list)
    query: str = ""
    repeats_opening: bool = False
    triggered: list[Constraint] = field(default_factory=list)
    ended: bool = False

    @property
    def number(self) -> int:
        """Number of the turn that is being played."""
        return len(self.turns) + 1

    @property
    def question(self) -> str:
        """The seed's question for this turn."""
        return self.questions[self.number - 1]

    @property
    def scripted_query(self) -> str:
        """What is asked at this turn where no model plays the user."""
        if self.turns:
            return self.question
        return self.opening + (" " if self.system.language == "en" else "") + self.question

    def draw(self, what: str) -> random.Random:
        """A generator for the draws of this turn."""
        return random.Random(digest([what, *self.origin, self.number]))  # noqa: S311  (draws, not secrets)

    def end(self, batch: Batch, reason: str) -> None:
        """The dialogue ends before this turn, and that is counted."""
        self.ended = True
        batch.leave_out(reason, "dialogues")


def open_dialogue(batch: Batch, system: SystemProfile, user: UserProfile, place: int) -> Dialogue:
    """A dialogue before its first turn; ``place`` is its place among all of its language."""
    origin = [batch.settings.seed, system.role_id, place]
    rng = random.Random(digest(origin))  # noqa: S311  (draws, not secrets)
    questions: list[str] = []
    while len(questions) < batch.settings.dialogues.turns:
        questions += rng.sample(system.questions, k=len(system.questions))
    opening = rng.choice(user.openings)
    dialogue_id = batch.row_id(system.system_id, user.user_id, place)
    return Dialogue(dialogue_id, system, user, opening, questions, [*origin])


def going_on(dialogues: Iterable[Dialogue]) -> list[Dialogue]:
    """The dialogues that have not ended."""
    return [dialogue for dialogue in dialogues if not dialogue.ended]
