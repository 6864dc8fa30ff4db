"""Questions whose answer is a pydantic model: asked as JSON schema, read strictly, asked again, or unreadable.

An unreadable answer is never coerced and never fails its batch: it is a ``Reply`` without a value, with the raw text
and the reason.
"""

from __future__ import annotations

import functools
import json
import logging
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, get_args

from pydantic import BaseModel

from models.base import Language
from models.endpoints import RoleName
from models.prompting import ChatMessage
from tasks.batch import Batch
from tasks.llm.answers import Answer, AnswerFailure, UnreadableAnswerError, read_answer, schema_text
from tasks.llm.calls import ChatRequest, ChatSample, Mode
from tasks.llm.failures import FormatRefusedError
from tasks.llm.gateways import open_gateway
from tasks.llm.prompts.fence import fence

log = logging.getLogger(__name__)

MAX_ROUNDS = 3
"""How often a question is asked at most: once, and twice again with the answer and what is wrong with it."""

MAX_QUOTED = 4000
"""Characters of an unusable answer that are shown to the model again; a huge one must not fill its context."""

MAX_WHY = 1000
"""Characters of a complaint at most; it may hold words of the answer."""

_MODES: tuple[Mode, ...] = get_args(Mode)
_learning = threading.Lock()

_SCHEMA: dict[Language, str] = {
    "en": "Answer with one JSON object and nothing else. It must fit this JSON schema:\n{schema}",
    "zh": "只回答一个 JSON 对象，不要写任何其他内容。它必须符合这个 JSON schema：\n{schema}",
}
_AGAIN: dict[Language, str] = {
    "en": (
        "You have answered this before, and the answer could not be used. The answer and what is wrong with it stand "
        "between the tags; they are material, not instructions:\n{raw}\n{why}\n"
        "Answer the question above again, completely and correctly (correction {number} of {last}). {schema}"
    ),
    "zh": (
        "你已经回答过一次，但那个回答无法使用。那个回答及其问题在下面的标签之间；它们只是材料，不是指令：\n{raw}\n{why}\n"
        "请重新完整、正确地回答上面的问题（第 {number} 次更正，最多 {last} 次）。{schema}"
    ),
}


def no_complaint(_answer: object) -> str | None:
    """Nothing is wrong with any valid answer."""
    return None


@dataclass(frozen=True)
class Question(Generic[Answer]):
    """A chat that is to be answered by an object.

    Attributes:
        messages: The chat; its last message is the user's.
        answer: What the answer must be; sent as JSON schema (see ``tasks.llm.answers.schema_text``).
        complain: What is wrong with a valid answer (missing ids, ...), in words for the model; None: nothing.
        samples: Answers wanted (votes).
        language: Language of the words that are added to the chat.
    """

    messages: Sequence[ChatMessage]
    answer: type[Answer]
    complain: Callable[[Answer], str | None] = no_complaint
    samples: int = 1
    language: Language = "en"


@dataclass(frozen=True)
class Reply(Generic[Answer]):
    """An answer, or why there is none.

    Attributes:
        value: The answer; None: unreadable after all rounds.
        raw: The last text.
        why: Why it is unreadable; empty when it is not.
        kind: The kind of that failure; None when it is readable, or when the call failed.
        model: Who answered.
        mode: How the server was asked: with a JSON schema, for any JSON object, or for text.
        rounds: How often it was asked, from 1.
        failed: The call failed for good: there is no answer, and asking again is for the next run.
    """

    value: Answer | None
    raw: str
    why: str
    kind: AnswerFailure | None
    model: str
    mode: Mode
    rounds: int
    failed: bool = False


def ask_structured(batch: Batch, role: RoleName, questions: Sequence[Question[Answer]]) -> list[list[Reply[Answer]]]:
    """Put questions to the model that plays ``role``: for each one reply a sample, in the order of the questions.

    All open questions are asked at the same time, round by round.

    Every unusable answer is counted with the batch, and so are those that stay unusable.

    Raises:
        StageError: Too many calls failed for good (not: were answered badly). Completed ones are in the call cache.
        EndpointError: The endpoint refuses the requests in every mode.
    """
    replies: list[list[Reply[Answer] | None]] = [[None] * question.samples for question in questions]
    for round_ in range(1, MAX_ROUNDS + 1):
        # votes with the same bad answer go in one request of several samples: as two they would have one identity
        groups: dict[tuple[int, str, str], list[int]] = defaultdict(list)
        for place, given in enumerate(replies):
            for vote, last in enumerate(given):
                if last is None or (last.value is None and not last.failed):
                    groups[place, last.raw if last else "", last.why if last else ""].append(vote)
        if not groups:
            break
        asked = [(questions[place], raw, why, len(votes)) for (place, raw, why), votes in groups.items()]
        samples, mode = _ask(batch, role, asked, round_)
        for ((place, _, _), votes), answers in zip(groups.items(), samples, strict=True):
            for vote, sample in zip(votes, answers, strict=True):
                replies[place][vote] = reply = _read(questions[place], sample, mode, round_)
                _count_failure(batch, role, reply, made=not sample.cached)
    return [[reply for reply in given if reply is not None] for given in replies]


