"""Parts: one batch of rows, one Parquet file, written once and never changed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from models.arrow import arrow_schema, from_table, to_table
from models.errors import StorageError
from models.records import DATASETS, PartRef
from storage.files import atomic_file, sweep_temporaries

Record = TypeVar("Record", bound=BaseModel)

# Version of the footer: raise it when rpo.inputs changes its meaning, not when a record gains a column
FOOTER_VERSION = "1"
SCHEMA_FILE = "_schema.parquet"

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
        schema = arrow_schema(_model(dataset))
        footer = {
            "rpo.inputs": json.dumps([ref.model_dump() for ref in inputs], separators=(",", ":")),
            "rpo.schema": FOOTER_VERSION,
        }
        batches = data.to_batches() if isinstance(data, pa.Table) else data
        rows = 0
        with (
            atomic_file(path, what) as file,
            pq.ParquetWriter(file, schema.with_metadata(footer), compression="zstd") as writer,
        ):
            for group in _row_groups(batches, schema, what):
                writer.write_table(group, row_group_size=_ROW_GROUP)
                rows += group.num_rows
        return PartRef(dataset=dataset, key=key, rows=rows)

    def read(self, ref: PartRef, model: type[Record]) -> list[Record]:
        """All rows of a part as records.

        Raises:
            StorageError: The part is missing or damaged, or its rows are not such records.
        """
        try:
            return list(from_table(model, self.read_table(ref)))
        except ValidationError as error:
            raise StorageError(
                f"Part {self.path(ref)} does not hold {model.__name__} rows of this version: {error}.",
                safe="Other parts are not affected.",
                next_step="Delete the file and run the same command again: that makes this part anew.",
            ) from error

    def read_table(self, ref: PartRef) -> pa.Table:
        """All rows of a part as an Arrow table.

        Raises:
            StorageError: The part is missing or damaged.
        """
        path = self.path(ref)
        try:
            # memory_map off: a mapped file that is cut short kills the process instead of raising
            return pq.ParquetFile(path, memory_map=False).read()
        except FileNotFoundError as error:
            raise missing_part(path) from error
        except (OSError, pa.ArrowException) as error:
            raise damaged_part(path, error) from error

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
            return pq.read_metadata(path, memory_map=False)
        except FileNotFoundError as error:
            raise missing_part(path) from error
        except (OSError, pa.ArrowException) as error:
            raise damaged_part(path, error) from error


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


def _model(dataset: str) -> type[BaseModel]:
    if dataset not in DATASETS:
        raise StorageError(f"{dataset!r} is not a dataset; known datasets: {', '.join(DATASETS)}.")
    return DATASETS[dataset]


def _holds_schema(path: Path, schema: pa.Schema) -> bool:
    try:
        stored: pa.Schema = pq.read_schema(path, memory_map=False)
    except (OSError, pa.ArrowException):
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
