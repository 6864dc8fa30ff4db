"""Rows of JSON lines, JSON lists, CSV, TSV and Parquet: one at a time, each read or refused with its line and why."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from models.errors import ImportFileError
from models.imports import ReadLimits, Reason
from storage.imports.csv_rows import read_csv
from storage.imports.lines import Line, read_lines, split_list
from storage.imports.opening import open_text
from storage.imports.parquet_rows import read_parquet
from storage.imports.rows import Refused, Row, excerpt_of, refuse

MAX_DEPTH = 64
"""Brackets within brackets of a row at most."""

# the first line of an object that is written over several: it is not at its end, and no other object follows
_OBJECT_OF_LINES = re.compile(rb"\{(?:[^\n]*[,\[{])?\s*\n\s*[^{\s]")


def read_rows(
    path: Path, limits: ReadLimits | None = None, *, columns: Collection[str] | None = None
) -> Iterator[Row | Refused]:
    """The rows of a file, each as a mapping or refused; in constant memory, whatever its size and whatever is in it.

    By its name (a last ``.gz`` aside) it is ``.parquet``, ``.csv`` or ``.tsv``, else JSON: a list where it begins with
    a bracket, lines otherwise. What is in it is data: nothing is evaluated, and no text of it becomes a name.

    Args:
        path: The file.
        limits: How much of it is taken.
        columns: All that is needed of a row: Parquet is read in a fraction of the time then; other files have all.

    Raises:
        ImportFileError: The file cannot be read at all, or unpacks to more than the limits allow (then after some
            rows).
    """
    limits = limits or ReadLimits()
    kind = kind_of(path)
    rows = read_parquet(path, limits, columns) if kind == "parquet" else _read_text(path, kind, limits)
    for row in rows:
        yield row if isinstance(row, Refused) else _refuse_odd(row, limits) or row


def kind_of(path: Path) -> str:
    """What a file is by its name: parquet, csv, tsv or json."""
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix.removeprefix(".")
    return suffix if suffix in ("parquet", "csv", "tsv") else "json"


def _read_text(path: Path, kind: str, limits: ReadLimits) -> Iterator[Row | Refused]:
    with open_text(path, limits) as stream:
        if kind in ("csv", "tsv"):
            yield from read_csv(path, stream, "\t" if kind == "tsv" else None, limits.max_line_bytes)
            return
        head: bytes = stream.peek(64).lstrip()  # type: ignore[attr-defined]
        if _OBJECT_OF_LINES.match(head):
            raise ImportFileError(
                f"{path} is one JSON object over several lines.",
                safe="Nothing was written.",
                next_step="Put it in brackets, as a JSON list of objects, or write one object a line.",
            )
        cut = split_list if head.startswith(b"[") else read_lines
        for line in cut(stream, limits.max_line_bytes):
            if isinstance(line, Refused):
                yield line
            elif line.data.strip():
                yield parse_object(line)


class _RefusedValueError(ValueError):
    def __init__(self, reason: Reason, what: str, field: str = "") -> None:
        self.reason, self.field = reason, field
        super().__init__(what)


def parse_object(line: Line) -> Row | Refused:
    """The JSON object in a line."""
    values = _parse(line)
    if isinstance(values, Refused):
        return values
    if not isinstance(values, dict):
        return refuse(line.number, "not_an_object", "not an object with fields", line.data)
    return Row(line.number, values)


def unpack_cells(row: Row, names: Collection[str]) -> Row | Refused:
    """A row whose fields of these names may be JSON text, as they are in a cell of CSV."""
    values = dict(row.values)
    for name in names:
        text = values.get(name)
        if isinstance(text, str):
            values[name] = _parse(Line(row.line, text.encode()))
            if isinstance(refused := values[name], Refused):
                return refused._replace(field=name)
    unpacked = Row(row.line, values)
    return _refuse_odd(unpacked, ReadLimits()) or unpacked


def _parse(line: Line) -> Any:
    """The JSON value in a line, or its refusal."""
    try:
        return json.loads(line.data.decode(), object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite)
    except _RefusedValueError as error:
        return refuse(line.number, error.reason, str(error), line.data, error.field)
    except UnicodeDecodeError as error:
        return refuse(line.number, "not_utf8", f"byte {error.start + 1} is not UTF-8", line.data)
    except RecursionError:
        return refuse(line.number, "too_deep", "brackets within brackets, too many", line.data)
    except json.JSONDecodeError as error:
        return refuse(line.number, "not_json", f"{error.msg} at character {error.pos + 1}", line.data)
    except ValueError as error:  # a number of thousands of digits
        return refuse(line.number, "not_json", str(error), line.data)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _RefusedValueError("duplicate_key", "the field stands there twice", twice[:80])
    return values


def _no_constant(text: str) -> float:
    raise _RefusedValueError("not_finite", f"{text} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _RefusedValueError("not_finite", "a number too large")
    return value


def _refuse_odd(row: Row, limits: ReadLimits) -> Refused | None:
    """The refusal of a row with a text or number that cannot be kept as it is."""
    for name, value in row.values.items():
        odd = _odd(name, limits) or _odd(value, limits)
        if odd:
            reason, what = odd
            return refuse(row.line, reason, what, "" if reason == "too_deep" else str(row.values), excerpt_of(name))
    return None


def _odd(value: object, limits: ReadLimits, depth: int = 0) -> tuple[Reason, str] | None:
    if depth > MAX_DEPTH:
        return "too_deep", f"brackets within brackets, more than {MAX_DEPTH}"
    if isinstance(value, str):
        if len(value) > limits.max_field_chars:
            return "field_too_long", f"{len(value):,} characters; at most {limits.max_field_chars:,}"
        if value.isascii():
            return ("nul", "a NUL character") if "\0" in value else None
        if "\0" in value:
            return "nul", "a NUL character"
        try:
            value.encode()
        except UnicodeEncodeError:
            return "lone_surrogate", "half of a character (a lone surrogate)"
    elif isinstance(value, float) and not math.isfinite(value):
        return "not_finite", f"{value} is no number"
    elif isinstance(value, dict):
        return next(filter(None, (_odd(item, limits, depth + 1) for pair in value.items() for item in pair)), None)
    elif isinstance(value, list | tuple):
        return next(filter(None, (_odd(item, limits, depth + 1) for item in value)), None)
    return None