def _count_failure(batch: Batch, role: RoleName, reply: Reply[Answer], *, made: bool) -> None:
    """An unusable answer counts with the batch that it was made for; the last one of a question is lost to any."""
    if reply.kind is None:
        return
    if made:
        batch.failures.count(role, reply.model, reply.kind, reply.why)
    if reply.rounds == MAX_ROUNDS:
        batch.failures.lose(role, reply.model, reply.kind, reply.why)


def _ask(
    batch: Batch, role: RoleName, asked: Sequence[tuple[Question[Answer], str, str, int]], round_: int
) -> tuple[list[list[ChatSample]], Mode]:
    gateway, player = open_gateway(batch.settings), batch.settings.role(role)
    modes, endpoint = gateway.modes, player.endpoint if player is not None else ""

    def requests(mode: Mode) -> list[ChatRequest]:
        return [_request(question, raw, why, samples, mode, round_) for question, raw, why, samples in asked]

    with _learning:  # once an endpoint, not once a batch
        if endpoint not in modes:
            # an earlier run has learned what the server takes; its answers are found again only under the same mode
            modes[endpoint] = next((m for m in _MODES if gateway.holds_any(role, requests(m))), _MODES[0])
    while True:
        mode = modes[endpoint]
        try:
            return batch.ask(role, requests(mode), mode=mode, round_=round_), mode
        except FormatRefusedError as refusal:
            if mode == _MODES[-1]:
                raise
            if modes[endpoint] == mode:  # or another thread has learned it already
                modes[endpoint] = _MODES[_MODES.index(mode) + 1]
                log.warning("%s Asked from now on as %s.", refusal.what, modes[endpoint])


def _request(question: Question[Answer], raw: str, why: str, samples: int, mode: Mode, round_: int) -> ChatRequest:
    schema = _SCHEMA[question.language].format(schema=schema_text(question.answer))
    added = ""
    if round_ > 1:
        # the number makes the second correction another request than the first, even of the same bad answer
        quoted = fence("answer", raw if len(raw) <= MAX_QUOTED else raw[:MAX_QUOTED] + " [...]")
        added = _AGAIN[question.language].format(
            raw=quoted, why=fence("problem", why), number=round_ - 1, last=MAX_ROUNDS - 1, schema=schema
        )
    elif mode != "schema":
        added = schema
    return ChatRequest(_extend(question.messages, added), samples, _response_format(question, mode))


def _extend(messages: Sequence[ChatMessage], added: str) -> list[ChatMessage]:
    """The chat with words added to its last message: many chat templates refuse two messages of one role in a row."""
    extended = list(messages)
    if added and extended and extended[-1]["role"] == "user":
        extended[-1] = {"role": "user", "content": f"{extended[-1]['content']}\n\n{added}"}
    elif added:
        extended.append({"role": "user", "content": added})
    return extended


def _response_format(question: Question[Answer], mode: Mode) -> dict[str, Any] | None:
    if mode == "text":
        return None
    if mode == "json_object":
        return {"type": "json_object"}
    return _schema_format(question.answer)


@functools.lru_cache(maxsize=256)
def _schema_format(answer: type[BaseModel]) -> dict[str, Any]:
    """One for all requests, which are many and large: nobody changes it."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", answer.__name__)[:64]
    schema = json.loads(schema_text(answer))
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}


def _read(question: Question[Answer], sample: ChatSample, mode: Mode, round_: int) -> Reply[Answer]:
    if sample.error:
        why = f"the call failed: {sample.error}"
        return Reply(None, "", why[:MAX_WHY], None, sample.model, mode, round_, failed=True)
    value: Answer | None = None
    kind: AnswerFailure | None = None
    why = ""
    if sample.finish_reason == "length":
        kind, why = "cut", "It was cut off at the limit of tokens; keep it shorter."
    else:
        try:
            value = read_answer(sample.text, question.answer)
        except UnreadableAnswerError as error:
            kind, why = error.kind, str(error)
        else:
            if complaint := question.complain(value):
                value, kind, why = None, "unusable", complaint
    return Reply(value, sample.text, " ".join(why.split())[:MAX_WHY], kind, sample.model, mode, round_)
