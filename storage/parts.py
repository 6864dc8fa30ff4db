"""Parts: one batch of rows, one Parquet file, written once and never changed."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from models.arrow import arrow_schema, from_table, to_table
from models.errors import StorageError
from models.records import DATASETS, PartRef
from storage.encoding import (
    UNREADABLE,
    damaged_part,
    encode_part,
    holds_schema,
    known_version,
    missing_part,
    model_of,
    read_end,
    strange_part,
)
from storage.files import atomic_file, new_object, sweep_temporaries
from storage.migrations import is_todays, migrate
from storage.objects import ObjectPath
from storage.places import Entry, list_files
from storage.roots import Root, machine_dir

Record = TypeVar("Record", bound=BaseModel)

SCHEMA_FILE = "_schema.parquet"

PART_NAME: Final = re.compile(r"(?P<key>[0-9a-f]{32})\.parquet")

_KEY = re.compile(r"[0-9a-f]{32}")


class PartStore:
    """The parts under one data folder: ``DATA/<dataset>/<key>.parquet``.

    Args:
        root: The data folder, or a prefix of an S3 store (``storage.roots.data_root``).
        machine: The folder of this machine for it; None: that of this root.
        copies: Whether it holds copies: one that was damaged, or is of older columns, is written anew in a store too.

    Attributes:
        place: The root.
        machine: The folder of this machine.
    """

    def __init__(self, root: Root, *, machine: Path | None = None, copies: bool = False) -> None:
        self.place: Root = root if isinstance(root, ObjectPath) else Path(root)
        self.machine = machine or machine_dir(self.place)
        self._copies = copies

    def beside(self, folder: str) -> PartStore:
        """The store of copies in a folder of this one, under the keys of the parts."""
        return PartStore(self.place / folder, machine=self.machine, copies=True)

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
        model_of(dataset)
        return self.root / dataset / SCHEMA_FILE

    def address(self, ref: PartRef) -> str:
        """Where the part rests, for DuckDB and for people: a path, or ``s3://``..."""
        return str(self._place(ref.dataset, ref.key))

    def schema_address(self, dataset: str) -> str:
        """Where the zero-row file of a dataset rests (``ensure_schemas`` makes it)."""
        model_of(dataset)
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

    def list_parts(self, dataset: str) -> list[Entry]:
        """The files of the parts of a dataset that are there; not those that a link leads to."""
        model_of(dataset)
        return [entry for entry in list_files(self.place / dataset) if PART_NAME.fullmatch(entry.path.name)]

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
        model = model_of(dataset)
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
            raise strange_part(self._place(ref.dataset, ref.key), model, error) from error

    def open_whole(self, ref: PartRef) -> BinaryIO:
        """A part as a file to read all of, perhaps several times; of a store it is fetched once.

        Raises:
            StorageError: It is missing, or cannot be read at all.
        """
        place = self._place(ref.dataset, ref.key)
        try:
            return place.open("rb") if isinstance(place, Path) else io.BytesIO(place.read_bytes())
        except FileNotFoundError as error:
            raise missing_part(place) from error
        except OSError as error:
            raise damaged_part(place, error) from error

    def read_table(self, ref: PartRef, file: BinaryIO | None = None) -> pa.Table:
        """All rows of a part as an Arrow table, in today's columns.

        Args:
            ref: The part.
            file: The part, where it is open already.

        Raises:
            StorageError: The part is missing or damaged, was written by a newer version, or does not hold such rows.
        """
        place = self._place(ref.dataset, ref.key)
        try:
            source = file or (place if isinstance(place, Path) else pa.BufferReader(place.read_bytes()))
            # memory_map off: a mapped file that is cut short kills the process instead of raising
            with pq.ParquetFile(source, memory_map=False, page_checksum_verification=True) as parquet:
                version = known_version(place, parquet.metadata)
                table = parquet.read()
        except FileNotFoundError as error:
            raise missing_part(place) from error
        except UNREADABLE as error:
            raise damaged_part(place, error) from error
        try:
            return migrate(ref.dataset, table, version)
        except ValidationError as error:
            raise strange_part(place, model_of(ref.dataset), error) from error

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
        return is_todays(ref.dataset, schema, known_version(place, footer))

    def find(self, dataset: str, key: str) -> PartRef | None:
        """The reference of a part that is there, with its rows from the footer; None if it is not.

        Raises:
            StorageError: The part is damaged.
        """
        try:
            return PartRef(dataset=dataset, key=key, rows=self._footer(self._place(dataset, key)).num_rows)
        except FileNotFoundError:
            return None

    def inputs(self, ref: PartRef, *, missing_ok: bool = False) -> list[PartRef]:
        """The parts that this part was made from, as its footer says.

        Args:
            ref: The part.
            missing_ok: Whether a part that is not there was made from nothing.

        Raises:
            StorageError: The part is missing or damaged.
        """
        place = self._place(ref.dataset, ref.key)
        try:
            stored = (self._footer(place).metadata or {}).get(b"rpo.inputs", b"[]")
            return [PartRef.model_validate(item) for item in json.loads(stored)]
        except FileNotFoundError as error:
            if missing_ok:
                return []
            raise missing_part(place) from error
        except ValueError as error:
            raise damaged_part(place, error) from error

    def upstream(self, ref: PartRef, dataset: str) -> PartRef:
        """The part of ``dataset`` that this part descends from, by its lineage (nearest generation first).

        Raises:
            StorageError: No ancestor, or more than one in that generation, is of that dataset.
        """
        model_of(dataset)
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
            if holds_schema(place, schema):
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
        return sweep_temporaries(self.machine)

    def _name(self, dataset: str, key: str) -> str:
        model_of(dataset)
        if not _KEY.fullmatch(key):
            raise StorageError(f"{key!r} is not a part key (32 hexadecimal digits).")
        return f"{dataset}/{key}.parquet"

    def _place(self, dataset: str, key: str) -> Root:
        return self.place / self._name(dataset, key)

    def _new_file(self, place: Root, what: str) -> AbstractContextManager[BinaryIO]:
        if isinstance(place, Path):
            return atomic_file(place, what)
        return new_object(place, self.machine / "tmp", what, replace=self._copies)

    def _footer(self, place: Root) -> pq.FileMetaData:
        """What is at the end of a part.

        Raises:
            FileNotFoundError: There is no such part.
            StorageError: It is damaged.
        """
        try:
            footer = pq.read_metadata(place if isinstance(place, Path) else read_end(place), memory_map=False)
        except FileNotFoundError:
            raise
        except UNREADABLE as error:
            raise damaged_part(place, error) from error
        known_version(place, footer)
        return footer
