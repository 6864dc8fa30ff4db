"""From a pydantic model to the JSON schema that is sent, and from the text that comes back to the model.

Repairs that cannot change what was said are made: prose or a code fence around the object, trailing commas, raw line
breaks in strings. All else is unreadable, with a reason that a model can act on. A library that repairs anything would
invent verdicts: json-repair reads ``{"v": "a" "b"}`` as a, a cut ``"fol`` as fol, and of two objects takes the last.
"""

from __future__ import annotations

import functools
import json
import math
import re
from typing import Any, Literal, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from tasks.llm.calls import clean_text

Answer = TypeVar("Answer", bound=BaseModel)

MAX_CHARACTERS = 1_000_000
"""Longer answers are not read: no model was asked for a book, and reading must stay quick."""
_MAX_PROBLEMS = 8
_MAX_WORDS = 200

_OBJECT = re.compile(r"\{\s*(?=[\"}])")
# a string that is never closed runs to the end, so that hostile text is still read in linear time
_STRING_OR_COMMA = re.compile(r'("(?:[^"\\]|\\.)*+(?:"|\Z))|,(?=\s*+[}\]])', re.DOTALL)


AnswerFailure = Literal["cut", "not_json", "wrong_schema", "unusable"]
"""Why an answer cannot be used: cut off, no JSON object, not of the schema, or of the schema and yet not what was
asked for."""


class UnreadableAnswerError(Exception):
    """The text holds no valid answer; the message says why, for a person and for the model that wrote it."""

    kind: AnswerFailure = "not_json"


class WrongSchemaError(UnreadableAnswerError):
    """The text holds a JSON object that does not fit the schema."""

    kind: AnswerFailure = "wrong_schema"


def read_answer(text: str, model: type[Answer]) -> Answer:
    """The one JSON object in a text, validated strictly (wrong types are wrong, never converted).

    Keys that the model does not have are refused, unless its own configuration ignores or allows them. Lone surrogates
    in strings are replaced.

    Raises:
        UnreadableAnswerError: There is no object, or more than one, or it is not valid.
    """
    try:
        clean = json.dumps(_clean(_find_object(text)))
    except RecursionError:
        raise UnreadableAnswerError("The JSON is nested too deeply.") from None
    try:
        # as JSON again: in strict mode pydantic takes a list for a tuple or a string for an enum only from JSON
        extra: Literal["forbid"] | None = None if "extra" in model.model_config else "forbid"
        return model.model_validate_json(clean, strict=True, extra=extra)
    except ValidationError as error:
        raise WrongSchemaError(_explain(error)) from None


@functools.lru_cache(maxsize=256)
def schema_text(model: type[BaseModel]) -> str:
    """The JSON schema of a model as OpenAI's strict mode wants it: no extra keys, every key required.

    Models for answers keep to objects, lists, strings, numbers, booleans, literals and None: a dictionary with free
    keys is beyond strict mode.
    """
    return json.dumps(_tighten(model.model_json_schema()), ensure_ascii=False)


def _find_object(text: str) -> dict[str, Any]:
    if len(text) > MAX_CHARACTERS:
        raise UnreadableAnswerError(f"The answer is longer than {MAX_CHARACTERS} characters.")
    if not text.lstrip().startswith(("{", "```")):
        # the thoughts of a reasoning model; its chat template may have written the opening tag
        before, closed, after = text.partition("</think>")
        text = after if closed else before
    found: list[dict[str, Any]] = []
    position, repaired = 0, False
    while start := _OBJECT.search(text, position):
        if not found and text[: start.start()].rstrip().endswith("["):
            raise UnreadableAnswerError("The answer is a JSON array; one JSON object is wanted.")
        try:
            value, position = _DECODER.raw_decode(text, start.start())
        except json.JSONDecodeError as error:
            if repaired:
                raise UnreadableAnswerError(f"It is not valid JSON: {error}.") from None
            # once is enough: it is done for all the rest of the text
            text, position = _STRING_OR_COMMA.sub(r"\1", text[start.start() :]), 0
            repaired = True
            continue
        except ValueError as error:
            raise UnreadableAnswerError(f"It is not valid JSON: {error}."[:_MAX_WORDS]) from None
        if value not in found:
            found.append(value)
        if len(found) > 1:
            raise UnreadableAnswerError("There is more than one JSON object; exactly one is wanted.")
    if not found:
        if not text.strip():
            raise UnreadableAnswerError("The answer is empty.")
        raise UnreadableAnswerError("There is no JSON object (its keys must stand in double quotes).")
    return found[0]


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # the standard says nothing about the second one; to take the last would choose between two verdicts
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _read_float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


# strict=False: raw line breaks in strings, which small models write
_DECODER = json.JSONDecoder(
    strict=False, object_pairs_hook=_refuse_duplicates, parse_constant=_refuse_constant, parse_float=_read_float
)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {clean_text(key): _clean(item) for key, item in value.items()}
    return value


def _explain(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"{_place(item['loc'])}: {item['msg'][:_MAX_WORDS]}" for item in problems[:_MAX_PROBLEMS]]
    if len(problems) > _MAX_PROBLEMS:
        lines.append(f"and {len(problems) - _MAX_PROBLEMS} more")
    return f"It does not fit the schema: {'; '.join(lines)}."


def _place(loc: tuple[int | str, ...]) -> str:
    # an unknown key is the model's own text: one short line of it
    return " ".join(".".join(map(str, loc)).split())[:_MAX_WORDS] or "the object"


def _tighten(node: Any) -> Any:
    if isinstance(node, list):
        return [_tighten(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return {"$ref": node["$ref"]}  # strict mode takes nothing beside it
    tight: dict[str, Any] = {}
    for key, value in node.items():
        if key in ("properties", "$defs"):
            tight[key] = {name: _tighten(item) for name, item in value.items()}
        elif key in ("const", "enum"):
            tight[key] = value
        elif key not in ("title", "default"):
            tight[key] = _tighten(value)
    if "properties" in tight:
        tight |= {"required": list(tight["properties"]), "additionalProperties": False}
    return tight
