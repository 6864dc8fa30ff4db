"""How long a response is: words, sentences, paragraphs, and how a paragraph begins."""

from __future__ import annotations

import re
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from models.base import Language
from models.constraints.base import BaseCheck
from models.constraints.states import CountedCheck, CountTexts, FlagCheck, FlagTexts
from models.constraints.text import count_words, ordinal, split_sentences


class WordCount(CountedCheck):
    """Words: runs of letters, digits and underscores. For English; Chinese has no spaces and counts characters."""

    kind: Literal["word_count"] = "word_count"

    nouns = ("word", "words")
    noun_zh = ("个", "单词")
    texts: ClassVar[CountTexts] = {
        "en": (
            "Answer in {counted}.",
            "Your response must have {counted}.",
            "Keep your response to a length of {counted}.",
        ),
        "zh": (
            "请用{counted}回答（连续的字母或数字算一个单词）。",
            "你的回复必须包含{counted}（连续的字母或数字算一个单词）。",
            "回复的长度应为{counted}（连续的字母或数字算一个单词）。",
        ),
    }
    none_texts: ClassVar[CountTexts] = {
        "en": (
            "Answer without a single word.",
            "Your response must have no words at all.",
            "Do not use any letters, digits or words in your response.",
        ),
        "zh": ("请不要用任何单词回答。", "你的回复中不得有任何单词。", "回复中请勿出现任何文字或数字。"),
    }

    def measure(self, response: str, query: str = "") -> int:
        """IFEval's word count."""
        return count_words(response)


class SentenceCount(CountedCheck):
    """Sentences of English text, split as NLTK's punkt does."""

    kind: Literal["sentence_count"] = "sentence_count"

    nouns = ("sentence", "sentences")
    noun_zh = ("个", "句子")
    texts: ClassVar[CountTexts] = {
        "en": (
            "Answer in {counted}.",
            "Your response must consist of {counted}.",
            "Write {counted} in your response.",
        ),
        "zh": (
            "请用{counted}回答（按英文句末标点断句）。",
            "你的回复必须由{counted}组成（按英文句末标点断句）。",
            "请在回复中写{counted}（按英文句末标点断句）。",
        ),
    }
    none_texts: ClassVar[CountTexts] = {
        "en": (
            "Leave your response empty.",
            "Do not write a single sentence.",
            "Your response must not contain any text.",
        ),
        "zh": ("请让回复留空。", "请不要写任何句子。", "你的回复中不得有任何文字。"),
    }

    def measure(self, response: str, query: str = "") -> int:
        """IFEval's sentence count."""
        return len(split_sentences(response))


_DIVIDER = re.compile(r"\s?\*\*\*\s?")


