"""Sampling: K policy responses a turn, and rewrites by the critic where even the best follows too little."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from models.prompting import history_messages, render_system_prompt
from models.records import PartRef, Response, SystemProfile, Turn
from tasks.batch import Batch, stage_task
from tasks.llm.calls import ChatRequest, ChatSample
from tasks.refining import refine
from tasks.scoring import Asked, Scored, draft_from, pick_best, score


@stage_task(produces="responses")
def sample_responses(batch: Batch, turns: PartRef) -> Iterator[Response]:
    """Sample the policy on every turn, after the history of reference responses (paper, section 3.2)."""
    systems = {s.system_id: s for s in batch.read_upstream(turns, "systems", SystemProfile)}
    dialogues: dict[str, list[Turn]] = defaultdict(list)
    for turn in batch.read(turns, Turn):
        dialogues[turn.dialogue_id].append(turn)
    played = [turn for dialogue in dialogues.values() for turn in dialogue]
    requests = []
    for turn in played:
        earlier = dialogues[turn.dialogue_id][: turn.turn - 1]
        messages = history_messages(render_system_prompt(systems[turn.system_id]), earlier, turn.query)
        requests.append(ChatRequest(messages=messages, samples=batch.settings.samples))
    answers = batch.ask("policy", requests)
    asked = [_asked(turn, systems[turn.system_id]) for turn in played]
    rewrites = _refine_the_best(batch, asked, answers)
    for turn, samples, rewritten in zip(played, answers, rewrites, strict=True):
        for number, sample in enumerate(samples):
            if sample.error:
                batch.leave_out("failed", "responses")
            else:
                yield _sampled(batch, turn, number, sample)
        for number, rewrite in enumerate(rewritten, start=len(samples)):
            yield _refined(batch, turn, number, rewrite)


def _asked(turn: Turn, system: SystemProfile) -> Asked:
    triggered = set(turn.triggered_ids)
    return Asked(system, turn.query, [item for item in system.constraints if item.constraint_id in triggered])


def _refine_the_best(
    batch: Batch, asked: Sequence[Asked], answers: Sequence[Sequence[ChatSample]]
) -> list[list[Scored]]:
    """The rewrites of each turn's best response; none without a critic, and then nothing is scored either."""
    rewrites: list[list[Scored]] = [[] for _ in asked]
    if batch.settings.roles.critic is None:
        return rewrites
    answered = [place for place, samples in enumerate(answers) if draft_from(samples)]
    scored = score(batch, [(asked[place], draft_from(answers[place])) for place in answered])
    bests = [(asked[place], pick_best(responses)) for place, responses in zip(answered, scored, strict=True)]
    for place, rewritten in zip(answered, refine(batch, bests), strict=True):
        rewrites[place] = rewritten
    return rewrites


def _sampled(batch: Batch, turn: Turn, number: int, sample: ChatSample) -> Response:
    return Response(
        response_id=batch.row_id(turn.dialogue_id, turn.turn, number),
        dialogue_id=turn.dialogue_id,
        turn=turn.turn,
        sample=number,
        text=sample.text,
        model=sample.model,
        finish_reason=sample.finish_reason,
        prompt_tokens=sample.prompt_tokens,
        completion_tokens=sample.completion_tokens,
        origin="sampled",
    )


def _refined(batch: Batch, turn: Turn, number: int, rewrite: Scored) -> Response:
    return Response(
        response_id=batch.row_id(turn.dialogue_id, turn.turn, number),
        dialogue_id=turn.dialogue_id,
        turn=turn.turn,
        sample=number,
        text=rewrite.draft.text,
        model=rewrite.draft.model,
        # a rewrite that was cut is no readable answer of the critic
        finish_reason="stop",
        prompt_tokens=0,
        completion_tokens=0,
        origin="refined",
    )
