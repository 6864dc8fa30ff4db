"""What is asked of a model and what comes back: the request, its identity, and how an answer is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from models.base import digest
from models.endpoints import Endpoint, Role
from models.prompting import ChatMessage

# Raise it only when the meaning of a hash changes: every stored answer is forgotten then.
HASH_VERSION = 1

ResponseFormat = Mapping[str, Any]

Mode = Literal["schema", "json_object", "text"]
"""How a server is asked for an object: with a JSON schema, for any JSON object, or for text; from best to worst."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat to be continued, ``samples`` times.

    Attributes:
        messages: The chat.
        samples: Answers wanted.
        response_format: What the API's field of that name says of the answer (a JSON schema, ...); None: any text.
    """

    messages: Sequence[ChatMessage]
    samples: int = 1
    response_format: ResponseFormat | None = None


FailureKind = Literal["rate_limit", "server_error", "timeout", "connection", "malformed", "too_long"]
"""Why an attempt failed: 429; 408, 409 or 5xx; no answer in time; refused or dropped; 200 with something else; a
prompt that does not fit into the model's context."""


class Failure(NamedTuple):
    """One attempt that failed; ``why`` is for a person, without the key."""

    kind: FailureKind
    why: str


@dataclass(frozen=True, slots=True)
class ChatSample:
    """One answer, or why there is none.

    Attributes:
        text: The answer; empty when ``error`` is set.
        finish_reason: What the server said: ``stop``, ``length``, ...; ``error`` when there is no answer.
        prompt_tokens: Tokens in; of an n-request only its first sample counts them, as they are paid once.
        completion_tokens: Tokens out; of an n-request the total, shared out by length of text. 0 of a text: the server
            has not counted.
        seconds: From request to answer of the attempt that succeeded; all samples of an n-request have the same.
        tries: Attempts that it took.
        cached: Nothing was paid for it this time: it was stored, or the same question was asked at the same time.
        error: Why there is no answer; errors are never stored.
        error_kind: The kind of the last failure then.
        failures: The attempts that failed, on the first sample of a request only; none of a stored answer.
    """

    text: str
    finish_reason: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    tries: int
    cached: bool
    request_hash: str
    error: str | None = None
    error_kind: FailureKind | None = None
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice of a server's answer, read and checked."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


class MalformedAnswerError(Exception):
    """The server said 200 and something that is not an answer; worth asking again."""


def hash_requests(
    role: Role,
    endpoint: Endpoint,
    messages: Sequence[ChatMessage],
    samples: int,
    seed: int,
    response_format: ResponseFormat | None = None,
) -> list[str]:
    """The identity of each sample of a request: its key in the call cache.

    Part of it: the model and the endpoint's ``identity``, the messages, the sampling, the settings' seed, the number
    of the sample, and the response format where there is one. Not part of it: the address (a server may move),
    concurrency, time-outs and retries (they do not change an answer), prices, and the role's name (two roles that ask
    one model the same may share the answer).
    """
    sampling = [role.temperature, role.top_p, role.max_tokens]
    identity = [HASH_VERSION, endpoint.model, endpoint.identity, list(messages), sampling, seed]
    if response_format is not None:
        # as text: the order of a schema's keys is the order in which a model writes them
        identity.append(json.dumps(response_format))
    prefix = digest(identity)
    return [digest([prefix, sample]) for sample in range(samples)]


def request_body(
    role: Role,
    endpoint: Endpoint,
    messages: Sequence[ChatMessage],
    hashes: list[str],
    response_format: ResponseFormat | None = None,
) -> dict[str, Any]:
    """The body that asks for the samples with these hashes.

    The seed comes from the first hash, which holds the settings' seed: a deterministic server answers alike again.
    """
    body = {
        "model": endpoint.model,
        "messages": [{"role": m["role"], "content": clean_text(m["content"])} for m in messages],
        "temperature": role.temperature,
        "top_p": role.top_p,
        "max_tokens": role.max_tokens,
        "n": len(hashes),
        "seed": int(hashes[0][:8], 16) & 0x7FFFFFFF,
    }
    return body if response_format is None else {**body, "response_format": response_format}


def read_choices(body: object, n: int, max_tokens: int) -> list[Choice]:
    """The ``n`` choices of a chat completion.

    Raises:
        MalformedAnswerError: There are fewer, or something in them is not what the API promises.
    """
    if not isinstance(body, dict):
        raise MalformedAnswerError("the answer is not a JSON object")
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        said = f", but an error: {json.dumps(body['error'], ensure_ascii=False)[:300]}" if body.get("error") else ""
        raise MalformedAnswerError(f"the answer has no choices{said}")
    if len(choices) < n:
        raise MalformedAnswerError(f"{len(choices)} choices for n = {n}; set samples_in_one_request = false?")
    read = [_read_choice(choice) for choice in sorted(choices, key=_choice_index)[:n]]
    prompt_tokens, total = _usage(body, "prompt_tokens"), _usage(body, "completion_tokens")
    # llama.cpp (it alone sends "timings") reports the tokens of the first choice, all others those of all choices
    shares = _extrapolate(total, read, max_tokens) if "timings" in body else _share_out(total, read)
    return [
        Choice(text, reason, prompt_tokens if i == 0 else 0, tokens)
        for i, ((text, reason), tokens) in enumerate(zip(read, shares, strict=True))
    ]


def clean_text(text: str) -> str:
    """The text with surrogate pairs joined and lone surrogates replaced, so that UTF-8 and Parquet take it."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _choice_index(choice: object) -> int:
    index = choice.get("index") if isinstance(choice, dict) else None
    return index if isinstance(index, int) else 0


def _read_choice(choice: object) -> tuple[str, str]:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise MalformedAnswerError("a choice has no message")
    content, reason = message.get("content"), choice.get("finish_reason")
    reason = reason if isinstance(reason, str) else "unknown"
    if content is None and reason == "length":
        # a reasoning model that spent all its tokens before the answer: final, asking again would pay again
        content = ""
    if not isinstance(content, str):
        what = "null" if content is None else type(content).__name__
        raise MalformedAnswerError(f"the content of a choice is {what}, not text; it ended with {reason[:50]!r}")
    return clean_text(content), reason


def _usage(body: dict[Any, Any], name: str) -> int:
    usage = body.get("usage")
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and value >= 0 else 0


def _share_out(total: int, read: list[tuple[str, str]]) -> list[int]:
    # one at least for a text: none is for one that the server has not counted
    least = [int(bool(text) and total >= len(read)) for text, _ in read]
    weights = [len(text) + 1 for text, _ in read]
    bounds, so_far = [0], 0
    for weight in weights:
        so_far += weight
        bounds.append(round((total - sum(least)) * so_far / sum(weights)))
    return [few + high - low for few, (low, high) in zip(least, pairwise(bounds), strict=True)]


def _extrapolate(first: int, read: list[tuple[str, str]], max_tokens: int) -> list[int]:
    per_character = first / (len(read[0][0]) + 1)
    return [first] + [min(max_tokens, round((len(text) + 1) * per_character)) for text, _ in read[1:]]
