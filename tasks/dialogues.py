"""Self-play: a user asks, a reference response continues the history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from models.prompting import history_messages, render_system_prompt
from models.records import PartRef, SystemProfile, Turn, UserProfile
from tasks.asking import ask_users
from tasks.batch import Batch, stage_task
from tasks.llm.calls import ChatRequest
from tasks.llm.prompts.reference_response import with_reminder
from tasks.playing import Dialogue, going_on, open_dialogue
from tasks.refining import refine
from tasks.scoring import Asked, Draft, Scored, draft_from, pick_best, score
from tasks.triggering import find_triggered


@stage_task(produces="turns", version=2)
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
    dialogues = []
    for place, system in enumerate(batch.read(systems, SystemProfile), start=first):
        for number in range(batch.settings.dialogues.per_system):
            of_all = place * batch.settings.dialogues.per_system + number
            dialogues.append(open_dialogue(batch, system, people[of_all % len(people)], of_all))
    for _ in range(batch.settings.dialogues.turns):
        ask_users(batch, going_on(dialogues))
        find_triggered(batch, going_on(dialogues))
        answer_with_references(batch, going_on(dialogues))
    for dialogue in dialogues:
        yield from dialogue.turns


def answer_with_references(batch: Batch, dialogues: Sequence[Dialogue]) -> None:
    """Complete the turns: the best of some reminded responses, refined where it follows too little.

    A dialogue ends before a turn for which no response is good enough.
    """
    requests = [_remind(batch, dialogue) for dialogue in dialogues]
    drafts: dict[str, list[Draft]] = {}
    for dialogue, samples in zip(dialogues, batch.ask("responder", requests), strict=True):
        drafts[dialogue.dialogue_id] = draft_from(samples)
        if not drafts[dialogue.dialogue_id]:
            dialogue.end(batch, "failed")
    answered = going_on(dialogues)
    asked = [Asked(dialogue.system, dialogue.query, dialogue.triggered) for dialogue in answered]
    of_each = [drafts[dialogue.dialogue_id] for dialogue in answered]
    bests = [pick_best(scored) for scored in score(batch, list(zip(asked, of_each, strict=True)))]
    rewrites = refine(batch, list(zip(asked, bests, strict=True)))
    for dialogue, best, rewritten in zip(answered, bests, rewrites, strict=True):
        reference = pick_best([best, *rewritten])
        if reference.score < batch.settings.dialogues.min_score:
            dialogue.end(batch, "below_min_score")
        else:
            dialogue.turns.append(_turn(dialogue, reference))


def _remind(batch: Batch, dialogue: Dialogue) -> ChatRequest:
    """The request for reference responses: the triggered constraints are repeated after the query."""
    system, triggered = dialogue.system, {item.constraint_id for item in dialogue.triggered}
    reminded = with_reminder(dialogue.query, system, triggered)
    messages = history_messages(render_system_prompt(system), dialogue.turns, reminded)
    return ChatRequest(messages=messages, samples=batch.settings.dialogues.reference_samples)


def _turn(dialogue: Dialogue, reference: Scored) -> Turn:
    return Turn(
        dialogue_id=dialogue.dialogue_id,
        turn=dialogue.number,
        system_id=dialogue.system.system_id,
        user_id=dialogue.user.user_id,
        # the clean query, without the reminder, goes into the history
        query=dialogue.query,
        triggered_ids=[item.constraint_id for item in dialogue.triggered],
        reference=reference.draft.text,
        reference_score=reference.score,
        reference_model=reference.draft.model,
        reference_origin=reference.draft.origin,
        repeats_opening=dialogue.repeats_opening,
    )
