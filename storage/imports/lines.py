"""Cutting a stream of UTF-8 into the rows of JSON lines or of a JSON list, each of bounded size."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO, NamedTuple

from storage.imports.opening import DAMAGED
from storage.imports.rows import EXCERPT_BYTES, Refused, refuse

_CHUNK = 1 << 16


class Line(NamedTuple):
    """The bytes of one row."""

    number: int
    """Line of the file on which it begins, from 1."""
    data: bytes


def read_lines(stream: IO[bytes], max_bytes: int) -> Iterator[Line | Refused]:
    """The lines of a stream without their ends; of a longer one no more than the beginning is ever in memory."""
    number = 0
    try:
        while data := stream.readline(max_bytes + 2):
            number += 1
            if data.endswith(b"\n") or len(data) <= max_bytes:
                yield Line(number, data.removesuffix(b"\n").removesuffix(b"\r"))
                continue
            head, size = data[:EXCERPT_BYTES], len(data)
            while not data.endswith(b"\n") and (data := stream.readline(_CHUNK)):
                size += len(data)
            yield too_long(number, head, size, max_bytes)
    except DAMAGED as error:
        yield refuse(number + 1, "cut_off", f"the compressed file is damaged from here on: {error}", b"")


def too_long(number: int, head: bytes, size: int, max_bytes: int) -> Refused:
    """A row that is longer than the limit."""
    return refuse(number, "too_long", f"{size:,} bytes; at most {max_bytes:,} (--max-line-bytes)", head)


_OUTSIDE = re.compile(rb'["\[\]{},]')
_INSIDE = re.compile(rb'["\\]')


def split_list(stream: IO[bytes], max_bytes: int) -> Iterator[Line | Refused]:
    """The elements of a JSON list, as they stand there; brackets and quotes are followed, all else is for a parser.

    A broken element costs itself only; where a quote or a bracket is missing, what follows is part of it.

    Args:
        stream: Begins with the list's opening bracket, perhaps after white space.
        max_bytes: Bytes of an element at most; of a longer one no more is ever in memory.
    """
    cutter = _Cutter(max_bytes)
    try:
        while not cutter.closed and (chunk := stream.read(_CHUNK)):
            yield from cutter.feed(chunk)
        if cutter.rest.strip() or stream.read(_CHUNK).strip():
            yield refuse(cutter.line, "not_json", "text after the end of the list", cutter.rest)
    except DAMAGED as error:
        yield refuse(cutter.line, "cut_off", f"the compressed file is damaged from here on: {error}", b"")
        return
    if not cutter.closed:
        yield refuse(cutter.begin, "cut_off", "the list does not end: a bracket or a quote is missing", cutter.element)


class _Cutter:
    """Where in a list the stream is: in how many brackets, whether in a string, and the element so far."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._depth = -1  # before the list
        self._quoted = self._escaped = False
        self._size = 0
        self.element = bytearray()
        self.line = self.begin = 1
        """The line of the stream, and that on which the element begins."""
        self.closed = False
        self.rest = b""
        """What follows the list."""

    def feed(self, chunk: bytes) -> Iterator[Line | Refused]:
        """The elements that end in the next chunk."""
        start, place = 0, int(self._escaped)
        while match := (_INSIDE if self._quoted else _OUTSIDE).search(chunk, place):
            place, mark = match.end(), match[0]
            if mark == b'"':
                self._quoted = not self._quoted
            elif mark == b"\\":
                place += 1  # what is escaped ends no string
            elif mark in (b"[", b"{"):
                self._depth += 1
                if self._depth == 0:
                    self.line += chunk.count(b"\n", 0, place)
                    start = place
            elif self._depth == 0 and mark in (b",", b"]"):
                self._take(chunk[start : place - 1])
                yield from self._finish(last=mark == b"]")
                start = place
                if mark == b"]":
                    self.closed, self.rest = True, chunk[place:]
                    return
            elif mark != b"," and self._depth > 0:
                self._depth -= 1
        self._escaped = place > len(chunk)
        self._take(chunk[start:])

    def _take(self, data: bytes) -> None:
        lines = data.count(b"\n")
        if not self.element:
            data = data.lstrip()
            self.begin = self.line + lines - data.count(b"\n")
        self.line += lines
        self._size += len(data)
        self.element += data[: self._max_bytes + 1 - len(self.element)]

    def _finish(self, *, last: bool) -> Iterator[Line | Refused]:
        data = bytes(self.element).rstrip()
        if self._size > self._max_bytes:
            yield too_long(self.begin, data, self._size, self._max_bytes)
        elif data:
            yield Line(self.begin, data)
        elif not last:
            yield refuse(self.begin, "not_json", "nothing before a comma", b",")
        self.element, self._size = bytearray(), 0
