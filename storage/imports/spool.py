"""Rows of a file brought together by a key, on disk: memory does not hold them."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from models.errors import StorageError


class Spooled(NamedTuple):
    """A row with what it is grouped by."""

    key: str
    line: int
    """Where it stands in its file."""
    text: str
    """The row, as the caller has written it."""


def group_rows(rows: Iterable[Spooled], scratch: Path) -> Iterator[Spooled]:
    """The rows of each key one after the other, in the order of the file; keys in the order of their first rows.

    All rows are read before the first one comes.

    Args:
        rows: The rows, in the order of the file.
        scratch: A folder on a disk that holds them all.

    Raises:
        StorageError: The disk is full.
    """
    # SQLite, not DuckDB: with 256 MB that could not keep rows of 100 kB, and what is asked here is one index
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=scratch, prefix="import-") as folder:
            db = sqlite3.connect(Path(folder) / "rows.sqlite")
            try:
                # a file of this process alone, gone with it: nothing to recover
                db.executescript("PRAGMA journal_mode = off; PRAGMA synchronous = off;")
                db.execute("CREATE TABLE given (key TEXT, line INTEGER, text TEXT)")
                db.executemany("INSERT INTO given VALUES (?, ?, ?)", rows)
                db.execute("CREATE INDEX by_key ON given (key, line)")
                for key, _ in db.execute("SELECT key, min(line) AS first FROM given GROUP BY key ORDER BY first"):
                    of_key = db.execute("SELECT key, line, text FROM given WHERE key = ? ORDER BY line", [key])
                    yield from map(Spooled._make, of_key)
            finally:
                db.close()
    except (sqlite3.Error, OSError) as error:
        raise StorageError(
            f"The rows of an import could not be kept under {scratch}: {error}.",
            safe="Nothing was written.",
            next_step="Make room there, then type the same command again.",
        ) from error
