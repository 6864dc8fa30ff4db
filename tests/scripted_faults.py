"""What the scripted server can do wrong: in its status, on its connection, in its body, in what it says."""

import json
import random
from collections.abc import Mapping
from typing import Any, Literal, get_args

from aiohttp import web

Refusal = Literal["rate_limit", "unavailable", "internal", "bad_request", "too_long", "quota"]
"""Answered with a status that is none of success."""
Break = Literal["slow", "drop"]
"""Answered late or not at all."""
BadBody = Literal["not_json", "no_choices", "null_content", "wrong_types", "few_choices"]
"""Answered with what is no chat completion: a client has to ask again."""
BadChoice = Literal["surrogate", "length_null", "cut"]
"""Answered with a text that is odd."""
BadAnswer = Literal["sloppy_json", "malformed_json", "missing_ids", "extra_ids", "wrong_value_types"]
"""Answered with a text that is not, or not quite, what the schema or the prompt asks for."""
Fault = Literal[Refusal, Break, BadBody, BadChoice, BadAnswer]


def draw_fault(call: str, attempt: int, faults: Mapping[Fault, float]) -> str:
    """The fault of an attempt, or ``ok``: each has its own share of all attempts, decided by a hash."""
    point = random.Random(f"{call}{attempt}").random()
    for fault, share in faults.items():
        if point < share:
            return fault
        point -= share
    return "ok"


def is_answered(fault: str) -> bool:
    """Whether an answer with this fault is a completed call: one that a client can keep and need not ask again."""
    return fault not in (*get_args(Refusal), "drop", *get_args(BadBody))


def refuse(fault: str, retry_after: str) -> web.Response | None:
    """The answer of a fault that needs to know nothing of what was asked; None: there is none."""
    headers = {"Retry-After": retry_after} if retry_after else {}
    match fault:
        case "rate_limit":
            return error_response(429, "Rate limit reached.", "rate_limit_exceeded", headers)
        case "quota":
            return error_response(429, "You exceeded your current quota.", "insufficient_quota")
        case "unavailable":
            return error_response(503, "Service unavailable.", "unavailable", headers)
        case "internal":
            return error_response(500, "Internal error.", "internal")
        case "bad_request":
            return error_response(400, "Unknown parameter: 'seed'.", "unknown_parameter")
        case "too_long":
            return error_response(400, "This model's maximum context length is 8 tokens.", "context_length_exceeded")
        case "not_json":
            return web.Response(text='{"choices": [', content_type="application/json")
        case "drop":  # its connection is closed already
            return web.Response()
    return None


def error_response(status: int, message: str, code: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """An error as the API words it."""
    return web.json_response({"error": {"message": message, "code": code}}, status=status, headers=headers)


def spoil_body(body: dict[str, Any], fault: str) -> bool:
    """Change a chat completion in place, where the fault is one of the body or of a choice; says whether it was."""
    choices = body["choices"]
    message = choices[0]["message"]
    match fault:
        case "no_choices":
            choices.clear()
        case "few_choices":
            choices.pop()
        case "null_content":
            message["content"] = None
        case "cut":
            message["content"] = message["content"][: len(message["content"]) // 2]
            choices[0]["finish_reason"] = "length"
        case "length_null":
            choices[0] |= {"message": {"role": "assistant", "content": None}, "finish_reason": "length"}
        case "wrong_types":
            body["choices"] = [{"index": "zero", "message": "text", "finish_reason": 7} for _ in choices]
            body["usage"] = "many"
        case "surrogate":
            message["content"] = "broken \ud83d emoji"
        case _:
            return False
    return True


def spoil_answer(rng: random.Random, text: str, fault: str) -> str:
    """What a model says that does not keep to the schema, or not quite.

    The text itself where there is nothing to spoil: ids can be missing or too many only where there is a list of rows
    with ids.
    """
    match fault:
        case "sloppy_json":  # what a reader can mend
            mended = [
                f"```json\n{text}\n```",
                f"Here it is:\n\n{text}\n\nI hope this helps.",
                text[:-1] + ",}",
                text + "}",
            ]
            return rng.choice(mended)
        case "malformed_json":  # what nobody should mend
            return rng.choice([text[: len(text) // 2], text.replace('"', "'"), text.replace(":", " ", 1), "I cannot."])
        case "missing_ids" | "extra_ids" | "wrong_value_types":
            value = json.loads(text)
            return json.dumps(value, ensure_ascii=False) if _spoil_value(rng, value, fault) else text
    return text


def is_id(name: str) -> bool:
    """Whether a property of this name holds an id."""
    return name == "id" or name.endswith("_id")


def _spoil_value(rng: random.Random, value: dict[str, Any], fault: str) -> bool:
    if fault == "wrong_value_types":
        value.update({key: [item] for key, item in value.items()})
        return True
    rows = next((item for item in value.values() if isinstance(item, list) and item), [])
    keyed = [row for row in rows if isinstance(row, dict) and any(map(is_id, row))]
    if not keyed:
        return False
    if fault == "missing_ids":
        rows.remove(rng.choice(keyed))
    else:
        rows.append({key: "z999" if is_id(key) else item for key, item in keyed[-1].items()})
    return True
