"""Self-play: a user asks, a reference response continues the history."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from models.base import digest
from models.prompting import history_messages, render_system_prompt, triggered_ids
from models.records import PartRef, SystemProfile, Turn, UserProfile
from tasks.batch import Batch, stage_task
from tasks.judging import decide, satisfaction
from tasks.llm.calls import ChatRequest, ChatSample
from tasks.llm.prompts import reference_response, user_query


@dataclass
class _Dialogue:
    """A dialogue while it is played."""

    dialogue_id: str
    system: SystemProfile
    user: UserProfile
    questions: list[str]
    turns: list[Turn] = field(default_factory=list)


@stage_task(produces="turns")
def play_dialogues(batch: Batch, systems: PartRef, users: list[PartRef], first: int) -> Iterator[Turn]:
    """Play the dialogues of some systems, turn by turn (paper, section 3.1).

    Args:
        batch: The batch.
        systems: The system profiles.
        users: All parts with users of the systems' language.
        first: Place of the first system among all of its language. Systems and users are matched by place, so a
            dialogue does not depend on how work is cut into batches.
    """
    people = [user for part in users for user in batch.read(part, UserProfile)]
    dialogues = [
        _open_dialogue(batch, system, people, (first + place) * batch.settings.dialogues.per_system + number)
        for place, system in enumerate(batch.read(systems, SystemProfile))
        for number in range(batch.settings.dialogues.per_system)
    ]
    for number in range(1, batch.settings.dialogues.turns + 1):
        _play_turn(batch, dialogues, number)
    for dialogue in dialogues:
        yield from dialogue.turns


def _open_dialogue(batch: Batch, system: SystemProfile, people: list[UserProfile], place: int) -> _Dialogue:
    user = people[place % len(people)]
    rng = random.Random(digest([batch.settings.seed, system.role_id, place]))  # noqa: S311  (draws, not secrets)
    questions: list[str] = []
    while len(questions) < batch.settings.dialogues.turns:
        questions += rng.sample(system.questions, k=len(system.questions))
    space = " " if system.language == "en" else ""
    questions[0] = rng.choice(user.openings) + space + questions[0]
    return _Dialogue(batch.row_id(system.system_id, user.user_id, place), system, user, questions)


def _play_turn(batch: Batch, dialogues: list[_Dialogue], number: int) -> None:
    queries = _ask_users(batch, dialogues, number)
    requests = []
    for dialogue, query in zip(dialogues, queries, strict=True):
        system = dialogue.system
        triggered = triggered_ids(system.constraints, query)
        reminded = reference_response.with_reminder(query, system, triggered)
        messages = history_messages(render_system_prompt(system), dialogue.turns, reminded)
        requests.append(ChatRequest(messages=messages, samples=batch.settings.dialogues.reference_samples))
    answers = batch.ask("responder", requests)
    for dialogue, query, samples in zip(dialogues, queries, answers, strict=True):
        # the clean query, without the reminder, goes into the history
        dialogue.turns.append(_best_turn(dialogue, number, query, samples))


def _ask_users(batch: Batch, dialogues: list[_Dialogue], number: int) -> list[str]:
    """What the users say: the questions of the seeds, or a model's where one plays the user."""
    if batch.settings.roles.user is None:
        return [dialogue.questions[number - 1] for dialogue in dialogues]
    requests = [
        ChatRequest(messages=user_query.messages(d.system, d.user, d.turns, d.questions[number - 1])) for d in dialogues
    ]
    answers = batch.ask("user", requests)
    return [
        user_query.parse(samples[0].text) or dialogue.questions[number - 1]
        for dialogue, samples in zip(dialogues, answers, strict=True)
    ]


def _best_turn(dialogue: _Dialogue, number: int, query: str, samples: list[ChatSample]) -> Turn:
    triggered = set(triggered_ids(dialogue.system.constraints, query))
    constraints = [c for c in dialogue.system.constraints if c.constraint_id in triggered]
    scores = [satisfaction([decide(c, sample.text, query) for c in constraints]) for sample in samples]
    best = max(range(len(samples)), key=lambda index: (scores[index], -index))
    return Turn(
        dialogue_id=dialogue.dialogue_id,
        turn=number,
        system_id=dialogue.system.system_id,
        user_id=dialogue.user.user_id,
        query=query,
        triggered_ids=[c.constraint_id for c in constraints],
        reference=samples[best].text,
        reference_score=scores[best],
        reference_model=samples[best].model,
    )
