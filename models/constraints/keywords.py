"""Which words, letters and statements a response has."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from models.base import Language
from models.constraints.base import BaseCheck
from models.constraints.states import CountedCheck, CountTexts, FlagCheck, FlagTexts
from models.constraints.text import quote_all

Phrase = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]
Statement = Annotated[str, Field(min_length=1, max_length=500, pattern=r"\S")]
Phrases = Annotated[tuple[Phrase, ...], Field(min_length=1, max_length=20)]


@lru_cache(maxsize=4096)
def _anywhere(phrase: str) -> re.Pattern[str]:
    # the reference takes a keyword for a regular expression; here it is the text it looks like ("C++")
    return re.compile(re.escape(phrase), re.IGNORECASE)


_BOUNDED = re.compile(r"[^\W\u2e80-\ua4cf\uf900-\ufaff\U00020000-\U0003ffff]")


@lru_cache(maxsize=4096)
def _whole_word(phrase: str) -> re.Pattern[str]:
    # a boundary is asked for only where the phrase has one: not beside "C++" and not between Chinese characters
    before = r"\b" if _BOUNDED.match(phrase[0]) else ""
    after = r"\b" if _BOUNDED.match(phrase[-1]) else ""
    return re.compile(before + re.escape(phrase) + after, re.IGNORECASE)


def goes_on(phrase: str, rest: str) -> bool:
    """Whether the last word of a phrase goes on in what follows it: "I" in "In", not in "I'm", nor "你" in "你好"."""
    return bool(_BOUNDED.match(phrase[-1]) and _BOUNDED.match(rest))


class KeywordPresent(FlagCheck):
    """All of some keywords occur, in any case, also inside longer words (as IFEval searches)."""

    kind: Literal["keyword_present"] = "keyword_present"
    keywords: Phrases = Field(description="What has to occur.")

    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            "Include all of these keywords in your response: {list}.",
            "Your response must contain {all}, each at least once.",
            "Make sure that {all} all appear in your response.",
        ),
        ("en", "must_not"): (
            "Leave at least one of these keywords out of your response entirely: {list}.",
            "Your response must not contain all of the following keywords: {list}.",
            "Make sure that at least one of {all} does not appear anywhere in your response.",
        ),
        ("zh", "must"): (
            "请在回复中包含以下所有关键词：{list}。",
            "你的回复必须包含{all}，每个至少出现一次。",
            "请确保{all}都出现在回复中。",
        ),
        ("zh", "must_not"): (
            "以下关键词中至少有一个不得出现在回复中：{list}。",
            "你的回复不得同时包含以下所有关键词：{list}。",
            "请确保{all}中至少有一个完全不出现在回复中。",
        ),
    }
    one_texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            "Include the keyword {list} in your response.",
            "Your response must contain {list} at least once.",
            "Make sure that {list} appears in your response.",
        ),
        ("en", "must_not"): (
            "Do not include {list} anywhere in your response, not even inside a longer word.",
            "Your response must not contain {list}, alone or as part of another word.",
            "Make sure that {list} never appears in your response, not even within another word.",
        ),
        ("zh", "must"): (
            "请在回复中包含关键词{list}。",
            "你的回复必须至少出现一次{list}。",
            "请确保回复中出现{list}。",
        ),
        ("zh", "must_not"): (
            "请不要在回复中的任何地方出现{list}（包括作为更长词语的一部分）。",
            "你的回复不得包含{list}，无论单独出现还是作为其他词语的一部分。",
            "请确保{list}完全不出现在回复中，也不出现在其他词语里。",
        ),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether each keyword occurs."""
        return all(_anywhere(keyword).search(response) for keyword in self.keywords)

    def options(self, language: Language) -> tuple[str, ...]:
        """The templates for one keyword or several."""
        return (self.texts if len(self.keywords) > 1 else self.one_texts)[language, self.polarity]

    def words(self, language: Language) -> dict[str, str]:
        """The keywords as a list and as a phrase."""
        both = quote_all(language, self.keywords, "和" if language == "zh" else "and")
        return {"all": both, "list": _listed(language, self.keywords)}


def _listed(language: Language, phrases: tuple[str, ...]) -> str:
    return ("、" if language == "zh" else ", ").join(quote_all(language, [phrase], "") for phrase in phrases)


