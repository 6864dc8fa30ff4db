"""Checks on what is counted character by character: punctuation, numerals, emoji, short spans in the text."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from models.base import Language
from models.constraints.base import BaseCheck
from models.constraints.extras_wording import ItemCount

# Every pattern here is linear: a repeated part cannot match what follows it, so nothing is tried twice.


class MarkCount(ItemCount):
    """How often the characters of one punctuation mark occur, half-width or full-width."""

    marks: ClassVar[str]

    def measure(self, response: str, query: str = "") -> int:
        """The number of marks."""
        return sum(response.count(mark) for mark in self.marks)


class PatternCount(ItemCount):
    """How many non-overlapping places a pattern matches, from left to right."""

    pattern: ClassVar[re.Pattern[str]]

    def measure(self, response: str, query: str = "") -> int:
        """The number of matches."""
        return sum(1 for _ in self.pattern.finditer(response))


class CharacterCount(ItemCount):
    """Characters that are not whitespace: the length measure of Chinese."""

    kind: Literal["character_count"] = "character_count"
    verb: ClassVar[dict[Language, str]] = {"en": "write", "zh": "写"}
    item: ClassVar[str] = "character (whitespace not counted)"
    items: ClassVar[str] = "characters (whitespace not counted)"
    item_zh: ClassVar[str] = "字符（标点计入，空白不计）"

    def measure(self, response: str, query: str = "") -> int:
        """Characters that are not whitespace."""
        return sum(map(len, response.split()))


class EmojiCount(ItemCount):
    """Emoji as Unicode lists them; a joined sequence (a family, a flag) is one."""

    kind: Literal["emoji_count"] = "emoji_count"
    item: ClassVar[str] = "emoji"
    items: ClassVar[str] = "emoji"
    item_zh: ClassVar[str] = "表情符号（emoji）"

    def measure(self, response: str, query: str = "") -> int:
        """The number of emoji."""
        # the library walks every character in Python; no emoji is ASCII
        if response.isascii():
            return 0
        import emoji  # here: 6 MB and a fifth of a second of every command's start

        return emoji.emoji_count(response)


class NumberCount(PatternCount):
    """Numerals written in digits: 42, 3.5 and 1,000 are one each."""

    kind: Literal["number_count"] = "number_count"
    item: ClassVar[str] = "number written in digits"
    items: ClassVar[str] = "numbers written in digits"
    item_zh: ClassVar[str] = "阿拉伯数字（如42、3.5，各算一个）"
    pattern: ClassVar[re.Pattern[str]] = re.compile(
        r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|[０-９]+"
    )


class ExclamationCount(MarkCount):
    """Exclamation marks."""

    kind: Literal["exclamation_count"] = "exclamation_count"
    item: ClassVar[str] = "exclamation mark"
    item_zh: ClassVar[str] = "感叹号"
    marks: ClassVar[str] = "!！"


class QuestionCount(MarkCount):
    """Question marks."""

    kind: Literal["question_count"] = "question_count"
    item: ClassVar[str] = "question mark"
    item_zh: ClassVar[str] = "问号"
    marks: ClassVar[str] = "?？"


class CommaCount(MarkCount):
    """Commas; the Chinese enumeration comma is a mark of its own and is not counted."""

    kind: Literal["comma_count"] = "comma_count"
    item: ClassVar[str] = "comma"
    item_zh: ClassVar[str] = "逗号"
    marks: ClassVar[str] = ",，"


class ColonCount(MarkCount):
    """Colons."""

    kind: Literal["colon_count"] = "colon_count"
    item: ClassVar[str] = "colon"
    item_zh: ClassVar[str] = "冒号"
    marks: ClassVar[str] = ":："


class SemicolonCount(MarkCount):
    """Semicolons."""

    kind: Literal["semicolon_count"] = "semicolon_count"
    item: ClassVar[str] = "semicolon"
    item_zh: ClassVar[str] = "分号"
    marks: ClassVar[str] = ";；"


class EllipsisCount(PatternCount):
    """Ellipses: three or more full stops in a row, or the ellipsis character; a Chinese double one is one."""

    kind: Literal["ellipsis_count"] = "ellipsis_count"
    item: ClassVar[str] = "ellipsis"
    items: ClassVar[str] = "ellipses"
    item_zh: ClassVar[str] = "省略号"
    pattern: ClassVar[re.Pattern[str]] = re.compile(r"\.{3,}|…+")


class DashCount(PatternCount):
    """Em dashes; a Chinese double one is one."""

    kind: Literal["dash_count"] = "dash_count"
    item: ClassVar[str] = "em dash (—)"
    items: ClassVar[str] = "em dashes (—)"
    item_zh: ClassVar[str] = "破折号（—）"
    pattern: ClassVar[re.Pattern[str]] = re.compile("—+")


class ParenthesisCount(PatternCount):
    """Pairs of round brackets; of nested ones the innermost counts."""

    kind: Literal["parenthesis_count"] = "parenthesis_count"
    verb: ClassVar[dict[Language, str]] = {"en": "use", "zh": "写"}
    item: ClassVar[str] = "remark in parentheses"
    items: ClassVar[str] = "remarks in parentheses"
    item_zh: ClassVar[str] = "带圆括号的内容"
    classifier: ClassVar[str] = "处"
    pattern: ClassVar[re.Pattern[str]] = re.compile(r"[(（][^()（）]+[)）]")


class QuotationCount(PatternCount):
    """Passages in double quotation marks, straight, curly or cornered."""

    kind: Literal["quotation_count"] = "quotation_count"
    verb: ClassVar[dict[Language, str]] = {"en": "use", "zh": "写"}
    item: ClassVar[str] = "passage in double quotation marks"
    items: ClassVar[str] = "passages in double quotation marks"
    item_zh: ClassVar[str] = "带双引号的内容"
    classifier: ClassVar[str] = "处"
    pattern: ClassVar[re.Pattern[str]] = re.compile(r'"[^"\n]+"|“[^“”\n]+”|「[^「」\n]+」')


class UrlCount(PatternCount):
    """Web addresses."""

    kind: Literal["url_count"] = "url_count"
    verb: ClassVar[dict[Language, str]] = {"en": "give", "zh": "给出"}
    item: ClassVar[str] = "web address starting with http:// or https://"
    items: ClassVar[str] = "web addresses starting with http:// or https://"
    item_zh: ClassVar[str] = "以http://或https://开头的网址"
    pattern: ClassVar[re.Pattern[str]] = re.compile(r"https?://[^\s]+", re.IGNORECASE)


class ContractionCount(PatternCount):
    """English contractions; 's is left out, for it may be a genitive."""

    kind: Literal["contraction_count"] = "contraction_count"
    item: ClassVar[str] = "contraction ending in n't, 're, 've, 'll, 'd or 'm"
    items: ClassVar[str] = "contractions ending in n't, 're, 've, 'll, 'd or 'm"
    item_zh: ClassVar[str] = "以n't、're、've、'll、'd或'm结尾的英文缩写"
    pattern: ClassVar[re.Pattern[str]] = re.compile(
        r"(?<=[A-Za-z])(?:n['’]t|['’](?:re|ve|ll|d|m))(?![A-Za-z])", re.IGNORECASE
    )


class HashtagCount(PatternCount):
    """Hashtags: a number sign directly before a word."""

    kind: Literal["hashtag_count"] = "hashtag_count"
    item: ClassVar[str] = "hashtag (such as #news)"
    items: ClassVar[str] = "hashtags (such as #news)"
    item_zh: ClassVar[str] = "话题标签（如#新闻）"
    pattern: ClassVar[re.Pattern[str]] = re.compile(r"(?<![\w#])#\w+")


CHECKS: tuple[type[BaseCheck], ...] = (
    CharacterCount,
    EmojiCount,
    NumberCount,
    ExclamationCount,
    QuestionCount,
    CommaCount,
    ColonCount,
    SemicolonCount,
    EllipsisCount,
    DashCount,
    ParenthesisCount,
    QuotationCount,
    UrlCount,
    ContractionCount,
    HashtagCount,
)
