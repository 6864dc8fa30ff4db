"""What no run uses: found first, and freed only when somebody says so.

A part is used when a manifest lists it, when a used part was made from it, or when a used part has its key (the
accounts of its calls). Everything else that is ours is garbage once it is old enough; what is not ours is left alone
and said.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from pydantic import Field

from models.base import Strict
from models.errors import StorageError
from models.records import DATASETS, PartRef
from storage.call_cache import CALL_CACHE_FILE
from storage.catalog import CATALOG_FILE
from storage.compaction import COMPACTED_FOLDER, compact_key
from storage.files import cannot_write, find_dead_temporaries, is_temporary
from storage.manifests import Manifest, list_runs
from storage.migrated import MIGRATED_FOLDER
from storage.parts import SCHEMA_FILE, PartStore
from storage.usage import USAGE_LOCK, alone, is_in_use

GRACE_HOURS: Final = 24.0
"""Something younger may belong to a run of another machine, whose locks are not seen here."""

RESULTS_FOLDER: Final = "prefect"
"""Where Prefect keeps the results of task runs: see ``tasks.batch``."""

# the accounts go last: a part whose calls are not accounted for must not exist
_ACCOUNTS: Final = ("llm_calls", "exclusions", "failures")
_SCRATCH_S: Final = 3600.0
PART_NAME: Final = re.compile(r"(?P<key>[0-9a-f]{32})\.parquet")
# Prefect names the results of failed task runs by an id of its own
_RESULT = re.compile(r"((?P<dataset>[a-z_]+)-)?(?P<key>[0-9a-f]{32})")
_OURS: Final = {
    *DATASETS, "runs", "tmp", "exports", "imports", "reports", "training", "logs", "browse", "flags", RESULTS_FOLDER,
    MIGRATED_FOLDER, COMPACTED_FOLDER,
    CATALOG_FILE, f"{CATALOG_FILE}.wal", CALL_CACHE_FILE, f"{CALL_CACHE_FILE}-wal", f"{CALL_CACHE_FILE}-shm",
}  # fmt: skip

Why = Literal["young", "unfinished"]


class Item(NamedTuple):
    """A file, or a folder of scratch."""

    what: str
    path: Path
    size: int


class Total(Strict):
    """Files of one kind."""

    what: str = Field(description="A dataset, prefect results, migrated, compacted, temporaries or scratch.")
    files: int = Field(ge=0, description="How many.")
    size: int = Field(ge=0, description="Bytes.")


class GarbageReport(Strict):
    """What is freed, what is kept though no run uses it, and what was left alone."""

    deleted: bool = Field(description="Whether it was freed; false: it was only looked at.")
    freed: list[Total] = Field(description="What no run uses, by kind.")
    files: int = Field(ge=0, description="How many files that is.")
    size: int = Field(ge=0, description="How many bytes that is.")
    young: Total = Field(description="Kept: younger than the grace period.")
    unfinished: Total = Field(description="Kept: a run that is not finished may find it again.")
    unfinished_runs: list[str] = Field(description="Those runs.")
    in_use: bool = Field(description="Whether a run is under way.")
    left_alone: list[str] = Field(description="What is not ours, or reached by a link.")


def look_for_garbage(root: Path, *, grace_hours: float = GRACE_HOURS, unfinished: bool = False) -> GarbageReport:
    """Say what would be freed. Nothing is changed, and a read-only folder will do.

    Args:
        root: The data folder.
        grace_hours: What is younger is kept.
        unfinished: Whether what a run that is not finished might find again is garbage too.

    Raises:
        StorageError: There is no such folder, or what is used is not known: a manifest or a used part is damaged.
    """
    return _Search(root, grace_hours, unfinished).report(deleted=False, in_use=is_in_use(root))


def free_garbage(root: Path, *, grace_hours: float = GRACE_HOURS, unfinished: bool = False) -> GarbageReport:
    """Free what ``look_for_garbage`` says; no run can begin meanwhile.

    Raises:
        StorageError: As there; or a run is under way, or a file cannot be deleted.
    """
    _require_folder(root)
    with alone(root):
        search = _Search(root, grace_hours, unfinished)
        for number, item in enumerate(search.garbage):
            try:
                _delete(item.path)
            except OSError as error:
                raise _cannot_delete(item.path, number, error) from error
        return search.report(deleted=True, in_use=False)


def find_used(store: PartStore, manifests: Iterable[Manifest]) -> set[PartRef]:
    """The parts that manifests list, and all that those were made from.

    Raises:
        StorageError: A used part is damaged: what it was made from is not known.
    """
    found = {ref for manifest in manifests for ref in manifest.parts}
    pending = list(found)
    while pending:
        ref = pending.pop()
        if not store.exists(ref):
            continue  # made anew by the next run
        new = set(store.inputs(ref)) - found
        found |= new
        pending += new
    return found


def find_unused(store: PartStore, used: Iterable[PartRef]) -> Iterator[Item]:
    """The parts of every dataset whose key no used part has, the accounts last."""
    keys = {ref.key for ref in used}
    for dataset in (*(name for name in DATASETS if name not in _ACCOUNTS), *_ACCOUNTS):
        for path in _files(store.root / dataset):
            match = PART_NAME.fullmatch(path.name)
            if match and match["key"] not in keys:
                yield _item(dataset, path)


def read_all_manifests(root: Path) -> list[Manifest]:
    """All manifests, where all can be read: a file that may be one and cannot be read is refused.

    Raises:
        StorageError: A manifest is damaged, was moved aside, or there is none.
    """
    folder = Path(root) / "runs"
    strangers = [
        path for path in sorted(folder.glob("*"))
        if ".json" in path.name and path.suffix != ".json" and not is_temporary(path)
    ]  # fmt: skip
    if strangers:
        raise StorageError(
            f"{strangers[0]} may be the manifest of a run: which parts it uses is not known.",
            safe="Nothing was deleted.",
            next_step="Run it again with the same settings, which makes its manifest anew, or delete the file; then "
            "type the same command again.",
        )
    try:
        manifests = list_runs(root)
    except StorageError as error:
        raise StorageError(
            f"{error.what} Which parts that run uses is not known.",
            safe="Nothing was deleted.",
            next_step=error.next_step,
        ) from error
    if not manifests:
        raise StorageError(
            f"There is no manifest of a run in {folder}: which parts are used is not known.",
            safe="Nothing was deleted.",
            next_step="Check --data. Where no run is to be kept, delete the folder itself.",
        )
    return manifests


class _Search:
    """One look at a data folder."""

    def __init__(self, root: Path, grace_hours: float, unfinished: bool) -> None:
        _require_folder(root)
        self._store = PartStore(root)
        before = time.time() - grace_hours * 3600
        manifests = read_all_manifests(root)
        self._manifests, self._used = manifests, find_used(self._store, manifests)
        self._unfinished_runs = [manifest.run for manifest in manifests if manifest.status != "complete"]
        keep_unfinished = bool(self._unfinished_runs) and not unfinished
        self.garbage: list[Item] = []
        self._kept: dict[Why, list[Item]] = {"young": [], "unfinished": []}
        for item in find_unused(self._store, self._used):
            self._sort(item, before, unfinished=keep_unfinished)
        going = {(item.what, item.path.stem) for item in self.garbage}
        for item in (*self._results(going), *self._migrated(), *self._compacted()):
            self._sort(item, before)
        for item in self._scratch():
            # an export takes no lock: without any grace the folder that one works in would be taken from it
            self._sort(item, min(before, time.time() - _SCRATCH_S))
        # they have a grace period of their own
        self.garbage += [_item("temporaries", path) for path in self._temporaries()]

    def report(self, *, deleted: bool, in_use: bool) -> GarbageReport:
        kinds = dict.fromkeys(item.what for item in self.garbage)
        total = _total("all", self.garbage)
        return GarbageReport(
            deleted=deleted,
            freed=[_total(what, [item for item in self.garbage if item.what == what]) for what in kinds],
            files=total.files,
            size=total.size,
            young=_total("young", self._kept["young"]),
            unfinished=_total("unfinished", self._kept["unfinished"]),
            unfinished_runs=self._unfinished_runs,
            in_use=in_use,
            left_alone=list(_find_strangers(self._store.root)),
        )

    def _sort(self, item: Item, before: float, *, unfinished: bool = False) -> None:
        if _newest(item.path) > before:
            self._kept["young"].append(item)
        elif unfinished:
            self._kept["unfinished"].append(item)
        else:
            self.garbage.append(item)

    def _results(self, going: set[tuple[str, str]]) -> Iterator[Item]:
        """Prefect's results of parts that are gone, or are going; and those of task runs that failed."""
        for path in _files(self._store.root / RESULTS_FOLDER):
            match = _RESULT.fullmatch(path.name)
            if match is None or (match["dataset"] and match["dataset"] not in DATASETS):
                continue
            name = (match["dataset"], match["key"])
            if name[0] is None or name in going or not self._store.exists(*name):
                yield _item("prefect results", path)

    def _migrated(self) -> Iterator[Item]:
        """Copies in today's columns of parts that no run uses."""
        used = {(ref.dataset, ref.key) for ref in self._used}
        yield from self._beside(MIGRATED_FOLDER, used)

    def _compacted(self) -> Iterator[Item]:
        """Compacted files of lists of parts that no manifest has."""
        wanted = {
            (dataset, compact_key(manifest.parts_of(dataset)))
            for manifest in self._manifests
            for dataset in {ref.dataset for ref in manifest.parts}
        }
        yield from self._beside(COMPACTED_FOLDER, wanted)

    def _beside(self, folder: str, wanted: set[tuple[str, str]]) -> Iterator[Item]:
        """Files of a folder of datasets that nobody wants."""
        for dataset in DATASETS:
            for path in _files(self._store.root / folder / dataset):
                match = PART_NAME.fullmatch(path.name)
                if match and (dataset, match["key"]) not in wanted:
                    yield _item(folder, path)

    def _scratch(self) -> Iterator[Item]:
        """Folders in which killed processes sorted pairs or imported rows, or wrote exports."""
        root = self._store.root
        for path in (*root.glob("tmp/pairs-*"), *root.glob("tmp/import-*"), *root.glob("exports/.*.tmp")):
            if path.is_dir() and not path.is_symlink() and not path.parent.is_symlink():
                yield Item("scratch", path, sum(file.lstat().st_size for file in path.rglob("*")))

    def _temporaries(self) -> list[Path]:
        folders = [self._store.root, *(self._store.root / name for name in (MIGRATED_FOLDER, COMPACTED_FOLDER))]
        found = [path for folder in folders for path in find_dead_temporaries(folder)]
        return [path for path in dict.fromkeys(found) if not path.parent.is_symlink()]


