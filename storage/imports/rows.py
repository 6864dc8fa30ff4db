"""What a reader gives: rows, and those that are refused."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any, NamedTuple

from models.imports import Reason

_WHOLE = re.compile(r"[+-]?\d{1,18}(?:\.0+)?")

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


def as_number(value: object) -> int | None:
    """A whole number or its digits, also with the ``.0`` of pandas, where one of the column is missing."""
    if isinstance(value, str) and _WHOLE.fullmatch(text := value.strip()):
        return int(text.partition(".")[0])
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float | Decimal) and math.isfinite(value) and value == int(value):
        return int(value)
    return None


def as_key(value: object) -> str:
    """What a row is named by, as text: a text as it is, a whole number without the ``.0`` of pandas."""
    number = None if isinstance(value, str) else as_number(value)
    return str(value if number is None else number)
