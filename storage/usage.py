"""Who works on a data folder: any number of runs, or one that frees what no run uses, never both."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import StorageError
from storage.files import cannot_write
from storage.roots import Root

USAGE_LOCK = "in-use.lock"
"""Shared by all runs under way, held alone by `rpo gc --delete`; the operating system releases it with the process."""


@contextmanager
def using(root: Root) -> Iterator[None]:
    """Work on a run: nothing is freed meanwhile. Waits, for seconds, where that is just being done.

    In an S3 store nothing is freed at all: `rpo gc` is for folders.
    """
    if not isinstance(root, Path):
        yield
        return
    with _open(root) as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Free what no run uses: no run begins meanwhile.

    Raises:
        StorageError: A run is under way, or the folder cannot be written.
    """
    with _open(root) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(
                f"A run is under way in {root}: which parts it will find again is not known yet.",
                safe="Nothing was deleted.",
                next_step="Wait for it (`rpo status` shows it), then type the same command again.",
            ) from error
        yield


def is_in_use(root: Path) -> bool:
    """Whether a run is under way; a run that begins just now waits for the answer, and does not fail on it."""
    try:
        descriptor = os.open(_lock_path(root), os.O_RDONLY)
    except OSError:
        return False  # no run was ever made here
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _lock_path(root: Path) -> Path:
    return Path(root) / "runs" / USAGE_LOCK


@contextmanager
def _open(root: Path) -> Iterator[int]:
    path = _lock_path(root)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise cannot_write("The lock of the data folder", path, error) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)