def _require_folder(root: Path) -> None:
    if not Path(root).is_dir():
        raise StorageError(
            f"There is no data folder {root}.",
            safe="Nothing was deleted.",
            next_step="Check --data, which names it.",
        )


def _find_strangers(root: Path) -> Iterator[str]:
    """What is not ours, and what a link leads to: other data folders may use it."""
    for path in sorted(root.iterdir()):
        if path.name not in _OURS and not is_temporary(path):
            yield f"{path}: not ours"
        elif path.is_symlink():
            yield f"{path}: a link; what it leads to may be used elsewhere"
        elif path.is_dir() and path.name in DATASETS:
            for file in sorted(path.iterdir()):
                if file.is_symlink():
                    yield f"{file}: a link; what it leads to may be used elsewhere"
                elif file.name != SCHEMA_FILE and not PART_NAME.fullmatch(file.name) and not is_temporary(file):
                    yield f"{file}: not ours"
        elif path.name == "runs":
            for file in sorted(path.iterdir()):
                known = file.suffix in (".json", ".lock") or file.name == USAGE_LOCK or is_temporary(file)
                if not known:
                    yield f"{file}: not ours"


def _files(folder: Path) -> Iterator[Path]:
    """The files of a folder that are really there; a link leads to what others may use."""
    if folder.is_dir() and not folder.is_symlink():
        yield from (path for path in sorted(folder.iterdir()) if path.is_file() and not path.is_symlink())


def _item(what: str, path: Path) -> Item:
    return Item(what, path, path.lstat().st_size)


def _total(what: str, items: Iterable[Item]) -> Total:
    sizes = [item.size for item in items]
    return Total(what=what, files=len(sizes), size=sum(sizes))


def _newest(path: Path) -> float:
    inside = path.rglob("*") if path.is_dir() else ()
    return max(float(file.lstat().st_mtime) for file in (path, *inside))


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _cannot_delete(path: Path, done: int, error: OSError) -> StorageError:
    told = cannot_write("What no run uses", path, error)
    return StorageError(
        f"{path} could not be deleted: {error.strerror or error}.",
        safe=f"{done} others were freed before it; everything that a run uses is there.",
        next_step=told.next_step,
    )
