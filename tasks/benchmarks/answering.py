"""A model's answers to the turns of a benchmark, with its own history or with the one that is given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from models.benchmarks import BenchmarkTurn
from models.prompting import ChatMessage
from models.records import PartRef, Response
from tasks.batch import Batch, stage_task
from tasks.llm.calls import ChatRequest, ChatSample


@stage_task(produces="responses")
def answer_benchmark(batch: Batch, turns: PartRef) -> Iterator[Response]:
    """The policy's answer to every turn, one turn of all dialogues at a time.

    A dialogue whose history lacks an answer (its call failed for good) ends there: what follows is counted, not asked.
    """
    dialogues: dict[str, list[BenchmarkTurn]] = defaultdict(list)
    for turn in batch.read(turns, BenchmarkTurn):
        dialogues[turn.dialogue_id].append(turn)
    histories: dict[str, list[ChatMessage]] = {key: _begin(asked[0]) for key, asked in dialogues.items()}
    for place in range(max(map(len, dialogues.values()), default=0)):
        asked = [played[place] for key, played in dialogues.items() if len(played) > place and key in histories]
        requests = [ChatRequest(messages=[*histories[turn.dialogue_id], _user(turn)]) for turn in asked]
        for turn, [sample] in zip(asked, batch.ask("policy", requests), strict=True):
            if not sample.error:
                yield _response(batch, turn, sample)
            else:
                batch.leave_out("failed", "responses")
            _go_on(batch, histories, turn, dialogues[turn.dialogue_id], sample)


def _begin(first: BenchmarkTurn) -> list[ChatMessage]:
    return [] if first.system is None else [{"role": "system", "content": first.system}]


def _user(turn: BenchmarkTurn) -> ChatMessage:
    return {"role": "user", "content": turn.query}


def _go_on(
    batch: Batch,
    histories: dict[str, list[ChatMessage]],
    turn: BenchmarkTurn,
    played: Sequence[BenchmarkTurn],
    sample: ChatSample,
) -> None:
    """Continue the history of a dialogue, or end the dialogue."""
    if turn.given is None and sample.error:
        del histories[turn.dialogue_id]
        for _ in range(len(played) - played.index(turn) - 1):
            batch.leave_out("no_history", "responses")
        return
    answer: ChatMessage = {"role": "assistant", "content": sample.text if turn.given is None else turn.given}
    histories[turn.dialogue_id] += [_user(turn), answer]


def _response(batch: Batch, turn: BenchmarkTurn, sample: ChatSample) -> Response:
    return Response(
        response_id=batch.row_id(turn.dialogue_id, turn.turn, turn.model_dump_json()),
        dialogue_id=turn.dialogue_id,
        turn=turn.turn,
        sample=0,
        text=sample.text,
        model=sample.model,
        finish_reason=sample.finish_reason,
        prompt_tokens=sample.prompt_tokens,
        completion_tokens=sample.completion_tokens,
        origin="sampled",
    )
