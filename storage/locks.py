"""One process at a time, by a lock that the operating system releases with the process, however that ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import StorageError


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
