"""What SQL reads of parts that an older version wrote: a copy in today's columns, made when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from models.errors import StorageError
from models.records import PartRef
from storage.parts import PartStore

MIGRATED_FOLDER = "migrated"
"""Folder under DATA of the copies; it can be deleted at any time."""


def current_path(store: PartStore, ref: PartRef) -> Path:
    """Where a part can be read in today's columns: its own file, or its copy. The part itself is never changed.

    Raises:
        StorageError: The part is missing, damaged or of a newer version, or the copy cannot be written.
    """
    if store.is_current(ref):
        return store.path(ref)
    copies = migrated_store(store)
    if not _is_whole(copies, ref):
        copies.write_table(ref.dataset, ref.key, store.read_table(ref), inputs=store.inputs(ref))
    return copies.path(ref)


def current_files(store: PartStore, refs: Iterable[PartRef]) -> list[str]:
    """The same of several parts, each once, as SQL takes them."""
    return [str(current_path(store, ref)) for ref in dict.fromkeys(refs)]


def migrated_store(store: PartStore) -> PartStore:
    """The copies, under the keys of their parts."""
    return PartStore(store.root / MIGRATED_FOLDER)


def _is_whole(copies: PartStore, ref: PartRef) -> bool:
    try:
        return copies.exists(ref) and copies.is_current(ref)
    except StorageError:
        return False
