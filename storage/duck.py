"""A DuckDB that reads the parts of a DATA where they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from storage.objects import filesystem
from storage.roots import Root

if TYPE_CHECKING:
    import duckdb


def connect(root: Root, database: Path | None = None, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """A connection that can read the parts under a root.

    DuckDB's own S3 reader (httpfs) is a download, not part of its package: it reads through s3fs instead.

    Args:
        root: The data folder.
        database: A file; None: in memory.
        read_only: Several processes may have the file open, and nobody changes it.
    """
    import duckdb  # here: a stage that asks models and makes no pairs does without its 40 MB

    db = duckdb.connect(str(database) if database else ":memory:", read_only=read_only)
    if not isinstance(root, Path):
        db.register_filesystem(filesystem())
    return db
