"""When a conditional constraint applies: a predicate on the user's query."""

from __future__ import annotations

import re
from abc import abstractmethod
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from models.base import Language, Strict

# Scripts without spaces between words: there a mention is a substring.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_HAS_CJK = re.compile(f"[{_CJK}]")

Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60)]


@lru_cache(maxsize=4096)
def mention(words: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern for any of the words: whole ones in scripts with spaces, anywhere in a run of CJK characters.

    "Python" is mentioned in "用Python写", where a plain word boundary would not see it.
    """
    # (?i:...) around the words alone: in the classes of the boundaries it costs 10 ms a word to compile
    options = (
        f"(?i:{re.escape(word)})"
        if _HAS_CJK.search(word)
        else rf"(?<![^\W{_CJK}])(?i:{re.escape(word)})(?![^\W{_CJK}])"
        for word in words
    )
    return re.compile("|".join(options))


class BaseTrigger(Strict):
    """A predicate on the query; a constraint without one always applies."""

    @abstractmethod
    def fires(self, query: str) -> bool:
        """Whether a constraint with this trigger applies to the query."""

    @abstractmethod
    def describe(self, language: Language) -> str:
        """The condition as a clause that a demand follows."""


class QueryMentions(BaseTrigger):
    """The query mentions one of a few words."""

    kind: Literal["query_mentions"] = "query_mentions"
    words: list[Word] = Field(min_length=1, max_length=20, description="One of these, in whatever case, is enough.")

    def fires(self, query: str) -> bool:
        """Whether any of the words is in the query."""
        return mention(tuple(self.words)).search(query) is not None

    def describe(self, language: Language) -> str:
        """The condition as a clause: When the user mentions "X" or "Y", (the words in quotation marks)."""
        if language == "zh":
            return "当用户提到" + "或".join(f"“{word}”" for word in self.words) + "时，"
        quoted = [f'"{word}"' for word in self.words]
        listed = quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + f" or {quoted[-1]}"
        return f"When the user mentions {listed},"


class QueryIsQuestion(BaseTrigger):
    """The query contains a question mark."""

    kind: Literal["query_is_question"] = "query_is_question"

    def fires(self, query: str) -> bool:
        """Whether there is a question mark, half-width or full-width."""
        return "?" in query or "？" in query

    def describe(self, language: Language) -> str:
        """The condition as a clause."""
        return "当用户的消息中有问号时，" if language == "zh" else "When the user's message contains a question mark,"


class QueryLongerThan(BaseTrigger):
    """The query has more characters than a number."""

    kind: Literal["query_longer_than"] = "query_longer_than"
    characters: int = Field(ge=1, le=100_000, description="It has to be longer than this.")

    def fires(self, query: str) -> bool:
        """Whether the query, without the whitespace around it, is longer."""
        return len(query.strip()) > self.characters

    def describe(self, language: Language) -> str:
        """The condition as a clause."""
        if language == "zh":
            return f"当用户的消息超过{self.characters}个字符时，"
        unit = "character" if self.characters == 1 else "characters"
        return f"When the user's message is longer than {self.characters} {unit},"


Situation = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=2, max_length=200, pattern=r"^[^\n\r]+$")
]


class QuerySituation(BaseTrigger):
    """A situation in words, which no code can see in a query ("the user asks about money").

    Code cannot rule it out, so it always fires; where there is a judge model, that says whether a query brings it about
    (``tasks.triggering``), and otherwise a verdict on the constraint may be ``not_applicable``.
    A constraint with it has no check, which would call a response violated where nothing was demanded. As a
    trigger rather than a part of the constraint's text, it stays when the text is reversed.
    """

    kind: Literal["query_situation"] = "query_situation"
    situation: Situation = Field(description="A clause about the query, without the word when.")

    def fires(self, query: str) -> bool:
        """Always: code cannot rule the situation out."""
        return True

    def describe(self, language: Language) -> str:
        """The condition as a clause."""
        return f"当{self.situation}时，" if language == "zh" else f"When {self.situation},"


Trigger = Annotated[QueryMentions | QueryIsQuestion | QueryLongerThan | QuerySituation, Field(discriminator="kind")]

# First words that keep their capital inside a sentence; an acronym (JSON) is seen by its second letter.
_PROPER = re.compile(
    "I|Markdown|Unicode|Python|English|Chinese|French|German|Spanish|Italian|Portuguese|Russian|Japanese|Korean"
    "|Hindi|Arabic|Latin|(Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
)
_FIRST_WORD = re.compile(r"[A-Z][a-z]*(?![A-Za-z0-9.])")


def render_constraint_text(text: str, trigger: Trigger | None, language: Language) -> str:
    """A constraint as one sentence: its trigger's clause, where there is one, and its text."""
    if trigger is None:
        return text
    clause = trigger.describe(language)
    if language == "zh":
        return clause + text
    first = _FIRST_WORD.match(text)
    if first and not _PROPER.fullmatch(first.group()):
        text = text[0].lower() + text[1:]
    return f"{clause} {text}"
