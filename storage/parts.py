"""Parts: one batch of rows, one Parquet file, written once and never changed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from models.arrow import arrow_schema, from_table, to_table
from models.errors import StorageError
from models.records import DATASETS, PartRef
from storage.files import atomic_file, sweep_temporaries
from storage.migrations import is_todays, migrate, record_version

Record = TypeVar("Record", bound=BaseModel)

# Version of the footer: raise it when rpo.inputs changes its meaning, not when a record gains a column
FOOTER_VERSION = "1"
SCHEMA_FILE = "_schema.parquet"

UNREADABLE = (OSError, ValueError, pa.ArrowException)
"""What reading a damaged file raises: a name in it that is not UTF-8 any more is a ValueError."""

_KEY = re.compile(r"[0-9a-f]{32}")
# Fixed, so that equal rows are equal bytes however they were handed over
_ROW_GROUP = 65_536


class PartStore:
    """The parts under one data folder: ``DATA/<dataset>/<key>.parquet``."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def path(self, ref: PartRef) -> Path:
        """Where the part rests, whether it exists or not."""
        return self._path(ref.dataset, ref.key)

    def schema_path(self, dataset: str) -> Path:
        """The zero-row file of a dataset (``ensure_schemas`` makes it)."""
        _model(dataset)
        return self.root / dataset / SCHEMA_FILE

    def exists(self, dataset: PartRef | str, key: str = "") -> bool:
        """Whether the part is there; give a reference, or a dataset and a key."""
        path = self.path(dataset) if isinstance(dataset, PartRef) else self._path(dataset, key)
        return path.is_file()

    def write(self, dataset: str, key: str, records: Iterable[BaseModel], *, inputs: Sequence[PartRef] = ()) -> PartRef:
        """Write records as one part: whole and synced when this returns, invisible before.

        Args:
            dataset: A name in ``models.records.DATASETS``.
            key: Hash of what the rows were made from.
            records: Instances of that dataset's record.
            inputs: The parts that the rows were made from; they become the lineage in the footer.

        Raises:
            StorageError: Not a dataset or key, a record of another dataset, or a disk that is full.
        """
        model = _model(dataset)
        rows = list(records)
        stranger = next((row for row in rows if not isinstance(row, model)), None)
        if stranger is not None:
            raise StorageError(f"Part {dataset}/{key}: a {type(stranger).__name__} is not a {model.__name__}.")
        try:
            table = to_table(model, rows)
        except UnicodeEncodeError as error:
            # Parquet strings are UTF-8, which has no lone surrogates
            raise StorageError(
                f"Part {dataset}/{key}: a text holds a lone surrogate and cannot be stored: {error}.",
                safe="No part was written.",
                next_step="Replace such characters where the text comes in.",
            ) from error
        return self.write_table(dataset, key, table, inputs=inputs)

    def write_table(
        self,
        dataset: str,
        key: str,
        data: pa.Table | Iterable[pa.RecordBatch],
        *,
        inputs: Sequence[PartRef] = (),
    ) -> PartRef:
        """Write Arrow data (from SQL, say) as one part, streaming when it comes as batches.

        Raises:
            StorageError: Columns or types are not the dataset's, a column that must not be null is, or as ``write``.
        """
        path, what = self._path(dataset, key), f"Part {dataset}/{key}"
        with atomic_file(path, what) as file:
            rows = encode_part(file, dataset, data, inputs=inputs, what=what)
        return PartRef(dataset=dataset, key=key, rows=rows)

    def read(self, ref: PartRef, model: type[Record]) -> list[Record]:
        """All rows of a part as records.

        Raises:
            StorageError: The part is missing or damaged, or its rows are not such records.
        """
        try:
            return list(from_table(model, self.read_table(ref)))
        except ValidationError as error:
            raise _strange_part(self.path(ref), model, error) from error

    def read_table(self, ref: PartRef) -> pa.Table:
        """All rows of a part as an Arrow table, in today's columns.

        Raises:
            StorageError: The part is missing or damaged, was written by a newer version, or does not hold such rows.
        """
        path = self.path(ref)
        try:
            # memory_map off: a mapped file that is cut short kills the process instead of raising
            with pq.ParquetFile(path, memory_map=False, page_checksum_verification=True) as file:
                version = _known_version(path, file.metadata)
                table = file.read()
        except FileNotFoundError as error:
            raise missing_part(path) from error
        except UNREADABLE as error:
            raise damaged_part(path, error) from error
        try:
            return migrate(ref.dataset, table, version)
        except ValidationError as error:
            raise _strange_part(path, _model(ref.dataset), error) from error

    def is_current(self, ref: PartRef) -> bool:
        """Whether the part has today's columns, so that it can be read without ``read_table``.

        Raises:
            StorageError: The part is missing or damaged, or was written by a newer version.
        """
        path = self.path(ref)
        footer = self._footer(path)
        try:
            schema = footer.schema.to_arrow_schema()
        except UNREADABLE as error:
            raise damaged_part(path, error) from error
        return is_todays(ref.dataset, schema, _known_version(path, footer))

    def find(self, dataset: str, key: str) -> PartRef | None:
        """The reference of a part that is there, with its rows from the footer; None if it is not.

        Raises:
            StorageError: The part is damaged.
        """
        if not self.exists(dataset, key):
            return None
        return PartRef(dataset=dataset, key=key, rows=self._footer(self._path(dataset, key)).num_rows)

    def inputs(self, ref: PartRef) -> list[PartRef]:
        """The parts that this part was made from, as its footer says.

        Raises:
            StorageError: The part is missing or damaged.
        """
        path = self.path(ref)
        stored = (self._footer(path).metadata or {}).get(b"rpo.inputs", b"[]")
        try:
            return [PartRef.model_validate(item) for item in json.loads(stored)]
        except ValueError as error:
            raise damaged_part(path, error) from error

    def upstream(self, ref: PartRef, dataset: str) -> PartRef:
        """The part of ``dataset`` that this part descends from, by its lineage (nearest generation first).

        Raises:
            StorageError: No ancestor, or more than one in that generation, is of that dataset.
        """
        _model(dataset)
        generation, seen = [ref], {ref}
        while generation:
            found = [part for part in generation if part.dataset == dataset]
            if len(found) > 1:
                raise StorageError(
                    f"Part {ref.dataset}/{ref.key} descends from {len(found)} parts of {dataset}, not from one."
                )
            if found:
                return found[0]
            parents = [parent for part in generation for parent in self.inputs(part)]
            # a part can be an input twice, and is then one ancestor
            generation = [part for part in dict.fromkeys(parents) if part not in seen]
            seen.update(generation)
        raise StorageError(
            f"Part {ref.dataset}/{ref.key} does not descend from any part of {dataset}.",
            next_step="It was made by another version or by hand; delete it and run again to make it anew.",
        )

    def ensure_schemas(self) -> None:
        """A zero-row file in every dataset's folder, so that a view has columns before it has rows."""
        for dataset, model in DATASETS.items():
            path, schema = self.schema_path(dataset), arrow_schema(model)
            if _holds_schema(path, schema):
                continue
            with atomic_file(path, f"Schema of {dataset}") as file:
                pq.write_table(schema.empty_table(), file)

    def sweep(self) -> list[Path]:
        """Remove temporaries that dead writers left; returns what was removed."""
        return sweep_temporaries(self.root)

    def _path(self, dataset: str, key: str) -> Path:
        _model(dataset)
        if not _KEY.fullmatch(key):
            raise StorageError(f"{key!r} is not a part key (32 hexadecimal digits).")
        return self.root / dataset / f"{key}.parquet"

    def _footer(self, path: Path) -> pq.FileMetaData:
        try:
            footer = pq.read_metadata(path, memory_map=False)
        except FileNotFoundError as error:
            raise missing_part(path) from error
        except UNREADABLE as error:
            raise damaged_part(path, error) from error
        _known_version(path, footer)
        return footer


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
    schema = arrow_schema(_model(dataset))
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


