"""A JSON value for a JSON schema, decided by a generator: what a model that keeps to the schema might say.

Enums are chosen from, ids are those that the prompt gives, each once; strings are short texts, arrays have as many
items as they may. Enough of JSON schema for what pydantic writes.
"""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.scripted_text import write_sentence

_ID = r"[a-z]{1,2}\d{1,3}|[0-9a-f]{16}"
_LEADING_ID = re.compile(rf"^[-*\[(< \t]*({_ID})[\])>.:]", re.MULTILINE)
_ANY_ID = re.compile(rf"(?<![\w-])({_ID})(?![\w-])")
_TRUE_SHARE = 0.85
_MOST_ITEMS = 3


@dataclass(frozen=True)
class Writer:
    """Writes values of one answer."""

    rng: random.Random
    root: dict[str, Any]
    ids: Sequence[str]
    chinese: bool

    def write(self, schema: dict[str, Any], name: str = "") -> Any:
        """A value of a schema; ``name`` is that of the property it is for."""
        schema = self._resolve(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.rng.choice(schema["enum"])
        if options := schema.get("anyOf") or schema.get("oneOf"):
            return self.write(self.rng.choice(options), name)
        match schema.get("type"):
            case "object":
                return {key: self.write(item, key) for key, item in schema.get("properties", {}).items()}
            case "array":
                return self._write_array(schema, name)
            case "integer":
                return self.rng.randint(*self._bounds(schema))
            case "number":
                return float(self.rng.randint(*self._bounds(schema)))
            case "boolean":
                return self.rng.random() < _TRUE_SHARE
            case "null":
                return None
        return self._write_string(schema, name)

    def _resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema:
            schema = self.root["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
        return schema

    def _write_array(self, schema: dict[str, Any], name: str) -> list[Any]:
        items = schema.get("items", {"type": "string"})
        inner = self._resolve(items)
        least = schema.get("minItems", 1)
        most = schema.get("maxItems", max(least, _MOST_ITEMS))
        if key := next((key for key in inner.get("properties", {}) if _is_id(key)), None):
            known = self._resolve(inner["properties"][key]).get("enum", self.ids)
            if known:
                return [self.write(inner, name) | {key: id_} for id_ in known]
        if _is_id(name.removesuffix("s")) and self.ids:
            return self.rng.sample(list(self.ids), min(len(self.ids), self.rng.randint(least, max(least, most))))
        return [self.write(items, name) for _ in range(self.rng.randint(least, max(least, most)))]

    def _write_string(self, schema: dict[str, Any], name: str) -> str:
        if _is_id(name) and self.ids:
            return self.rng.choice(list(self.ids))
        text = write_sentence(self.rng, chinese=self.chinese)
        while len(text) < schema.get("minLength", 0):
            text += " " + write_sentence(self.rng, chinese=self.chinese)
        return text[: schema.get("maxLength", len(text))]

    def _bounds(self, schema: dict[str, Any]) -> tuple[int, int]:
        low = int(schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1))
        high = int(schema.get("maximum", schema.get("exclusiveMaximum", low + 11) - 1))
        return low, max(low, high)


def write_answer(rng: random.Random, schema: dict[str, Any], prompt: str, *, chinese: bool) -> Any:
    """A value of ``schema`` that speaks of the ids in ``prompt``."""
    return Writer(rng, schema, find_ids(prompt), chinese).write(schema)


def find_ids(prompt: str) -> list[str]:
    """The ids in a prompt: those at the beginning of lines (``c1: ...``), or else any."""
    return list(dict.fromkeys(_LEADING_ID.findall(prompt) or _ANY_ID.findall(prompt)))


def find_schema(prompt: str) -> dict[str, Any] | None:
    """The last JSON schema that stands at the beginning of a line of a prompt."""
    for place in reversed([match.start() for match in re.finditer(r"^\{", prompt, re.MULTILINE)]):
        try:
            found, _ = json.JSONDecoder().raw_decode(prompt, place)
        except ValueError:
            continue
        if "properties" in found:
            return dict(found)
    return None


def spoil_answer(rng: random.Random, text: str, fault: str) -> str:
    """What a model says that does not keep to the schema, or not quite."""
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
    value = json.loads(text)
    rows = next((item for item in value.values() if isinstance(item, list) and item), [])
    keyed = [row for row in rows if isinstance(row, dict) and any(map(_is_id, row))]
    if fault == "wrong_value_types":
        value = {key: [item] for key, item in value.items()}
    elif keyed and fault == "missing_ids":
        rows.remove(rng.choice(keyed))
    elif keyed and fault == "extra_ids":
        rows.append({key: "z999" if _is_id(key) else item for key, item in keyed[-1].items()})
    return json.dumps(value, ensure_ascii=False)


def _is_id(name: str) -> bool:
    return name == "id" or name.endswith("_id")
