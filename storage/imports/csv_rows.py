"""Rows of CSV: as RFC 4180 says it, with line breaks inside quotes, and a broken row costs no other."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from models.errors import ImportFileError
from storage.imports.lines import Line, read_lines
from storage.imports.rows import Refused, Row, refuse

csv.field_size_limit(1 << 30)  # rows are bounded before the parser sees them


_MOST_LINES = 10_000
"""Lines of a row: behind a quote that is never closed the whole file would be one."""


class _TooLongError(Exception):
    """The lines of a row are longer than the limit, or one of them was refused."""


class _Feed(Iterator[str]):
    """The lines of a file, with those of the present row remembered, so that it can be begun again after a bad one."""

    def __init__(self, lines: Iterator[Line | Refused], max_bytes: int) -> None:
        self._lines = lines
        self._max_bytes = max_bytes
        self._again: deque[Line | Refused] = deque()
        self.taken: list[Line | Refused] = []
        self._size = 0

    def begin_row(self) -> None:
        """Forget the lines of the row before."""
        self.taken, self._size = [], 0

    def give_up_row(self) -> Line | Refused:
        """The first line of a bad row; the others come again."""
        first, *others = self.taken
        self._again.extendleft(reversed(others))
        return first

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self.taken.append(line)
        if isinstance(line, Refused):
            raise _TooLongError
        self._size += len(line.data)
        if self._size > self._max_bytes or len(self.taken) > _MOST_LINES:
            raise _TooLongError
        # what is no UTF-8 is found in the row, by what surrogateescape leaves there
        return line.data.decode("utf-8", "surrogateescape") + "\n"


def read_csv(path: Path, stream: IO[bytes], delimiter: str | None, max_bytes: int) -> Iterator[Row | Refused]:
    """The rows of a CSV file; the first row names the columns.

    Args:
        path: The file, for messages.
        stream: Its text in UTF-8.
        delimiter: Between two fields; None: the comma, else the semicolon, else the tab of the first row.
        max_bytes: Bytes of a row at most.

    Raises:
        ImportFileError: The first row does not name columns.
    """
    feed = _Feed(read_lines(stream, max_bytes), max_bytes)
    columns: list[str] | None = None
    while True:
        feed.begin_row()
        try:
            text = next(feed)
            if columns is None and delimiter is None:
                delimiter = next((mark for mark in ",;\t" if mark in text), ",")
            fields = _parse_row(text, feed, delimiter or ",")
        except StopIteration:
            return
        except (csv.Error, _TooLongError) as error:
            first = feed.give_up_row()
            if isinstance(first, Refused):
                yield first
            elif isinstance(error, csv.Error):
                yield refuse(first.number, "not_csv", f"a quote is missing or too many: {error}", first.data)
            else:
                yield refuse(first.number, "not_csv", "the row does not end: a quote is missing", first.data)
            continue
        first = feed.taken[0]
        assert isinstance(first, Line)  # noqa: S101  (or _TooLongError was raised)
        if not any(fields):
            continue
        if columns is None:
            columns = _name_columns(path, fields)
        else:
            yield _row(first, columns, fields)


def _parse_row(text: str, feed: _Feed, delimiter: str) -> list[str]:
    def lines() -> Iterator[str]:
        yield text
        yield from feed

    return next(csv.reader(lines(), delimiter=delimiter, strict=True))


def _row(first: Line, columns: list[str], fields: list[str]) -> Row | Refused:
    if len(fields) != len(columns):
        what = f"{len(fields)} fields; the first row names {len(columns)}"
        return refuse(first.number, "wrong_columns", what, first.data)
    for name, text in zip(columns, fields, strict=True):
        if not text.isascii() and any("\udc80" <= char <= "\udcff" for char in text):
            return refuse(first.number, "not_utf8", "bytes that are no UTF-8", first.data, name)
    return Row(first.number, {name: text for name, text in zip(columns, fields, strict=True) if name})


def _name_columns(path: Path, fields: list[str]) -> list[str]:
    names = [name.strip() for name in fields]
    given = [name for name in names if name]
    if len(set(given)) < len(given) or not all(name.isprintable() for name in given):
        raise ImportFileError(
            f"The first row of {path} does not name the columns: {', '.join(map(repr, names[:10]))}.",
            safe="Nothing was written.",
            next_step="The first row of a CSV file holds a name for each column, none of them twice.",
        )
    return names
