"""How a response is laid out in markdown and JSON: placeholders, bullets, highlights, sections, a title."""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar, Literal

from pydantic import Field

from models.constraints.base import BaseCheck
from models.constraints.states import CountedCheck, CountTexts, FlagCheck, FlagTexts


class PlaceholderCount(CountedCheck):
    """Placeholders in square brackets on one line."""

    kind: Literal["placeholder_count"] = "placeholder_count"

    nouns = ("placeholder in square brackets", "placeholders in square brackets")
    noun_zh = ("个", "方括号占位符")
    texts: ClassVar[CountTexts] = {
        "en": (
            "Use {counted} in your response, such as [address].",
            "Your response must contain {counted}, for example [name].",
            "Write {counted}, like [date].",
        ),
        "zh": (
            "请在回复中使用{counted}，例如[地址]。",
            "你的回复必须包含{counted}，例如[姓名]。",
            "请写出{counted}，如[日期]。",
        ),
    }
    none_texts: ClassVar[CountTexts] = {
        "en": (
            "Do not use any placeholders in square brackets, such as [address].",
            "Your response must not contain anything in square brackets, for example [name].",
            "Avoid placeholders like [date]: write nothing in square brackets.",
        ),
        "zh": (
            "请不要使用任何方括号占位符，例如[地址]。",
            "你的回复不得包含任何方括号内容，例如[姓名]。",
            "请避免[日期]这类占位符，不要写任何方括号内容。",
        ),
    }

    def measure(self, response: str, query: str = "") -> int:
        """Each "[" with the next "]" of its line."""
        return sum(_placeholders(line) for line in response.split("\n"))


def _placeholders(line: str) -> int:
    # a loop, since the reference's lazy pattern takes quadratic time on a row of "["
    number, start = 0, line.find("[")
    while start >= 0 and (end := line.find("]", start)) >= 0:
        number += 1
        start = line.find("[", end)
    return number


# the reference lets a bullet's leading space reach over blank lines, in quadratic time and with the same number
_STAR_BULLET = re.compile(r"^[^\S\n]*\*[^*].*$", re.MULTILINE)
_DASH_BULLET = re.compile(r"^[^\S\n]*-.*$", re.MULTILINE)


class BulletCount(CountedCheck):
    """Lines that begin with ``*`` (and no second one) or with ``-``."""

    kind: Literal["bullet_count"] = "bullet_count"

    nouns = ("markdown bullet point", "markdown bullet points")
    noun_zh = ("个", "Markdown项目符号")
    texts: ClassVar[CountTexts] = {
        "en": (
            'Use {counted} in your response: lines that start with "* " or "-".',
            'Your response must contain {counted}, each a line starting with "* " or "-".',
            'Write {counted}, that is, lines beginning with "* " or "-".',
        ),
        "zh": (
            "请在回复中使用{counted}（以“* ”或“-”开头的行）。",
            "你的回复必须包含{counted}，每个都是以“* ”或“-”开头的一行。",
            "请写{counted}，即以“* ”或“-”开头的行。",
        ),
    }
    none_texts: ClassVar[CountTexts] = {
        "en": (
            'Do not use any bullet points: no line may start with "* " or "-".',
            'Your response must not contain bullet points, i.e. lines that start with "* " or "-".',
            'Avoid bullet points completely (lines beginning with "* " or "-").',
        ),
        "zh": (
            "请不要使用项目符号：任何一行都不得以“* ”或“-”开头。",
            "你的回复不得包含项目符号，即以“* ”或“-”开头的行。",
            "请完全避免项目符号（以“* ”或“-”开头的行）。",
        ),
    }

    def measure(self, response: str, query: str = "") -> int:
        """IFEval's two patterns together."""
        return len(_STAR_BULLET.findall(response)) + len(_DASH_BULLET.findall(response))


_HIGHLIGHT = re.compile(r"\*[^\n*]*\*")
_DOUBLE_HIGHLIGHT = re.compile(r"\*\*([^\n*]*)\*\*")


class HighlightCount(CountedCheck):
    """Passages between single or double asterisks on one line."""

    kind: Literal["highlight_count"] = "highlight_count"

    nouns = ("highlighted passage", "highlighted passages")
    noun_zh = ("处", "高亮内容")
    texts: ClassVar[CountTexts] = {
        "en": (
            "Use {counted} in your response, marked with asterisks like *this* or **this**.",
            "Your response must contain {counted} in markdown, i.e. *between asterisks* or **between double ones**.",
            "Write {counted}, with markdown asterisks as in *this* or **this**.",
        ),
        "zh": (
            "请在回复中使用{counted}，用星号标记，例如*这样*或**这样**。",
            "你的回复必须包含{counted}（Markdown格式，即*单星号*或**双星号**之间的文字）。",
            "请写出{counted}，用Markdown星号标出，如*这样*或**这样**。",
        ),
    }
    none_texts: ClassVar[CountTexts] = {
        "en": (
            "Do not highlight anything with asterisks, neither like *this* nor like **this**.",
            "Your response must not contain highlighted passages in markdown, *between asterisks* "
            "or **between double ones**.",
            "Avoid markdown emphasis: put no text between asterisks, as in *this* or **this**.",
        ),
        "zh": (
            "请不要用星号高亮任何内容，无论是*这样*还是**这样**。",
            "你的回复不得包含Markdown高亮内容，即*单星号*或**双星号**之间的文字。",
            "请避免Markdown强调：不要把文字放在星号之间，如*这样*或**这样**。",
        ),
    }

    def measure(self, response: str, query: str = "") -> int:
        """Single and double asterisks apart, passages of spaces left out."""
        single = sum(1 for found in _HIGHLIGHT.findall(response) if found.strip("*").strip())
        return single + sum(1 for found in _DOUBLE_HIGHLIGHT.findall(response) if found.strip())


