"""Markdown for the artifacts that the Prefect UI shows, and for dataset cards."""

from __future__ import annotations

import re
from collections.abc import Sequence


def table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A table, as wide as its head."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def escape(text: str) -> str:
    """Text as a line of Markdown that shows just this: no markup, no HTML, no link, no end of a table's cell."""
    line = " ".join(text.split())
    # the entities are made first, or their own ampersands and semicolons would be escaped
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        line = line.replace(char, entity)
    return re.sub(r"([\\`*_\[\]|~#!])", r"\\\1", line).replace("://", ":&#47;&#47;")


def fence(text: str, language: str = "text") -> str:
    """Text as a block that shows it letter by letter; no run of backticks in it ends the block."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    marks = "`" * max(3, longest + 1)
    return f"{marks}{language}\n{text}\n{marks}"
