"""What a scripted model sees in a chat: its language, the fenced material, the ids in it, a schema."""

import json
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from tasks.llm.prompts.scripts import is_written_in

_ID = r"[a-z]{1,2}\d{1,3}|[0-9a-f]{16}"
_LEADING_ID = re.compile(rf"^[-*\[(< \t]*({_ID})[\])>.:]", re.MULTILINE)
_ANY_ID = re.compile(rf"(?<![\w-])({_ID})(?![\w-])")
_FENCE = re.compile(r"^<([a-z-]+) ([0-9a-f]{8})>\n(.*?)\n</\1 \2>$", re.MULTILINE | re.DOTALL)
_SCHEMA = re.compile(r"^\{.*$", re.MULTILINE)
_TOKEN = re.compile(r"\s*(?:[A-Za-z0-9]+|[^A-Za-z0-9\s])|\s+$")


@dataclass(frozen=True)
class Chat:
    """The messages of a request.

    Raises:
        KeyError: A message has no role or content.
    """

    messages: list[dict[str, Any]]

    def __post_init__(self) -> None:
        for message in self.messages:
            message["role"], message["content"]

    @property
    def system(self) -> str:
        """The system message; empty where there is none."""
        return next((str(m["content"]) for m in self.messages if m["role"] == "system"), "")

    @cached_property
    def prompt(self) -> str:
        """The last message: what is asked."""
        return str(self.messages[-1]["content"])

    @cached_property
    def chinese(self) -> bool:
        """Whether the chat is in Chinese: its instruction, or else its last message."""
        # a schema in the prompt is not in the language of the chat
        return is_written_in(self.system or _SCHEMA.sub("", self.prompt), "zh")

    @cached_property
    def fences(self) -> dict[str, str]:
        """The fenced material of the prompt by the name of its fence; of two with one name the last."""
        return {name: text for name, _, text in _FENCE.findall(self.prompt)}

    @cached_property
    def ids(self) -> list[str]:
        """The ids that the prompt speaks of.

        Those at the beginning of lines (``c1: ...``) of the last fence that has any, or else of the prompt; where there
        are none, any id in the prompt.
        """
        fenced = (_LEADING_ID.findall(text) for text in reversed(self.fences.values()))
        found = next((ids for ids in fenced if ids), []) or _LEADING_ID.findall(self.prompt)
        return list(dict.fromkeys(found or _ANY_ID.findall(self.prompt)))

    @cached_property
    def schema(self) -> dict[str, Any] | None:
        """The last JSON schema that stands at the beginning of a line of the prompt."""
        for place in reversed([match.start() for match in re.finditer(r"^\{", self.prompt, re.MULTILINE)]):
            try:
                found, _ = json.JSONDecoder().raw_decode(self.prompt, place)
            except ValueError:
                continue
            if "properties" in found:
                return dict(found)
        return None

    def line_of(self, id_: str) -> str:
        """What stands behind an id in the fenced material; empty where it does not stand there."""
        pattern = re.compile(rf"^[-*\[(< \t]*{re.escape(id_)}[\])>.:]+ *(.*)$", re.MULTILINE)
        return next((found[1] for text in reversed(self.fences.values()) if (found := pattern.search(text))), "")

    def count_tokens(self) -> int:
        """Tokens of the messages, as the server reports them."""
        return sum(_count_tokens(str(message["content"])) + 4 for message in self.messages)


def split_tokens(text: str) -> list[str]:
    """The tokens of a text: words and marks, each with the blanks before it."""
    return _TOKEN.findall(text)


@lru_cache(maxsize=1024)
def _count_tokens(text: str) -> int:
    return len(split_tokens(text))