class ForbiddenWords(FlagCheck):
    """None of some words occurs as a whole word, in any case. ``must_not`` wants at least one of them."""

    kind: Literal["forbidden_words"] = "forbidden_words"
    forbidden: Phrases = Field(description="The words.")

    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            "Do not use any of these words in your response: {list}.",
            "Avoid the following words completely, whether capitalised or not: {list}.",
            "Your response must not contain the words {any}.",
        ),
        ("en", "must_not"): (
            "Use at least one of these words in your response: {list}.",
            "Your response must contain one or more of the following words: {list}.",
            "Make sure that the word {any} appears in your response.",
        ),
        ("zh", "must"): (
            "请不要在回复中使用以下任何词语：{list}。",
            "请完全避免以下词语（不区分大小写）：{list}。",
            "你的回复不得出现{any}。",
        ),
        ("zh", "must_not"): (
            "请在回复中至少使用以下词语之一：{list}。",
            "你的回复必须包含以下词语中的一个或多个：{list}。",
            "请确保回复中出现{any}。",
        ),
    }
    one_texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            "Do not use the word {list} in your response.",
            "Avoid the word {list} completely, whether capitalised or not.",
            "Your response must not contain the word {list}.",
        ),
        ("en", "must_not"): (
            "Use the word {list} at least once in your response.",
            "Your response must contain {list} as a whole word.",
            "Make sure that the word {list} appears in your response.",
        ),
        ("zh", "must"): (
            "请不要在回复中使用{list}一词。",
            "请完全避免{list}一词（不区分大小写）。",
            "你的回复不得出现{list}一词。",
        ),
        ("zh", "must_not"): (
            "请在回复中至少使用一次{list}一词。",
            "你的回复必须包含{list}一词。",
            "请确保回复中出现{list}一词。",
        ),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether no word occurs."""
        return not any(_whole_word(word).search(response) for word in self.forbidden)

    def options(self, language: Language) -> tuple[str, ...]:
        """The templates for one word or several."""
        return (self.texts if len(self.forbidden) > 1 else self.one_texts)[language, self.polarity]

    def words(self, language: Language) -> dict[str, str]:
        """The words as a list and as a phrase."""
        either = quote_all(language, self.forbidden, "或" if language == "zh" else "or")
        return {"any": either, "list": _listed(language, self.forbidden)}


class KeywordCount(CountedCheck):
    """How often a keyword occurs, in any case, also inside longer words (as IFEval counts)."""

    kind: Literal["keyword_count"] = "keyword_count"
    keyword: Phrase = Field(description="The keyword.")

    nouns = ("time", "times")
    noun_zh = ("次", "")
    texts: ClassVar[CountTexts] = {
        "en": (
            'Use "{keyword}" {counted} in your response, counting it inside longer words too.',
            '"{keyword}" must appear {counted} in your response (as part of another word counts as well).',
            'In your response, write "{keyword}" {counted}; occurrences within longer words count.',
        ),
        "zh": (
            "请在回复中让“{keyword}”出现{counted}（作为更长词语的一部分也计算在内）。",
            "“{keyword}”在回复中必须出现{counted}（包括在更长的词语中）。",
            "回复中“{keyword}”的出现次数应为{counted}，在更长词语中出现也算。",
        ),
    }
    none_texts: ClassVar[CountTexts] = {
        "en": (
            'Do not use "{keyword}" anywhere in your response, not even inside a longer word.',
            '"{keyword}" must not appear in your response, alone or as part of another word.',
            'Never write "{keyword}" in your response, not even within another word.',
        ),
        "zh": (
            "请不要在回复中出现“{keyword}”，也不要出现在更长的词语中。",
            "“{keyword}”不得在回复中出现，无论单独出现还是作为其他词语的一部分。",
            "回复中任何地方都不要写“{keyword}”，包括在其他词语里。",
        ),
    }

    def measure(self, response: str, query: str = "") -> int:
        """Occurrences that do not overlap."""
        return len(_anywhere(self.keyword).findall(response))


class LetterCount(CountedCheck):
    """How often a letter occurs, capital or small."""

    kind: Literal["letter_count"] = "letter_count"
    letter: str = Field(pattern=r"^[a-z]$", description="The letter, in lower case.")

    nouns = ("time", "times")
    noun_zh = ("次", "")
    texts: ClassVar[CountTexts] = {
        "en": (
            'The letter "{letter}" must appear {counted} in your response, capital or small.',
            'Use the letter "{letter}" {counted} in your response (upper and lower case both count).',
            'Write your response so that it contains the letter "{letter}" {counted}, in either case.',
        ),
        "zh": (
            "字母“{letter}”在回复中必须出现{counted}（大小写均计）。",
            "请在回复中使用{counted}字母“{letter}”（不区分大小写）。",
            "回复中字母“{letter}”（含大写）的出现次数应为{counted}。",
        ),
    }
    none_texts: ClassVar[CountTexts] = {
        "en": (
            'Do not use the letter "{letter}" in your response, capital or small.',
            'The letter "{letter}" must not appear in your response, in either case.',
            'Avoid the letter "{letter}" completely, in upper and in lower case.',
        ),
        "zh": (
            "请不要在回复中使用字母“{letter}”（大小写均不可）。",
            "字母“{letter}”不得在回复中出现（不区分大小写）。",
            "请完全避免字母“{letter}”，无论大写还是小写。",
        ),
    }

    def measure(self, response: str, query: str = "") -> int:
        """Occurrences in the response in lower case."""
        return response.lower().count(self.letter)


class OneOf(FlagCheck):
    """At least one of some statements occurs, word for word."""

    kind: Literal["one_of"] = "one_of"
    statements: Annotated[tuple[Statement, ...], Field(min_length=1, max_length=20)] = Field(
        description="The statements to choose from."
    )

    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            "Answer with one of the following, word for word: {any}.",
            "Your response must contain, exactly as written, {any}.",
            "Include at least one of these statements literally in your response: {list}.",
        ),
        ("en", "must_not"): (
            "Do not answer with any of the following: {list}.",
            "Your response must not contain, exactly as written, {any}.",
            "Leave all of these statements out of your response: {list}.",
        ),
        ("zh", "must"): (
            "请用以下选项之一一字不差地回答：{list}。",
            "你的回复必须原样包含{any}。",
            "请在回复中原样写出以下语句中的至少一个：{list}。",
        ),
        ("zh", "must_not"): (
            "请不要用以下任何选项回答：{list}。",
            "你的回复不得原样包含{any}。",
            "以下语句一个都不要出现在回复中：{list}。",
        ),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether a statement occurs."""
        return any(statement in response for statement in self.statements)

    def words(self, language: Language) -> dict[str, str]:
        """The statements as a list and as a phrase."""
        either = quote_all(language, self.statements, "或" if language == "zh" else "or")
        return {"any": either, "list": _listed(language, self.statements)}


CHECKS: tuple[type[BaseCheck], ...] = (KeywordPresent, ForbiddenWords, KeywordCount, LetterCount, OneOf)
