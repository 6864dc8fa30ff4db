"""The index of a run's pairs: a DuckDB file of this machine, made once from the parts of the run."""

from __future__ import annotations

import tempfile
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from models.base import digest
from models.errors import StorageError
from storage import pair_sql
from storage.browse import index_sql
from storage.browse.filters import PairFilters
from storage.duck import connect
from storage.files import atomic_path
from storage.manifests import Manifest
from storage.migrated import current_files
from storage.parts import PartStore
from storage.roots import machine_dir

if TYPE_CHECKING:
    import duckdb

BROWSE_FOLDER: Final = "browse"
"""Folder of this machine with the indexes; it can be deleted at any time."""

_VERSION: Final = 2
_MEMORY: Final = "1GB"
"""What making an index may use before it spills to the machine's ``tmp``."""

_REMEMBERED: Final = 8
"""So many answers are kept; one is 4 bytes a pair that matches."""


@dataclass(frozen=True)
class Matches:
    """The places of the pairs that match some filters, ascending."""

    places: array[int]

    def at(self, number: int) -> int | None:
        """The match of a number, from 1."""
        return self.places[number - 1] if 1 <= number <= len(self.places) else None

    def after(self, place: int) -> int | None:
        """The first match after a place."""
        return self.at(self.number(place) + 1)

    def before(self, place: int) -> int | None:
        """The last match before a place."""
        return self.at(bisect_left(self.places, place))

    def number(self, place: int) -> int:
        """How many matches there are up to a place, itself included."""
        return bisect_right(self.places, place)


class PairIndex:
    """An open index; threads may share it.

    Args:
        store: The parts that it was made from.
        path: The file.
    """

    def __init__(self, store: PartStore, path: Path) -> None:
        self._db = connect(store.place, path, read_only=True)
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, Matches] = OrderedDict()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection for one thread."""
        return self._db.cursor()

    def choices(self) -> dict[str, list[dict[str, Any]]]:
        """The values of every filter with a label and how many pairs have it."""
        rows = self.cursor().execute(
            "SELECT filter, value, label, pairs FROM choices ORDER BY filter, try_cast(value AS INTEGER), label, value"
        )
        choices: dict[str, list[dict[str, Any]]] = {}
        for name, value, label, pairs in rows.fetchall():
            choices.setdefault(name, []).append({"value": value, "label": label, "pairs": pairs})
        return choices

    def find(self, filters: PairFilters, flagged: Collection[str] = ()) -> Matches:
        """The pairs that match; an answer is remembered, so that the next pair and its number cost nothing.

        Args:
            filters: What is asked.
            flagged: Ids of the flagged pairs, for the filter of that name.
        """
        given: dict[str, Any] = filters.model_dump(exclude_none=True)
        conditions = [index_sql.CONDITIONS[name] for name in given]
        if filters.flagged is not None:
            given["flagged"] = sorted(flagged)
            if filters.flagged == "no":
                conditions = [f"NOT {text}" if "$flagged" in text else text for text in conditions]
        key = digest([filters.flagged, given])
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
                return self._answers[key]
        where = " AND ".join(conditions) or "true"
        sql = f"{index_sql.TEXTS if filters.text else ''} SELECT place FROM pairs WHERE {where} ORDER BY place"
        matches = Matches(array("I"))
        for batch in self.cursor().sql(sql, params=given).to_arrow_table().to_batches():
            column = batch.column("place")
            _, values = column.buffers()
            matches.places.frombytes(memoryview(values)[4 * column.offset : 4 * (column.offset + len(column))])
        with self._lock:
            self._answers[key] = matches
            while len(self._answers) > _REMEMBERED:
                self._answers.popitem(last=False)
        return matches

    def place_of(self, pair_id: str) -> int | None:
        """Where a pair stands; None: it is not of this run."""
        row = self.cursor().execute("SELECT place FROM pairs WHERE pair_id = ?", [pair_id]).fetchone()
        return None if row is None else int(row[0])


def open_index(store: PartStore, manifest: Manifest) -> PairIndex:
    """The index of a run, made first where it is not there or the run has other parts by now.

    Raises:
        StorageError: The run has no pairs, a part is missing or damaged, or the disk is full.
    """
    import duckdb

    if not manifest.parts_of("pairs"):
        raise StorageError(
            f"The run {manifest.run!r} has no pairs yet.",
            next_step=f"Finish it first: `rpo run --run {manifest.run}`.",
        )
    path = index_path(store, manifest)
    try:
        if not path.is_file():
            _build(store, manifest, path)
        return PairIndex(store, path)
    except duckdb.Error as error:
        raise StorageError(
            f"The pairs of run {manifest.run!r} could not be indexed: {str(error).strip()}.",
            safe="Parts and manifests are not affected.",
            next_step=f"If a part is named above: rpo doctor --store. Else delete {path.parent} and type this again.",
        ) from error


def index_path(store: PartStore, manifest: Manifest) -> Path:
    """The file of the index: its name says of which parts it was made."""
    keys = [ref.key for dataset in index_sql.VIEWS.values() for ref in manifest.parts_of(dataset)]
    folder = machine_dir(store.place) / BROWSE_FOLDER
    return folder / f"{manifest.run}-{digest([_VERSION, keys], length=16)}.duckdb"


def _build(store: PartStore, manifest: Manifest, path: Path) -> None:
    store.ensure_schemas()
    scratch = machine_dir(store.place) / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    with (
        atomic_path(path, "The index of the pairs") as temporary,
        tempfile.TemporaryDirectory(dir=scratch, prefix="pairs-") as spill,
        connect(store.place, temporary) as db,
    ):
        db.execute("SET memory_limit = ?", [_MEMORY])
        db.execute("SET temp_directory = ?", [spill])
        for view, dataset in index_sql.VIEWS.items():
            files = [store.schema_address(dataset), *current_files(store, manifest.parts_of(dataset))]
            parts = db.read_parquet(files, union_by_name=True, filename=True)
            parts.project(index_sql.WITH_PART).create_view(view)
        for sql in (
            index_sql.SYSTEMS, index_sql.TURNS, pair_sql.VERDICTS, index_sql.JUDGES, index_sql.RESPONSES,
            index_sql.PAIRS, index_sql.CHOICES,
        ):  # fmt: skip
            db.execute(sql)
        for view in index_sql.VIEWS:
            db.execute(f"DROP VIEW {view}")
    # of an older state of the run; whoever has it open keeps reading it
    for old in path.parent.glob(f"{manifest.run}-{'?' * 16}.duckdb"):
        if old != path:
            old.unlink(missing_ok=True)
