"""What rests in a folder or under a prefix of a store, how old it is, and work on many of them: one walk for both."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeVar

from models.errors import StorageError
from storage.roots import Root

_AT_ONCE: Final = 16
"""Objects of a store that are worked on together: each is a request, and nearly all of its time is waiting."""

Thing = TypeVar("Thing")
Made = TypeVar("Made")


class Entry(NamedTuple):
    """Something in a folder or under a prefix."""

    path: Root
    kind: Literal["file", "folder", "link", "other"]
    size: int
    modified: float
    """Seconds since 1970, by the clock of ``read_clock``."""


def list_entries(folder: Root) -> list[Entry]:
    """All that is directly in a folder or under a prefix, sorted by name; nothing where it is not there."""
    if not isinstance(folder, Path):
        found = folder.list_entries()
        return [Entry(folder / item.name, item.kind, item.size, item.modified) for item in found]
    if not folder.is_dir():
        return []
    return [entry for path in sorted(folder.iterdir()) if (entry := look_up(path))]


def list_files(folder: Root) -> list[Entry]:
    """The files that are really there; a link, also of the folder itself, leads to what others may use."""
    if isinstance(folder, Path) and folder.is_symlink():
        return []
    return [entry for entry in list_entries(folder) if entry.kind == "file"]


def look_up(path: Path) -> Entry | None:
    """One of a folder; None: it is gone since it was listed."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    kinds: dict[int, Literal["file", "folder", "link"]]
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
    return Entry(path, kinds.get(stat.S_IFMT(found.st_mode), "other"), found.st_size, found.st_mtime)


def require_data(root: Root) -> None:
    """Check that there is a data folder at all.

    Raises:
        StorageError: There is none, or nothing under that prefix.
    """
    if root.is_dir() if isinstance(root, Path) else root.list_entries():
        return
    what = f"There is no data folder {root}." if isinstance(root, Path) else f"There is nothing under {root}."
    raise StorageError(what, safe="Nothing was changed.", next_step="Check --data, which names it.")


def read_clock(root: Root) -> float:
    """The time by the clock that dates what is written there: the store's, or that of the disk.

    Not this machine's: that may be behind or ahead of a file server or a store, and a young file would seem old.
    """
    if not isinstance(root, Path):
        return root.read_clock()
    try:
        with tempfile.TemporaryFile(dir=root) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:  # what cannot be written can be looked at all the same
        return time.time()


def for_each(
    root: Root, work: Callable[[Thing], Made], things: Iterable[Thing], *, at_once: int = _AT_ONCE
) -> Iterator[Made]:
    """What comes of some work on each of several things: one after another in a folder, ``at_once`` in a store."""
    if isinstance(root, Path):
        yield from map(work, things)
        return
    with ThreadPoolExecutor(at_once, thread_name_prefix="objects") as pool:
        yield from pool.map(work, things)


def delete_command(*places: Root) -> str:
    """What a person types to delete files or objects."""
    if all(isinstance(place, Path) for place in places):
        return "rm " + " ".join(f"'{place}'" for place in places)
    return " && ".join(f"aws s3 rm '{place}'" for place in places)
