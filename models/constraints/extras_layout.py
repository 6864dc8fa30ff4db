"""Checks on lines, blocks and Markdown beyond IFEval's."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from models.base import Language
from models.constraints.base import BaseCheck
from models.constraints.extras_marks import PatternCount
from models.constraints.extras_wording import ItemCount, SizeCount
from models.constraints.states import FlagCheck, FlagTexts

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_DELIMITER_CELL = re.compile(r":?-+:?")


def filled_lines(text: str) -> list[str]:
    """The lines that hold more than whitespace."""
    return [line for line in text.split("\n") if line.strip()]


class NumberedListCount(PatternCount):
    """Lines that start as an item of a numbered list does: "1." or "1)" or "1、", then text."""

    kind: Literal["numbered_list_count"] = "numbered_list_count"
    verb: ClassVar[dict[Language, str]] = {"en": "write", "zh": "写"}
    item: ClassVar[str] = 'numbered list item (a line starting with a number such as "1.")'
    items: ClassVar[str] = 'numbered list items (lines starting with a number such as "1.")'
    item_zh: ClassVar[str] = "编号列表项（以“1.”或“1、”这样的编号开头的行）"
    # a digit after the full stop makes it a decimal fraction
    pattern: ClassVar[re.Pattern[str]] = re.compile(r"^[ \t]*[0-9]{1,9}[.)、．）](?![0-9])[ \t]*\S", re.MULTILINE)


class HeadingCount(PatternCount):
    """Markdown headings that start with number signs."""

    kind: Literal["heading_count"] = "heading_count"
    item: ClassVar[str] = "Markdown heading (a line starting with # and a space)"
    items: ClassVar[str] = "Markdown headings (lines starting with # and a space)"
    item_zh: ClassVar[str] = "Markdown标题（以#加空格开头的行）"
    pattern: ClassVar[re.Pattern[str]] = re.compile(r"^ {0,3}#{1,6}[ \t]+\S", re.MULTILINE)


class BoldCount(PatternCount):
    """Passages in Markdown bold."""

    kind: Literal["bold_count"] = "bold_count"
    verb: ClassVar[dict[Language, str]] = {"en": "use", "zh": "写"}
    item: ClassVar[str] = "passage in Markdown bold (**like this**)"
    items: ClassVar[str] = "passages in Markdown bold (**like this**)"
    item_zh: ClassVar[str] = "Markdown粗体内容（如**这样**）"
    classifier: ClassVar[str] = "处"
    pattern: ClassVar[re.Pattern[str]] = re.compile(r"\*\*(?!\s)[^*\n]+(?<!\s)\*\*")


class CodeBlockCount(ItemCount):
    """Fenced code blocks, as CommonMark reads them: one that is never closed runs to the end and counts."""

    kind: Literal["code_block_count"] = "code_block_count"
    item: ClassVar[str] = "fenced code block (opened by a line starting with ```)"
    items: ClassVar[str] = "fenced code blocks (opened by a line starting with ```)"
    item_zh: ClassVar[str] = "围栏代码块（由```开头的行开始）"

    def measure(self, response: str, query: str = "") -> int:
        """The number of blocks that are opened."""
        blocks, fence = 0, ""
        for line in response.split("\n"):
            found = _FENCE.match(line)
            if not found:
                continue
            marks, rest = found.groups()
            if fence:
                # a block is closed by its own kind of fence, at least as long and with nothing after it
                if marks.startswith(fence) and not rest.strip():
                    fence = ""
            elif marks[0] == "~" or "`" not in rest:
                blocks, fence = blocks + 1, marks
        return blocks


class LineCount(ItemCount):
    """Lines that are not blank."""

    kind: Literal["line_count"] = "line_count"
    verb: ClassVar[dict[Language, str]] = {"en": "write", "zh": "写"}
    item: ClassVar[str] = "line of text (blank lines not counted)"
    items: ClassVar[str] = "lines of text (blank lines not counted)"
    item_zh: ClassVar[str] = "文字（空行不计）"
    classifier: ClassVar[str] = "行"

    def measure(self, response: str, query: str = "") -> int:
        """The number of lines that are not blank."""
        return len(filled_lines(response))


class LongestLine(SizeCount):
    """Characters of the longest line, without the whitespace around it."""

    kind: Literal["longest_line"] = "longest_line"
    the: ClassVar[dict[Language, str]] = {"en": "the longest line of your response", "zh": "回答中最长的一行"}
    item: ClassVar[str] = "character"
    item_zh: ClassVar[str] = "字符"

    def measure(self, response: str, query: str = "") -> int:
        """Characters of the longest line; 0 for an empty response."""
        return max(len(line.strip()) for line in response.split("\n"))


class Table(FlagCheck):
    """A Markdown table: a row with a bar, below it the row of dashes with as many columns."""

    kind: Literal["table"] = "table"
    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            "Include a Markdown table.",
            "Your response must contain a Markdown table.",
            "There must be a table in Markdown format in your response.",
        ),
        ("en", "must_not"): (
            "Do not include a Markdown table.",
            "Your response must not contain a Markdown table.",
            "There must be no table in Markdown format in your response.",
        ),
        ("zh", "must"): (
            "请使用Markdown表格。",
            "回答必须包含Markdown表格。",
            "回答中要有Markdown格式的表格。",
        ),
        ("zh", "must_not"): (
            "请不要使用Markdown表格。",
            "回答不能包含Markdown表格。",
            "回答中不得有Markdown格式的表格。",
        ),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether a header row stands above a row of dashes with the same number of cells."""
        above = 0
        for line in response.split("\n"):
            cells = _cells(line)
            if cells and len(cells) == above and all(_DELIMITER_CELL.fullmatch(cell.strip()) for cell in cells):
                return True
            above = len(cells)
        return False


def _cells(line: str) -> list[str]:
    """The cells of a table row; none where the line has no bar."""
    row = line.strip()
    return row.removeprefix("|").removesuffix("|").split("|") if "|" in row else []


class SingleParagraph(FlagCheck):
    """No blank line inside the response."""

    kind: Literal["single_paragraph"] = "single_paragraph"
    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            "Write a single block of text without any blank lines.",
            "Your response must not contain a blank line anywhere inside it.",
            "Do not separate parts of your response with blank lines.",
        ),
        ("en", "must_not"): (
            "Separate parts of your response with at least one blank line.",
            "Your response must contain a blank line somewhere inside it.",
            "Do not write a single block of text; put a blank line between parts.",
        ),
        ("zh", "must"): (
            "请写成一整段，中间不要有空行。",
            "回答内部不得出现空行。",
            "请不要用空行分隔回答的各部分。",
        ),
        ("zh", "must_not"): (
            "请用至少一个空行分隔回答的各部分。",
            "回答内部必须有空行。",
            "请不要写成一整段，各部分之间要有空行。",
        ),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether every line between the first and the last with text has text, too."""
        return all(line.strip() for line in response.strip().split("\n")) or not response.strip()


CHECKS: tuple[type[BaseCheck], ...] = (
    NumberedListCount,
    HeadingCount,
    BoldCount,
    CodeBlockCount,
    LineCount,
    LongestLine,
    Table,
    SingleParagraph,
)
