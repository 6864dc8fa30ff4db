"""A JSON value for a JSON schema, decided by a generator: what a model that keeps to schema and prompt might say.

Enums are chosen from, ids are those that the prompt gives, each once; strings are short texts, arrays have as many
items as they may. What a property is for is told by its name (``tests.scripted_sense``). Enough of JSON schema for
what pydantic writes.
"""

import random
from dataclasses import dataclass
from typing import Any

from tests import scripted_sense as sense
from tests.scripted_chat import Chat
from tests.scripted_faults import is_id
from tests.scripted_text import write_sentence

_TRUE_SHARE = 0.85
_MOST_ITEMS = 3


@dataclass(frozen=True)
class Writer:
    """Writes the values of one answer."""

    rng: random.Random
    root: dict[str, Any]
    chat: Chat

    def write(self, schema: dict[str, Any], name: str = "") -> Any:
        """A value of a schema; ``name`` is that of the property it is for."""
        schema = self._resolve(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return sense.choose(self.rng, schema["enum"])
        if options := schema.get("anyOf") or schema.get("oneOf"):
            return self.write(self.rng.choice(options), name)
        match schema.get("type"):
            case "object":
                return self._write_object(schema)
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

    def _write_object(self, schema: dict[str, Any]) -> dict[str, Any]:
        value = {key: self.write(item, key) for key, item in schema.get("properties", {}).items()}
        if {"applies", "words", "situation", "text", "check"} <= set(value):
            value |= sense.write_constraint(self.rng, self.chat, value["check"])
        return value

    def _write_array(self, schema: dict[str, Any], name: str) -> list[Any]:
        items = schema.get("items", {"type": "string"})
        inner = self._resolve(items)
        ids = self.chat.ids
        least = max(schema.get("minItems", 1), sense.LEAST_ITEMS.get(name, 0))
        most = max(least, schema.get("maxItems", _MOST_ITEMS))
        if key := next((key for key in inner.get("properties", {}) if is_id(key)), None):
            known = self._resolve(inner["properties"][key]).get("enum", ids)
            if known:
                return [self._write_keyed(inner, name, key, id_) for id_ in known]
        if is_id(name.removesuffix("s")) and ids:
            return self.rng.sample(ids, min(len(ids), self.rng.randint(least, most)))
        return [self.write(items, name) for _ in range(self.rng.randint(least, most))]

    def _write_keyed(self, schema: dict[str, Any], name: str, key: str, id_: str) -> dict[str, Any]:
        row: dict[str, Any] = self.write(schema, name) | {key: id_}
        verdict = schema["properties"].get("verdict")
        if verdict is not None and "violated" in self._resolve(verdict).get("enum", ()):
            row["verdict"] = sense.judge(self.rng, self.chat, id_)
        return row

    def _write_string(self, schema: dict[str, Any], name: str) -> str:
        if is_id(name) and self.chat.ids:
            return self.rng.choice(self.chat.ids)
        text = sense.write_named(self.rng, self.chat, name) or write_sentence(self.rng, chinese=self.chat.chinese)
        while len(text) < schema.get("minLength", 0):
            text += " " + write_sentence(self.rng, chinese=self.chat.chinese)
        return text[: schema.get("maxLength", len(text))]

    def _bounds(self, schema: dict[str, Any]) -> tuple[int, int]:
        low = int(schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1))
        high = int(schema.get("maximum", schema.get("exclusiveMaximum", low + 11) - 1))
        return low, max(low, high)


def write_answer(rng: random.Random, schema: dict[str, Any], chat: Chat) -> Any:
    """A value of ``schema`` that answers a chat."""
    return Writer(rng, schema, chat).write(schema)
