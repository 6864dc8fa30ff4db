"""What a reader gives: rows, and those that are refused."""

from __future__ import annotations

from typing import Any, NamedTuple

from models.imports import Reason

EXCERPT_CHARS = 120
EXCERPT_BYTES = 4 * EXCERPT_CHARS


class Row(NamedTuple):
    """A row as it stands in the file."""

    line: int
    """Line of the file on which it begins, from 1; in Parquet the row."""
    values: dict[str, Any]


class Refused(NamedTuple):
    """A row that is not taken."""

    line: int
    """Line of the file on which it begins, from 1; in Parquet the row."""
    reason: str
    """One word, to count by: a ``models.imports.Reason``, or a word of those who look closer."""
    field: str
    """The field that is to blame; empty: the row."""
    what: str
    """Why, in words."""
    excerpt: str
    """Its beginning, printable."""


def refuse(line: int, reason: Reason, what: str, data: bytes | bytearray | str, field: str = "") -> Refused:
    """A row that is not taken, with its beginning."""
    return Refused(line, reason, field, what, excerpt_of(data))


def excerpt_of(data: bytes | bytearray | str) -> str:
    """The beginning of a row, on one line and printable, for a report."""
    text = data if isinstance(data, str) else bytes(data[:EXCERPT_BYTES]).decode("utf-8", "replace")
    shown = "".join(char if char.isprintable() else "\ufffd" for char in text[:EXCERPT_CHARS])
    return shown + ("…" if len(text) > EXCERPT_CHARS else "")
