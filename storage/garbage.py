"""What no run uses: found first, and freed only when somebody says so.

A part is used when a manifest lists it, when a used part was made from it, or when a used part has its key (the
accounts of its calls). Everything else that is ours is garbage once it is old enough; what is not ours is left alone
and said.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Final, Literal, NamedTuple

from pydantic import Field

from models.base import Strict
from models.errors import StorageError
from models.records import DATASETS, PartRef
from storage.compaction import COMPACTED_FOLDER, compact_key, compacted_store
from storage.files import cannot_write, find_dead_temporaries
from storage.leases import PROBE_PREFIX
from storage.manifests import RUNS_FOLDER
from storage.migrated import MIGRATED_FOLDER, migrated_store
from storage.parts import PART_NAME, PartStore
from storage.places import Entry, for_each, list_files, look_up, read_clock, require_data
from storage.roots import RESULTS_FOLDER, Root
from storage.strangers import find_strangers
from storage.usage import alone, is_in_use
from storage.used import find_lineage, find_used, read_all_manifests

GRACE_HOURS: Final = 24.0
"""Something younger may belong to a run of another machine, whose locks are not seen here.

By the clock that dates what rests there, in a store its own."""

# the accounts go last: a part whose calls are not accounted for must not exist
_ACCOUNTS: Final = ("llm_calls", "exclusions", "failures")
_SCRATCH_S: Final = 3600.0
# Prefect names the results of failed task runs by an id of its own
_RESULT = re.compile(r"((?P<dataset>[a-z_]+)-)?(?P<key>[0-9a-f]{32})")

Why = Literal["young", "unfinished"]


class Item(NamedTuple):
    """A file, a folder of scratch, or an upload that was not finished."""

    what: str
    path: Root
    size: int
    modified: float
    upload_id: str = ""


class Total(Strict):
    """Files of one kind."""

    what: str = Field(
        description="A dataset, prefect results, migrated, compacted, temporaries, scratch or unfinished uploads."
    )
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
    left_alone: list[str] = Field(description="What is not ours, reached by a link, or could not be looked at.")


def look_for_garbage(root: Root, *, grace_hours: float = GRACE_HOURS, unfinished: bool = False) -> GarbageReport:
    """Say what would be freed. Nothing is changed, and a read-only folder will do.

    Args:
        root: The data folder.
        grace_hours: What is younger is kept.
        unfinished: Whether what a run that is not finished might find again is garbage too.

    Raises:
        StorageError: There is no such folder, or what is used is not known: a manifest or a used part is damaged.
    """
    return _Search(root, grace_hours, unfinished).report(deleted=False, in_use=is_in_use(root))


def free_garbage(root: Root, *, grace_hours: float = GRACE_HOURS, unfinished: bool = False) -> GarbageReport:
    """Free what ``look_for_garbage`` says; no run can begin meanwhile.

    Raises:
        StorageError: As there; or a run is under way, or a file cannot be deleted.
    """
    require_data(root)
    done = 0
    with alone(root) as require_alone:

        def free(item: Item) -> None:
            require_alone()
            try:
                _delete(item)
            except OSError as error:
                raise _cannot_delete(item.path, done, error) from error

        search = _Search(root, grace_hours, unfinished)
        # kind after kind, whenever this is killed: the order says why
        for _, items in groupby(search.garbage, key=lambda item: item.what):
            for _ in for_each(root, free, items):
                done += 1
        return search.report(deleted=True, in_use=False)


def find_unused(store: PartStore, used: Iterable[PartRef]) -> Iterator[Item]:
    """The parts of every dataset whose key no used part has, in the order in which they can be deleted.

    What was made last goes first: of a part whose inputs are gone, and made anew with other answers, the next run would
    not know that it is of the old ones. The accounts go last: a part whose calls are not accounted for must not exist.
    """
    keys = {ref.key for ref in used}
    for dataset in (*(name for name in reversed(DATASETS) if name not in _ACCOUNTS), *_ACCOUNTS):
        for entry in store.list_parts(dataset):
            if entry.path.stem not in keys:
                yield _item(dataset, entry)


class _Search:
    """One look at a data folder."""

    def __init__(self, root: Root, grace_hours: float, unfinished: bool) -> None:
        require_data(root)
        self._store = PartStore(root)
        # files of this machine are of its own disk's clock
        self._now, self._here = read_clock(root), read_clock(self._store.machine)
        manifests = read_all_manifests(root)
        self._manifests, self._used = manifests, find_used(self._store, manifests)
        self._unfinished_runs = [manifest.run for manifest in manifests if manifest.status != "complete"]
        self._left_alone: list[str] = []
        self.garbage: list[Item] = []
        self._kept: dict[Why, list[Item]] = {"young": [], "unfinished": []}
        unused = list(find_unused(self._store, self._used))
        young = self._find_young(unused, grace_hours * 3600)
        for item in unused:
            if item.path.stem in young:
                self._kept["young"].append(item)
            elif self._unfinished_runs and not unfinished:
                self._kept["unfinished"].append(item)
            else:
                self.garbage.append(item)
        going = {(item.what, item.path.stem) for item in self.garbage}
        for item in (*self._results(going), *self._migrated(), *self._compacted()):
            self._sort(item, grace_hours * 3600)
        for item in (*self._scratch(), *self._uploads()):
            # an export takes no lock: without any grace the folder that one works in would be taken from it
            self._sort(item, max(grace_hours * 3600, _SCRATCH_S))
        # they have a grace period of their own
        self.garbage += self._temporaries()

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
            left_alone=[*find_strangers(self._store.place), *self._left_alone],
        )

    def _sort(self, item: Item, grace_s: float) -> None:
        (self._kept["young"] if self._is_young(item, grace_s) else self.garbage).append(item)

    def _is_young(self, item: Item | Entry, grace_s: float) -> bool:
        now = self._here if isinstance(item.path, Path) else self._now
        return item.modified > now - grace_s

    def _find_young(self, unused: Iterable[Item], grace_s: float) -> set[str]:
        """The keys of young parts, and of what they were made from: made anew, that might be something else."""
        young = [item for item in unused if self._is_young(item, grace_s)]
        refs = [PartRef(dataset=item.what, key=item.path.stem, rows=0) for item in young]
        return {ref.key for ref in find_lineage(self._store, refs)}

    def _results(self, going: set[tuple[str, str]]) -> Iterator[Item]:
        """Prefect's results of parts that are gone, or are going; and those of task runs that failed."""
        entries = list_files(self._store.machine / RESULTS_FOLDER)
        for entry, needless in zip(
            entries, for_each(self._store.place, lambda entry: self._is_needless(entry, going), entries), strict=True
        ):
            if needless:
                yield _item("prefect results", entry)

    def _is_needless(self, result: Entry, going: set[tuple[str, str]]) -> bool:
        match = _RESULT.fullmatch(result.path.name)
        if match is None or (match["dataset"] and match["dataset"] not in DATASETS):
            return False
        name = (match["dataset"], match["key"])
        return name[0] is None or name in going or not self._store.exists(*name)

    def _migrated(self) -> Iterator[Item]:
        """Copies in today's columns of parts that no run uses."""
        yield from self._beside(migrated_store(self._store), {(ref.dataset, ref.key) for ref in self._used})

    def _compacted(self) -> Iterator[Item]:
        """Compacted files of lists of parts that no manifest has."""
        wanted = {
            (dataset, compact_key(manifest.parts_of(dataset)))
            for manifest in self._manifests
            for dataset in {ref.dataset for ref in manifest.parts}
        }
        yield from self._beside(compacted_store(self._store), wanted)

    def _beside(self, copies: PartStore, wanted: set[tuple[str, str]]) -> Iterator[Item]:
        """Copies that nobody wants."""
        for dataset in DATASETS:
            for entry in copies.list_parts(dataset):
                if (dataset, entry.path.stem) not in wanted:
                    yield _item(copies.place.name, entry)

    def _scratch(self) -> Iterator[Item]:
        """Folders in which killed processes sorted pairs or imported rows, or wrote exports."""
        root = self._store.machine
        for path in (*root.glob("tmp/pairs-*"), *root.glob("tmp/import-*"), *root.glob("exports/.*.tmp")):
            if path.is_dir() and not path.is_symlink() and not path.parent.is_symlink():
                inside = [found for file in (path, *path.rglob("*")) if (found := look_up(file))]
                size = sum(entry.size for entry in inside[1:])
                yield Item("scratch", path, size, max(entry.modified for entry in inside))

    def _uploads(self) -> Iterator[Item]:
        """What killed writers of large parts left in a store."""
        root = self._store.place
        if isinstance(root, Path):
            return
        try:
            uploads = root.list_uploads()
        except StorageError as error:  # a right of its own, and not every store knows it
            self._left_alone.append(f"unfinished uploads: {error.what}")
            return
        ours = {root / dataset for dataset in DATASETS}
        ours |= {root / folder / dataset for folder in (COMPACTED_FOLDER, MIGRATED_FOLDER) for dataset in DATASETS}
        for upload in uploads:
            if upload.path.parent in ours and PART_NAME.fullmatch(upload.path.name):
                yield Item("unfinished uploads", upload.path, upload.size, upload.modified, upload.upload_id)

    def _temporaries(self) -> Iterator[Item]:
        machine, place = self._store.machine, self._store.place
        folders = [machine, machine / MIGRATED_FOLDER, machine / COMPACTED_FOLDER]
        for path in dict.fromkeys(path for folder in folders for path in find_dead_temporaries(folder)):
            if not path.parent.is_symlink() and (entry := look_up(path)):
                yield _item("temporaries", entry)
        for entry in list_files(place / RUNS_FOLDER):
            if entry.path.name.startswith(PROBE_PREFIX) and not self._is_young(entry, _SCRATCH_S):
                yield _item("temporaries", entry)


def _item(what: str, entry: Entry) -> Item:
    return Item(what, entry.path, entry.size, entry.modified)


def _total(what: str, items: Iterable[Item]) -> Total:
    sizes = [item.size for item in items]
    return Total(what=what, files=len(sizes), size=sum(sizes))


def _delete(item: Item) -> None:
    path = item.path
    if not isinstance(path, Path):
        if item.upload_id:
            path.abort_upload(item.upload_id)
        else:
            path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _cannot_delete(path: Root, done: int, error: OSError) -> StorageError:
    # only of a folder: what a store refuses is explained where it is asked
    told = cannot_write("What no run uses", Path(str(path)), error)
    return StorageError(
        f"{path} could not be deleted: {error.strerror or error}.",
        safe=f"{done} others were freed before it; everything that a run uses is there.",
        next_step=told.next_step,
    )
