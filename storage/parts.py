"""Parts: one batch of rows, one Parquet file, written once and never changed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from models.arrow import arrow_schema, from_table, to_table
from models.errors import StorageError
from models.records import DATASETS, PartRef
from storage.files import atomic_file, new_object, sweep_temporaries
from storage.migrations import is_todays, migrate, record_version
from storage.objects import ObjectPath
from storage.roots import Root, machine_dir

Record = TypeVar("Record", bound=BaseModel)

# Version of the footer: raise it when rpo.inputs changes its meaning, not when a record gains a column
FOOTER_VERSION = "1"
SCHEMA_FILE = "_schema.parquet"

UNREADABLE = (OSError, ValueError, pa.ArrowException)
"""What reading a damaged file raises: a name in it that is not UTF-8 any more is a ValueError."""

_KEY = re.compile(r"[0-9a-f]{32}")
# Fixed, so that equal rows are equal bytes however they were handed over
_ROW_GROUP = 65_536
# the end of a remote part that is asked for first: nearly every footer is shorter
_TAIL_BYTES = 1 << 16


class PartStore:
    """The parts under one data folder: ``DATA/<dataset>/<key>.parquet``.

    Args:
        root: The data folder, or a prefix of an S3 store (``storage.roots.data_root``).
        machine: The folder of this machine for it; None: that of this root.

    Attributes:
        place: The root.
    """

    def __init__(self, root: Root, *, machine: Path | None = None) -> None:
        self.place: Root = root if isinstance(root, ObjectPath) else Path(root)
        self._machine = machine or machine_dir(self.place)

    def beside(self, folder: str) -> PartStore:
        """The store of copies in a folder of this one, under the keys of the parts."""
        return PartStore(self.place / folder, machine=self._machine)

    @property
    def root(self) -> Path:
        """The data folder, for what needs one.

        Raises:
            StorageError: The data is in an S3 store.
        """
        if isinstance(self.place, Path):
            return self.place
        raise StorageError(
            f"{self.place} is no folder, and this needs one.",
            safe="Nothing was changed.",
            next_step="Copy it to a disk (aws s3 sync) and give that folder with --data.",
        )

    def path(self, ref: PartRef) -> Path:
        """Where the part rests in a data folder, whether it exists or not."""
        return self.root / self._name(ref.dataset, ref.key)

    def schema_path(self, dataset: str) -> Path:
        """The zero-row file of a dataset in a data folder (``ensure_schemas`` makes it)."""
        _model(dataset)
        return self.root / dataset / SCHEMA_FILE

    def address(self, ref: PartRef) -> str:
        """Where the part rests, for DuckDB and for people: a path, or ``s3://``..."""
        return str(self._place(ref.dataset, ref.key))

    def schema_address(self, dataset: str) -> str:
        """Where the zero-row file of a dataset rests (``ensure_schemas`` makes it)."""
        _model(dataset)
        return str(self.place / dataset / SCHEMA_FILE)

    def size(self, ref: PartRef | str) -> int:
        """Bytes of a part, or of a dataset's zero-row file; 0: it is not there."""
        place = self.place / ref / SCHEMA_FILE if isinstance(ref, str) else self._place(ref.dataset, ref.key)
        if isinstance(place, Path):
            return place.stat().st_size if place.is_file() else 0
        return place.size() or 0

    def exists(self, dataset: PartRef | str, key: str = "") -> bool:
        """Whether the part is there; give a reference, or a dataset and a key."""
        name, key = (dataset.dataset, dataset.key) if isinstance(dataset, PartRef) else (dataset, key)
        return self._place(name, key).is_file()

    def locate(self, ref: PartRef) -> Root:
        """Where the part rests, in a folder or a store, whether it exists or not."""
        return self._place(ref.dataset, ref.key)

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
        place, what = self._place(dataset, key), f"Part {dataset}/{key}"
        with self._new_file(place, what) as file:
            rows = encode_part(file, dataset, data, inputs=inputs, what=what)
        if not isinstance(place, Path):
            # another machine may have been first, and its rows are the part then
            rows = self._footer(place).num_rows
        return PartRef(dataset=dataset, key=key, rows=rows)

    def read(self, ref: PartRef, model: type[Record]) -> list[Record]:
        """All rows of a part as records.

        Raises:
            StorageError: The part is missing or damaged, or its rows are not such records.
        """
        try:
            return list(from_table(model, self.read_table(ref)))
        except ValidationError as error:
            raise _strange_part(self._place(ref.dataset, ref.key), model, error) from error

    def read_table(self, ref: PartRef) -> pa.Table:
        """All rows of a part as an Arrow table, in today's columns.

        Raises:
            StorageError: The part is missing or damaged, was written by a newer version, or does not hold such rows.
        """
        place = self._place(ref.dataset, ref.key)
        try:
            source = place if isinstance(place, Path) else pa.BufferReader(place.read_bytes())
            # memory_map off: a mapped file that is cut short kills the process instead of raising
            with pq.ParquetFile(source, memory_map=False, page_checksum_verification=True) as file:
                version = _known_version(place, file.metadata)
                table = file.read()
        except FileNotFoundError as error:
            raise missing_part(place) from error
        except UNREADABLE as error:
            raise damaged_part(place, error) from error
        try:
            return migrate(ref.dataset, table, version)
        except ValidationError as error:
            raise _strange_part(place, _model(ref.dataset), error) from error

    def is_current(self, ref: PartRef) -> bool:
        """Whether the part has today's columns, so that it can be read without ``read_table``.

        Raises:
            StorageError: The part is missing or damaged, or was written by a newer version.
        """
        place = self._place(ref.dataset, ref.key)
        try:
            footer = self._footer(place)
            schema = footer.schema.to_arrow_schema()
        except FileNotFoundError as error:
            raise missing_part(place) from error
        except UNREADABLE as error:
            raise damaged_part(place, error) from error
        return is_todays(ref.dataset, schema, _known_version(place, footer))

    def find(self, dataset: str, key: str) -> PartRef | None:
        """The reference of a part that is there, with its rows from the footer; None if it is not.

        Raises:
            StorageError: The part is damaged.
        """
        try:
            return PartRef(dataset=dataset, key=key, rows=self._footer(self._place(dataset, key)).num_rows)
        except FileNotFoundError:
            return None

    def inputs(self, ref: PartRef) -> list[PartRef]:
        """The parts that this part was made from, as its footer says.

        Raises:
            StorageError: The part is missing or damaged.
        """
        place = self._place(ref.dataset, ref.key)
        try:
            stored = (self._footer(place).metadata or {}).get(b"rpo.inputs", b"[]")
            return [PartRef.model_validate(item) for item in json.loads(stored)]
        except FileNotFoundError as error:
            raise missing_part(place) from error
        except ValueError as error:
            raise damaged_part(place, error) from error

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
            place, schema = self.place / dataset / SCHEMA_FILE, arrow_schema(model)
            if _holds_schema(place, schema):
                continue
            if isinstance(place, Path):
                with atomic_file(place, f"Schema of {dataset}") as file:
                    pq.write_table(schema.empty_table(), file)
            else:
                sink = pa.BufferOutputStream()
                pq.write_table(schema.empty_table(), sink)
                place.write_bytes(sink.getvalue().to_pybytes())

    def sweep(self) -> list[Path]:
        """Remove temporaries that dead writers left on this machine; returns what was removed."""
        return sweep_temporaries(self._machine)

    def _name(self, dataset: str, key: str) -> str:
        _model(dataset)
        if not _KEY.fullmatch(key):
            raise StorageError(f"{key!r} is not a part key (32 hexadecimal digits).")
        return f"{dataset}/{key}.parquet"

    def _place(self, dataset: str, key: str) -> Root:
        return self.place / self._name(dataset, key)

    def _new_file(self, place: Root, what: str) -> AbstractContextManager[BinaryIO]:
        if isinstance(place, Path):
            return atomic_file(place, what)
        return new_object(place, self._machine / "tmp", what)

    def _footer(self, place: Root) -> pq.FileMetaData:
        """What is at the end of a part.

        Raises:
            FileNotFoundError: There is no such part.
            StorageError: It is damaged.
        """
        try:
            footer = pq.read_metadata(place if isinstance(place, Path) else _read_end(place), memory_map=False)
        except FileNotFoundError:
            raise
        except UNREADABLE as error:
            raise damaged_part(place, error) from error
        _known_version(place, footer)
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