class SectionCount(CountedCheck):
    """Headings made of a marker and a number: "Section 1"."""

    kind: Literal["section_count"] = "section_count"
    marker: str = Field(
        min_length=1, max_length=50, pattern=r"^\S(.*\S)?$", description="The word before the number, as it is spelt."
    )

    nouns = ("section", "sections")
    noun_zh = ("个", "部分")
    texts: ClassVar[CountTexts] = {
        "en": (
            'Write {counted}, each beginning with "{marker}" and a number, such as "{marker} 1".',
            'Your response must have {counted}. Mark the beginning of each with a heading such as "{marker} 1".',
            'Organise your response in {counted}, headed "{marker} 1", "{marker} 2" and so on.',
        ),
        "zh": (
            "请写{counted}，每个部分以“{marker}”加数字开头，例如“{marker} 1”。",
            "你的回复必须有{counted}，每个部分的开头标上“{marker}”加编号，例如“{marker} 1”。",
            "请把回复组织成{counted}，标题依次为“{marker} 1”“{marker} 2”等。",
        ),
    }
    none_texts: ClassVar[CountTexts] = {
        "en": (
            'Do not write any sections headed "{marker}" with a number, such as "{marker} 1".',
            'Your response must not contain "{marker}" followed by a number, for example "{marker} 1".',
            'Never write "{marker}" before a number, as in "{marker} 1".',
        ),
        "zh": (
            "请不要写以“{marker}”加数字为标题的部分，例如“{marker} 1”。",
            "你的回复不得出现“{marker}”后接数字，例如“{marker} 1”。",
            "请勿在数字前写“{marker}”，如“{marker} 1”。",
        ),
    }

    def measure(self, response: str, query: str = "") -> int:
        """Occurrences of the marker with a number, anywhere."""
        return len(re.findall(rf"{re.escape(self.marker)}\s?\d+", response))


_MAX_JSON_DEPTH = 200


class JsonFormat(FlagCheck):
    """The whole response is one JSON value, in a code fence or not."""

    kind: Literal["json_format"] = "json_format"

    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            "Write your entire response as valid JSON; a markdown code fence (```) around it is fine.",
            "Your whole output must be a single JSON value, with or without markdown ticks (```) around it.",
            "Respond with nothing but valid JSON, which you may wrap in a markdown code fence (```).",
        ),
        ("en", "must_not"): (
            "Do not write your response as JSON, with or without a code fence.",
            "Your whole output must not be valid JSON, not even inside markdown ticks (```).",
            "Respond in any form other than a single valid JSON value.",
        ),
        ("zh", "must"): (
            "请将整个回复写成有效的JSON，可以放在Markdown代码块（```）中。",
            "你的全部输出必须是一个JSON值，外面可以加Markdown反引号（```）。",
            "请只用有效的JSON回复，可用Markdown代码块（```）包裹。",
        ),
        ("zh", "must_not"): (
            "请不要把回复写成JSON，无论是否放在代码块中。",
            "你的全部输出不得是有效的JSON，放在Markdown反引号（```）中也不行。",
            "请用单个有效JSON值以外的任何形式回复。",
        ),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether it parses. Nesting beyond 200 levels counts as not JSON: how deep Python reads varies."""
        text = response.strip()
        for fence in ("```json", "```Json", "```JSON", "```"):
            text = text.removeprefix(fence)
        text = text.removesuffix("```").strip()
        try:
            # numbers stay text: Python refuses integers of more than 4300 digits
            value = json.loads(text, parse_int=str, parse_float=str)
        except (ValueError, RecursionError):
            return False
        return text.count("[") + text.count("{") <= _MAX_JSON_DEPTH or _depth(value) <= _MAX_JSON_DEPTH


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, (list, dict))]:
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth


class Title(FlagCheck):
    """A title in double angular brackets on one line."""

    kind: Literal["title"] = "title"

    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            "Include a title wrapped in double angular brackets, such as <<a poem of joy>>.",
            "Your response must contain a title in double angular brackets, for example <<my title>>.",
            "Give your response a title and write it in double angular brackets, like <<this>>.",
        ),
        ("en", "must_not"): (
            "Do not include a title wrapped in double angular brackets, such as <<a poem of joy>>.",
            "Your response must not contain anything in double angular brackets, for example <<my title>>.",
            "Never write text in double angular brackets, like <<this>>.",
        ),
        ("zh", "must"): (
            "请写一个用双尖括号括起来的标题，例如<<喜悦之诗>>。",
            "你的回复必须包含一个放在双尖括号中的标题，例如<<我的标题>>。",
            "请为回复加上标题，并写在双尖括号里，如<<这样>>。",
        ),
        ("zh", "must_not"): (
            "请不要写用双尖括号括起来的标题，例如<<喜悦之诗>>。",
            "你的回复不得包含任何放在双尖括号中的内容，例如<<我的标题>>。",
            "请勿在双尖括号里写任何文字，如<<这样>>。",
        ),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether a line has more than brackets and spaces from its first "<<" to its last ">>"."""
        return any(_has_title(line) for line in response.split("\n"))


def _has_title(line: str) -> bool:
    # what the reference's greedy pattern finds, which takes quadratic time on a row of "<"
    start, end = line.find("<<"), line.rfind(">>")
    return 0 <= start < end - 2 and bool(line[start : end + 2].lstrip("<").rstrip(">").strip())


CHECKS: tuple[type[BaseCheck], ...] = (
    PlaceholderCount,
    BulletCount,
    HighlightCount,
    SectionCount,
    JsonFormat,
    Title,
)
