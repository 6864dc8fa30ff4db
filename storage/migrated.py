"""What SQL reads of parts that an older version wrote: a copy in today's columns, made when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from models.errors import StorageError
from models.records import PartRef
from storage.parts import PartStore
from storage.places import for_each
from storage.roots import Root

MIGRATED_FOLDER = "migrated"
"""Folder under DATA of the copies; it can be deleted at any time."""


def current_path(store: PartStore, ref: PartRef) -> Root:
    """Where a part can be read in today's columns: its own file, or its copy. The part itself is never changed.

    Raises:
        StorageError: The part is missing, damaged or of a newer version, or the copy cannot be written.
    """
    if store.is_current(ref):
        return store.locate(ref)
    copies = migrated_store(store)
    if not _is_whole(copies, ref):
        copies.write_table(ref.dataset, ref.key, store.read_table(ref), inputs=store.inputs(ref))
    return copies.locate(ref)


def open_current(store: PartStore, ref: PartRef) -> Any:
    """The same as pyarrow takes it, to read some of its columns or rows."""
    place = current_path(store, ref)
    return place if isinstance(place, Path) else place.open()


def find_current(store: PartStore, refs: Iterable[PartRef]) -> list[Root | StorageError]:
    """Where each of several parts can be read in today's columns, or why it cannot."""

    def find(ref: PartRef) -> Root | StorageError:
        try:
            return current_path(store, ref)
        except StorageError as error:
            return error

    return list(for_each(store.place, find, refs))


def current_files(store: PartStore, refs: Iterable[PartRef]) -> list[str]:
    """Where several parts, each once, can be read in today's columns, as SQL takes them.

    Raises:
        StorageError: As ``current_path``.
    """
    files = []
    for place in find_current(store, dict.fromkeys(refs)):
        if isinstance(place, StorageError):
            raise place
        files.append(str(place))
    return files


def migrated_store(store: PartStore) -> PartStore:
    """The copies, under the keys of their parts."""
    return store.beside(MIGRATED_FOLDER)


def _is_whole(copies: PartStore, ref: PartRef) -> bool:
    try:
        return copies.exists(ref) and copies.is_current(ref)
    except StorageError:
        return False