def missing_part(path: Root | str) -> StorageError:
    """The error for a part that a reference names and the store does not have."""
    return StorageError(
        f"Part {path} is missing.",
        safe="Other parts are not affected.",
        next_step="Run the same command again: that makes this part anew.",
    )


def damaged_part(path: Root, error: Exception) -> StorageError:
    """The error for a part that cannot be read (cut short, or overwritten from outside)."""
    delete = "rm" if isinstance(path, Path) else "aws s3 rm"
    return StorageError(
        f"Part {path} is damaged: {error}.",
        safe="Other parts are not affected, and it is safe to delete this file.",
        next_step=f"Delete it ({delete} '{path}') and run the same command again: that makes this part anew.",
    )


def _strange_part(path: Root, model: type[BaseModel], error: ValidationError) -> StorageError:
    return StorageError(
        f"Part {path} does not hold {model.__name__} rows of this version: {error}.",
        safe="Other parts are not affected.",
        next_step="Delete the file and run the same command again: that makes this part anew.",
    )


def _known_version(path: Root, footer: pq.FileMetaData) -> int:
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


def _read_end(place: ObjectPath) -> pa.BufferReader:
    """The end of a remote part, with all of its footer: a reader of footers needs nothing before it.

    One request instead of three (is it there, how long is it, what is at its end), and the part is not fetched.
    """
    tail = place.read_tail(_TAIL_BYTES)
    footer = int.from_bytes(tail[-8:-4], "little") + 8
    return pa.BufferReader(tail if footer <= len(tail) else place.read_tail(footer))


def _holds_schema(place: Root, schema: pa.Schema) -> bool:
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
