"""Writing a file so that a reader sees the whole of it or nothing, whatever kills the writer."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from models.base import digest
from models.errors import StorageError
from storage.objects import ObjectPath

# a process id means something on its own machine only, and DATA may be a network folder
_HOST = digest(socket.gethostname(), length=8)
_TEMPORARY = re.compile(r"^\..+\.(?P<host>[0-9a-f]{8})\.(?P<pid>\d+)\.\d+\.tmp(\.wal)?$")
_STALE_AFTER_S = 3600.0


def temporary_beside(path: Path) -> Path:
    """A name in the same folder that no other thread or process uses and no glob matches."""
    return path.with_name(f".{path.name}.{_HOST}.{os.getpid()}.{threading.get_native_id()}.tmp")


def sync(path: Path) -> None:
    """Flush a file or a folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_path(path: Path, what: str) -> Iterator[Path]:
    """A temporary path that becomes ``path``, synced, when the body ends well, and vanishes when it does not.

    Args:
        path: The file to make or replace.
        what: The noun for the error message, such as "part judgments/ab12".

    Raises:
        StorageError: The disk is full, or the folder cannot be written.
    """
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        raise cannot_write(what, path, error) from error
    finally:
        # after a rename it is gone; Path.unlink on a full disk works
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_file(path: Path, what: str) -> Iterator[BinaryIO]:
    """Like ``atomic_path``, with the temporary file open for writing."""
    with atomic_path(path, what) as temporary, temporary.open("wb") as file:
        yield file
        file.flush()


@contextlib.contextmanager
def new_object(path: ObjectPath, scratch: Path, what: str, *, replace: bool) -> Iterator[BinaryIO]:
    """A file to write that becomes the object ``path`` when the body ends well, unless there is one by then.

    A part that is there stays: of two machines that make it, the slower one must not change what the work of the faster
    one is built on. (A folder's part can be replaced: processes of one machine share a call cache, and write the same.)

    Args:
        path: The object to make.
        scratch: A folder of this machine: the size of a part is not known before it is written.
        what: The noun for the error message.
        replace: Whether one that is there gives way: it is a copy, and was damaged or is of older columns.

    Raises:
        StorageError: The local disk is full, or the store does not take it.
    """
    temporary = temporary_beside(scratch / path.name)
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file
        path.put_from(temporary, create=not replace)
    except OSError as error:
        raise cannot_write(what, temporary, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def cannot_write(what: str, path: Path, error: OSError) -> StorageError:
    """The error for a write that the operating system refused."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        next_step = f"Free space under {path.parent} and run the same command again: it goes on from there."
    else:
        next_step = f"Check that {path.parent} exists and may be written, then run the same command again."
    return StorageError(
        f"{what} could not be written to {path}: {error.strerror or error}.",
        safe="Every finished part, manifest and call is whole; nothing half-written was left in place.",
        next_step=next_step,
    )


def is_temporary(path: Path | ObjectPath) -> bool:
    """Whether a file has the name of a temporary, dead or alive."""
    return _TEMPORARY.match(path.name) is not None


def find_dead_temporaries(root: Path) -> list[Path]:
    """What dead writers left under ``root``.

    A temporary is dead when its process is gone (on this machine), or when nothing has touched it for an hour.
    """
    dead = []
    for folder in [root, *(child for child in root.iterdir() if child.is_dir())] if root.is_dir() else []:
        for path in folder.iterdir():
            match = _TEMPORARY.match(path.name)
            if match is not None and _is_dead(path, match["host"], int(match["pid"])):
                dead.append(path)
    return sorted(dead)


def sweep_temporaries(root: Path) -> list[Path]:
    """Remove what dead writers left under ``root``; returns what was removed."""
    dead = find_dead_temporaries(root)
    for path in dead:
        path.unlink(missing_ok=True)
    return dead


def _is_dead(path: Path, host: str, pid: int) -> bool:
    try:
        if time.time() - path.stat().st_mtime > _STALE_AFTER_S:
            return True
    except FileNotFoundError:
        return False
    if host != _HOST:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