def missing_part(path: Path) -> StorageError:
    """The error for a part that a reference names and the folder does not have."""
    return StorageError(
        f"Part {path} is missing.",
        safe="Other parts are not affected.",
        next_step="Run the same command again: that makes this part anew.",
    )


def damaged_part(path: Path, error: Exception) -> StorageError:
    """The error for a part that cannot be read (cut short, or overwritten from outside)."""
    return StorageError(
        f"Part {path} is damaged: {error}.",
        safe="Other parts are not affected, and it is safe to delete this file.",
        next_step=f"Delete it (rm '{path}') and run the same command again: that makes this part anew.",
    )


def _strange_part(path: Path, model: type[BaseModel], error: ValidationError) -> StorageError:
    return StorageError(
        f"Part {path} does not hold {model.__name__} rows of this version: {error}.",
        safe="Other parts are not affected.",
        next_step="Delete the file and run the same command again: that makes this part anew.",
    )


def _known_version(path: Path, footer: pq.FileMetaData) -> int:
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


def _model(dataset: str) -> type[BaseModel]:
    if dataset not in DATASETS:
        raise StorageError(f"{dataset!r} is not a dataset; known datasets: {', '.join(DATASETS)}.")
    return DATASETS[dataset]


def _holds_schema(path: Path, schema: pa.Schema) -> bool:
    try:
        stored: pa.Schema = pq.read_schema(path, memory_map=False)
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
