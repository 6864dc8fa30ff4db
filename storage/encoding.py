"""The bytes of a part: how rows become a Parquet file, what its footer says, and what is wrong with a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from models.arrow import arrow_schema
from models.errors import StorageError
from models.records import DATASETS, PartRef
from storage.migrations import record_version
from storage.objects import ObjectPath
from storage.places import delete_command
from storage.roots import Root

# Version of the footer: raise it when rpo.inputs changes its meaning, not when a record gains a column
FOOTER_VERSION = "1"

UNREADABLE = (OSError, ValueError, pa.ArrowException)
"""What reading a damaged file raises: a name in it that is not UTF-8 any more is a ValueError."""

# Fixed, so that equal rows are equal bytes however they were handed over
_ROW_GROUP = 65_536
# the end of a remote part that is asked for first: nearly every footer is shorter
_TAIL_BYTES = 1 << 16


def encode_part(
    file: BinaryIO, dataset: str, data: pa.Table | Iterable[pa.RecordBatch], *, inputs: Sequence[PartRef], what: str
) -> int:
    """Write the bytes of a part; returns its rows. Equal rows and inputs are equal bytes.

    Args:
        file: Where to.
        dataset: A name in ``models.records.DATASETS``.
        data: The rows.
        inputs: The parts that they were made from.
        what: The noun for the error message, such as "Part judgments/ab12".

    Raises:
        StorageError: Columns or types are not the dataset's, or a column that must not be null is.
    """
    schema = arrow_schema(model_of(dataset))
    footer = {
        "rpo.inputs": json.dumps([ref.model_dump() for ref in inputs], separators=(",", ":")),
        "rpo.schema": FOOTER_VERSION,
        "rpo.version": str(record_version(dataset)),
    }
    batches = data.to_batches() if isinstance(data, pa.Table) else data
    rows = 0
    # without checksums one flipped byte in ten was read as other text
    with pq.ParquetWriter(file, schema.with_metadata(footer), compression="zstd", write_page_checksum=True) as writer:
        for group in _row_groups(batches, schema, what):
            writer.write_table(group, row_group_size=_ROW_GROUP)
            rows += group.num_rows
    return rows


def missing_part(path: Root | str) -> StorageError:
    """The error for a part that a reference names and the store does not have."""
    return StorageError(
        f"Part {path} is missing.",
        safe="Other parts are not affected.",
        next_step="Run the same command again: that makes this part anew.",
    )


def damaged_part(path: Root, error: Exception) -> StorageError:
    """The error for a part that cannot be read (cut short, or overwritten from outside)."""
    return StorageError(
        f"Part {path} is damaged: {error}.",
        safe="Other parts are not affected, and it is safe to delete this file.",
        next_step=f"Delete it ({delete_command(path)}) and run the same command again: that makes this part anew.",
    )


def strange_part(path: Root, model: type[BaseModel], error: ValidationError) -> StorageError:
    """The error for a part whose rows are not such records."""
    return StorageError(
        f"Part {path} does not hold {model.__name__} rows of this version: {error}.",
        safe="Other parts are not affected.",
        next_step="Delete the file and run the same command again: that makes this part anew.",
    )


def known_version(path: Root, footer: pq.FileMetaData) -> int:
    """The version of its columns that a part has; parts of before there were versions have the first one.

    Raises:
        StorageError: A newer program wrote it.
    """
    stored = footer.metadata or {}
    dataset = path.parent.name
    try:
        layout, version = int(stored.get(b"rpo.schema", b"1")), int(stored.get(b"rpo.version", b"1"))
    except ValueError as error:
        raise damaged_part(path, error) from error
    if layout > int(FOOTER_VERSION) or version > record_version(dataset):
        raise StorageError(
            f"Part {path} was written by a newer version of the factory: version {version} of {dataset}, and this one "
            f"knows {record_version(dataset)}.",
            safe="It is whole and was not touched.",
            next_step="Update the factory (git pull, make install) and run the same command again.",
        )
    if version < 1:
        raise damaged_part(path, ValueError(f"it says that it has version {version}"))
    return version


def model_of(dataset: str) -> type[BaseModel]:
    """The record of a dataset.

    Raises:
        StorageError: There is no such dataset.
    """
    if dataset not in DATASETS:
        raise StorageError(f"{dataset!r} is not a dataset; known datasets: {', '.join(DATASETS)}.")
    return DATASETS[dataset]


def read_end(place: ObjectPath) -> pa.BufferReader:
    """The end of a remote part, with all of its footer: a reader of footers needs nothing before it.

    One request instead of three (is it there, how long is it, what is at its end), and the part is not fetched.
    """
    tail = place.read_tail(_TAIL_BYTES)
    footer = int.from_bytes(tail[-8:-4], "little") + 8
    return pa.BufferReader(tail if footer <= len(tail) else place.read_tail(footer))


def holds_schema(place: Root, schema: pa.Schema) -> bool:
    """Whether a file is there that has exactly this schema."""
    try:
        source = place if isinstance(place, Path) else pa.BufferReader(place.read_bytes())
        stored: pa.Schema = pq.read_schema(source, memory_map=False)
    except UNREADABLE:
        return False
    return bool(stored.equals(schema))


def _row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema, what: str) -> Iterator[pa.Table]:
    """Re-cut batches of any size into tables of exactly one row group each, in the dataset's schema."""
    pending: list[pa.Table] = []
    rows = 0
    for batch in batches:
        pending.append(_conform(pa.Table.from_batches([batch]), schema, what))
        rows += batch.num_rows
        while rows >= _ROW_GROUP:
            table = pa.concat_tables(pending)
            yield table.slice(0, _ROW_GROUP).combine_chunks()
            pending, rows = [table.slice(_ROW_GROUP)], rows - _ROW_GROUP
    if rows:
        yield pa.concat_tables(pending).combine_chunks()


def _conform(table: pa.Table, schema: pa.Schema, what: str) -> pa.Table:
    """The table in exactly the dataset's schema; SQL forgets comments and which columns are never null."""
    if table.schema.names != schema.names or table.schema.types != schema.types:
        wanted = ", ".join(f"{field.name} {field.type}" for field in schema)
        given = ", ".join(f"{field.name} {field.type}" for field in table.schema)
        raise StorageError(f"{what} must have the columns ({wanted}), not ({given}).", safe="No part was written.")
    for field, column in zip(schema, table.columns, strict=True):
        if not field.nullable and column.null_count:
            raise StorageError(f"{what}: column {field.name} must not be null.", safe="No part was written.")
    # not table.cast: for columns that are right already it would load pyarrow.compute, 8 MB
    return pa.Table.from_arrays(table.columns, schema=schema)
