"""Who works on a DATA: any number of runs, or one that frees what no run uses, never both.

In a folder that is a lock: shared by all runs, held alone by who frees. In a store it is leases, of which each has one
holder: a run takes that of its name, then waits for that of who frees; who frees takes that one first, then refuses
where a run has its own. Whoever comes second sees the other, as a store shows what was written before.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import overload

from models.errors import StorageError
from storage.files import cannot_write
from storage.leases import is_held, leased, wait_for
from storage.manifests import LOCK_SUFFIX, RUNS_FOLDER
from storage.objects import ObjectPath
from storage.places import for_each
from storage.roots import Root

log = logging.getLogger(__name__)

USAGE_LOCK = "in-use.lock"
"""Held alone by `rpo gc --delete`; in a folder also shared by all runs under way. It goes with the process."""


@contextmanager
def using(root: Root, tell: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Work on a run that is locked already: nothing is freed meanwhile. Waits where that is just being done.

    Args:
        root: The data folder.
        tell: Told once whom this process waits for.

    Raises:
        StorageError: The folder cannot be written, or the store does not answer.
    """
    if not isinstance(root, Path):
        wait_for(_lock_path(root), f"What no run uses in {root} is being freed", tell)
        yield
        return
    with _open(root) as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield


@contextmanager
def alone(root: Root) -> Iterator[Callable[[], None]]:
    """Free what no run uses: no run begins meanwhile.

    Yields:
        A function that raises where a run may have begun after all, as this machine was cut off from the store.

    Raises:
        StorageError: A run is under way, or the folder or the store cannot be written.
    """
    if not isinstance(root, Path):
        with leased(_lock_path(root), f"Freeing what no run uses in {root}", log.warning) as lease:
            # a run that is dead for us must not come back to life and trust what it saw before
            if _is_run_leased(root, release=True):
                raise _under_way(root)
            yield lease.require
        return
    with _open(root) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _under_way(root) from error
        yield lambda: None


def is_in_use(root: Root) -> bool:
    """Whether a run is under way; a run that begins just now waits for the answer, and does not fail on it.

    In a store the answer takes as long as a lease lives where a process that held one was killed.
    """
    if not isinstance(root, Path):
        return _is_run_leased(root)
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


def _is_run_leased(root: ObjectPath, *, release: bool = False) -> bool:
    names = [name for name in (root / RUNS_FOLDER).list_names() if name.endswith(LOCK_SUFFIX) and name != USAGE_LOCK]
    return any(for_each(root, lambda name: is_held(root / RUNS_FOLDER / name, release=release), names))


def _under_way(root: Root) -> StorageError:
    return StorageError(
        f"A run is under way in {root}: which parts it will find again is not known yet.",
        safe="Nothing was deleted.",
        next_step="Wait for it (`rpo status` shows it), then type the same command again.",
    )


@overload
def _lock_path(root: Path) -> Path: ...
@overload
def _lock_path(root: ObjectPath) -> ObjectPath: ...
def _lock_path(root: Root) -> Root:
    return root / RUNS_FOLDER / USAGE_LOCK


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
