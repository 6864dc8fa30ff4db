"""Sampling: K policy responses a turn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from models.prompting import history_messages, render_system_prompt
from models.records import PartRef, Response, SystemProfile, Turn
from tasks.batch import Batch, stage_task
from tasks.llm.calls import ChatRequest


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
    for turn, samples in zip(played, batch.ask("policy", requests), strict=True):
        for number, sample in enumerate(samples):
            yield Response(
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
