"""What in a DATA is not ours, or is reached by a link: it is left alone, and said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from models.records import DATASETS
from storage.call_cache import CALL_CACHE_FILE
from storage.catalog import CATALOG_FILE, CATALOG_LOCK
from storage.compaction import COMPACTED_FOLDER
from storage.files import is_temporary
from storage.flags import FLAGS_FOLDER
from storage.leases import PROBE_PREFIX
from storage.manifests import LOCK_SUFFIX, RUNS_FOLDER
from storage.migrated import MIGRATED_FOLDER
from storage.parts import PART_NAME, SCHEMA_FILE
from storage.places import list_entries
from storage.roots import RESULTS_FOLDER, Root
from storage.shared_calls import CALLS_FOLDER

_OURS: Final = {
    *DATASETS, RUNS_FOLDER, FLAGS_FOLDER, CALLS_FOLDER, MIGRATED_FOLDER, COMPACTED_FOLDER, RESULTS_FOLDER,
    "tmp", "exports", "imports", "reports", "training", "logs", "browse",
    CATALOG_FILE, f"{CATALOG_FILE}.wal", CATALOG_LOCK,
    CALL_CACHE_FILE, f"{CALL_CACHE_FILE}-wal", f"{CALL_CACHE_FILE}-shm",
}  # fmt: skip


def find_strangers(root: Root) -> Iterator[str]:
    """A line for each."""
    for entry in list_entries(root):
        name = entry.path.name
        if name not in _OURS and not is_temporary(entry.path):
            yield f"{entry.path}: not ours"
        elif entry.kind == "link":
            yield f"{entry.path}: a link; what it leads to may be used elsewhere"
        elif entry.kind == "folder" and name in DATASETS:
            yield from _find_in_dataset(entry.path)
        elif entry.kind == "folder" and name == RUNS_FOLDER:
            yield from _find_in_runs(entry.path)


def _find_in_dataset(folder: Root) -> Iterator[str]:
    for entry in list_entries(folder):
        name = entry.path.name
        if entry.kind == "link":
            yield f"{entry.path}: a link; what it leads to may be used elsewhere"
        elif name != SCHEMA_FILE and not PART_NAME.fullmatch(name) and not is_temporary(entry.path):
            yield f"{entry.path}: not ours"


def _find_in_runs(folder: Root) -> Iterator[str]:
    for entry in list_entries(folder):
        name = entry.path.name
        ours = name.endswith((".json", LOCK_SUFFIX)) or name.startswith(PROBE_PREFIX) or is_temporary(entry.path)
        if not ours:
            yield f"{entry.path}: not ours"