class ParagraphCount(FlagCheck):
    """Exactly so many paragraphs between markdown dividers ``***``.

    A flag, not a count: an empty paragraph between two dividers makes the response malformed, whatever the number.
    """

    kind: Literal["paragraph_count"] = "paragraph_count"
    paragraphs: int = Field(ge=1, le=1000, description="Number of paragraphs.")

    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            "Write exactly {paragraphs}, with the markdown divider *** between paragraphs.",
            "Your response must have {paragraphs}, no more and no fewer, separated by ***.",
            "Divide your response with *** into exactly {paragraphs}, none of them empty.",
        ),
        ("en", "must_not"): (
            "Do not write exactly {paragraphs}, counting as paragraphs the parts between *** dividers.",
            "Your response must not have exactly {paragraphs} separated by ***; any other number is fine.",
            "Avoid a response that *** dividers split into exactly {paragraphs}.",
        ),
        ("zh", "must"): (
            "请写正好{paragraphs}个段落，段落之间用Markdown分隔符***隔开。",
            "你的回复必须由***分成{paragraphs}个段落，不多不少。",
            "请用***把回复分成恰好{paragraphs}个非空段落。",
        ),
        ("zh", "must_not"): (
            "请不要写正好{paragraphs}个段落（以***分隔的部分算作段落）。",
            "你的回复不得由***分成正好{paragraphs}个段落，其他数量均可。",
            "请避免回复被***恰好分成{paragraphs}个段落。",
        ),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether dividers at the very start and end aside, there are so many parts and none is empty."""
        parts = [part.strip() for part in _DIVIDER.split(response)]
        empty_ends = {index for index in (0, len(parts) - 1) if not parts[index]}
        if not all(parts[1:-1]):
            return False
        return len(parts) - len(empty_ends) == self.paragraphs

    def words(self, language: Language) -> dict[str, str]:
        """The number with its noun in English."""
        return {"paragraphs": _paragraphs(language, self.paragraphs)}


def _paragraphs(language: Language, number: int) -> str:
    if language == "zh":
        return str(number)
    return f"{number} paragraph" if number == 1 else f"{number} paragraphs"


_FIRST_WORD_END = re.compile(r"[.,?!'\"]")


class FirstWordOfParagraph(FlagCheck):
    """Exactly so many paragraphs between blank lines, and a given first word of one of them."""

    kind: Literal["first_word_of_paragraph"] = "first_word_of_paragraph"
    paragraphs: int = Field(ge=1, le=1000, description="Number of paragraphs.")
    nth: int = Field(ge=1, le=1000, description="The paragraph whose first word is meant, from 1.")
    # a first word is read up to the first of these marks, so one that has them could never be met
    word: str = Field(max_length=100, pattern=r"^[^\s.,?!'\"]+$", description="Its first word, in any case.")

    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            'Write exactly {paragraphs}, separated by blank lines, and begin the {nth} one with the word "{word}".',
            "Your response must have exactly {paragraphs} with a blank line between them; "
            'the {nth} paragraph must start with the word "{word}".',
            'Let the {nth} paragraph open with the word "{word}", and write exactly {paragraphs} in all, '
            "divided by blank lines.",
        ),
        ("en", "must_not"): (
            "Do not write a response that has exactly {paragraphs} separated by blank lines and also begins "
            'the {nth} one with the word "{word}".',
            "Your response must either not have exactly {paragraphs} (divided by blank lines), "
            'or not start the {nth} paragraph with the word "{word}".',
            "If you write exactly {paragraphs}, divided by blank lines, "
            'do not open the {nth} one with the word "{word}".',
        ),
        ("zh", "must"): (
            "请写正好{paragraphs}个段落，段落之间空一行，且第{nth}段以“{word}”一词开头。",
            "你的回复必须恰好有{paragraphs}个以空行分隔的段落，第{nth}段的第一个词必须是“{word}”。",
            "第{nth}段请以“{word}”一词开头，全文不多不少{paragraphs}段，以空行分隔。",
        ),
        ("zh", "must_not"): (
            "请不要既写正好{paragraphs}个以空行分隔的段落，又让第{nth}段以“{word}”一词开头。",
            "你的回复要么不是正好{paragraphs}个段落（以空行分隔），要么第{nth}段不以“{word}”一词开头。",
            "如果恰好写了{paragraphs}个以空行分隔的段落，第{nth}段就不得以“{word}”一词开头。",
        ),
    }

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.nth > self.paragraphs:
            raise ValueError(
                f"paragraph {self.nth} of {self.paragraphs} does not exist: nth must not exceed paragraphs"
            )
        return self

    def holds(self, response: str, query: str = "") -> bool:
        """Whether the paragraphs number so many, and the word opens the nth of them."""
        parts = response.split("\n\n")
        filled = sum(1 for part in parts if part.strip())
        # the reference numbers paragraphs with the empty ones and counts them without: kept as it is
        if filled != self.paragraphs or self.nth > filled:
            return False
        words = parts[self.nth - 1].split(maxsplit=1)
        if not words:
            return False
        first = words[0].lstrip("'").lstrip('"')
        first = _FIRST_WORD_END.split(first, maxsplit=1)[0]
        # letter by letter: the lower case of a whole Greek word ends in another sigma
        return "".join(map(str.lower, first)) == self.word.lower()

    def words(self, language: Language) -> dict[str, str]:
        """The number with its noun, and the ordinal, in English."""
        nth = str(self.nth) if language == "zh" else ordinal(self.nth)
        return {"paragraphs": _paragraphs(language, self.paragraphs), "nth": nth, "word": self.word}


CHECKS: tuple[type[BaseCheck], ...] = (WordCount, SentenceCount, ParagraphCount, FirstWordOfParagraph)
