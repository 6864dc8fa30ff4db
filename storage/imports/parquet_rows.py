"""Rows of Parquet, a few at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from models.errors import ImportFileError
from models.imports import ReadLimits
from storage.imports.opening import folder_given, refuse_bomb
from storage.imports.rows import Refused, Row, refuse

_ROWS_AT_ONCE = 64
# a text stands once in the file and may be in every row: inside lists, say, it is copied for each
_COPIED_ROWS_AT_ONCE = 4
_BYTES_PER_CHAR = 4


def read_parquet(path: Path, limits: ReadLimits, columns: Collection[str] | None = None) -> Iterator[Row | Refused]:
    """The rows of a Parquet file, numbered from 1; with ``columns`` only these, as far as they are there.

    Raises:
        ImportFileError: It is none, is damaged (then after some rows), or holds more than the limits allow.
    """
    # imported here: it takes a moment that other formats need not wait for
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.is_dir():  # pyarrow would take it for a data set
        raise folder_given(path)
    try:
        schema = [column for column in pq.read_schema(path) if columns is None or column.name in columns]
        texts = [column.name for column in schema if pa.types.is_string(column.type)]
        if len({column.name for column in schema}) < len(schema):
            raise ValueError("two columns have one name")
        # lists, large strings and binary
        copied = not all(pa.types.is_string(column.type) or pa.types.is_primitive(column.type) for column in schema)
        # as dictionaries, texts that repeat are in memory once: 40 MB in each of 64 rows were 4.7 GB
        with pq.ParquetFile(path, memory_map=False, read_dictionary=texts) as file:
            footer = file.metadata
            groups = [footer.row_group(place) for place in range(footer.num_row_groups)]
            refuse_bomb(path, sum(group.total_byte_size for group in groups), path.stat().st_size, limits)
            first = 1
            at_once = _COPIED_ROWS_AT_ONCE if copied else _ROWS_AT_ONCE
            for batch in file.iter_batches(batch_size=at_once, columns=[column.name for column in schema]):
                yield from _rows(first, batch, limits)
                first += batch.num_rows
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ImportFileError(
            f"{path} cannot be read as Parquet: {str(error).rstrip('.')}.",
            safe="Nothing was written.",
            next_step="Check the file.",
        ) from error


def _rows(first: int, batch: Any, limits: ReadLimits) -> Iterator[Row | Refused]:
    """The rows of a batch; one by one where one of them cannot be had."""
    refused = _refuse_longest(first, batch, limits)
    if refused is None:
        try:
            yield from [Row(number, values) for number, values in enumerate(batch.to_pylist(), first)]
            return
        except UnicodeDecodeError:
            refused = refuse(first, "not_utf8", "bytes that are no UTF-8", b"")
    if batch.num_rows == 1:
        yield refused
        return
    for place in range(batch.num_rows):
        yield from _rows(first + place, batch.slice(place, 1), limits)


def _refuse_longest(first: int, batch: Any, limits: ReadLimits) -> Refused | None:
    """The refusal of a batch with a text that is too long, before it is made into Python's texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for column in batch.schema:
        if not pa.types.is_dictionary(column.type):
            continue
        values = batch.column(column.name)
        if not values.indices.null_count < len(values):
            continue
        longest = pc.max(pc.take(pc.binary_length(values.dictionary), values.indices)).as_py()
        if longest > _BYTES_PER_CHAR * limits.max_field_chars:
            what = f"{longest:,} bytes; at most {limits.max_field_chars:,} characters"
            return refuse(first, "field_too_long", what, b"", column.name[:80])
    return None
