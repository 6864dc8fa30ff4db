"""One process at a time, by a lock that the operating system releases with the process, however that ends."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from models.errors import StorageError
from storage.files import cannot_write
from storage.leases import leased
from storage.manifests import LOCK_SUFFIX, RUNS_FOLDER
from storage.roots import Root


@contextmanager
def locked(path: Path, what: str, *, otherwise: str) -> Iterator[None]:
    """Hold the lock file ``path``.

    Args:
        path: The lock file; it stays.
        what: Who is locked, for the message: "The run 'demo'".
        otherwise: What to type instead of waiting.

    Raises:
        StorageError: Another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StorageError(
                f"{what} is being worked on by another process.",
                safe="That one goes on.",
                next_step=f"Wait for it, or give this one another name: {otherwise}.",
            ) from error
        yield


@contextmanager
def in_turn(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file ``path``; whoever holds it is waited for.

    Args:
        path: The lock file; it stays.
        what: What is written meanwhile, for the message: "The catalog".

    Raises:
        StorageError: The folder cannot be written.
    """
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fcntl.flock(stack.enter_context(path.open("a")), fcntl.LOCK_EX)
        except OSError as error:
            raise cannot_write(what, path, error) from error
        yield


@contextmanager
def locked_run(root: Root, run: str, tell: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Have a run to oneself: by a lock file in a folder, by a lease in a store.

    Args:
        root: The data folder.
        run: The run.
        tell: Told once whom this process waits for.

    Yields:
        A function that raises where the run is no longer this process's to write.

    Raises:
        StorageError: Another process holds the lock file. (A lease is waited for.)
    """
    path, what = root / RUNS_FOLDER / f"{run}{LOCK_SUFFIX}", f"The run {run!r}"
    if isinstance(path, Path):
        with locked(path, what, otherwise="`--run NAME`"):
            yield lambda: None
    else:
        with leased(path, what, tell) as lease:
            yield lease.require
