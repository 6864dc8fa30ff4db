"""Whether a DATA is whole: every manifest, part, flag and database of it, and what to do about what is not."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from models.errors import StorageError
from models.records import DATASETS, PartRef
from storage.call_cache import CALL_CACHE_FILE, recovery_steps
from storage.catalog import CATALOG_FILE
from storage.compaction import compacted_store
from storage.encoding import damaged_part
from storage.files import find_dead_temporaries
from storage.findings import StoreFinding, explain
from storage.flag_check import check_flags
from storage.garbage import find_unused
from storage.manifests import RUNS_FOLDER, Manifest, load
from storage.migrated import migrated_store
from storage.objects import ObjectPath
from storage.part_check import check_part
from storage.parts import PART_NAME, SCHEMA_FILE, PartStore
from storage.places import delete_command, for_each, list_files, require_data
from storage.roots import RESULTS_FOLDER, Root, list_stems
from storage.shared_calls import CALLS_FOLDER, read_shared_calls
from storage.usage import is_in_use
from storage.used import find_used

_NAMED: Final = 3
"""Of many missing parts so many are named."""
_PARTS_AT_ONCE: Final = 4
"""Parts of a store that are checked together: each is in memory, twice."""


def check_store(root: Root) -> Iterator[StoreFinding]:
    """Look at everything in a data folder or store, and in the folder of this machine for it; nothing is changed.

    Raises:
        StorageError: There is no such folder, or the store does not answer.
    """
    require_data(root)
    store = PartStore(root)
    manifests: list[Manifest] = []
    whole = True
    for found in _read_manifests(root):
        if isinstance(found, Manifest):
            manifests.append(found)
        else:
            whole = False
            yield found
    yield StoreFinding(ok=True, what=f"{len(manifests)} runs with a readable manifest")
    yield from _check_unfinished(root, manifests)
    yield from _check_manifests(store, manifests)
    yield from _PartCheck(store, manifests).all_parts()
    if whole:
        yield from _check_lineage(store, manifests)
    yield from _check_copies(store)
    yield from check_flags(store, manifests if whole else [])
    yield from _check_results(store.machine)
    yield from _check_shared_calls(root)
    yield from _check_calls(store.machine / CALL_CACHE_FILE)
    yield from _check_catalog(store.machine / CATALOG_FILE)
    yield from _check_leftovers(store)


def _read_manifests(root: Root) -> Iterator[Manifest | StoreFinding]:
    for run in list_stems(root / RUNS_FOLDER, ".json"):
        try:
            yield load(root, run)
        except StorageError as error:
            yield explain(error)


def _check_unfinished(root: Root, manifests: Iterable[Manifest]) -> Iterator[StoreFinding]:
    running = [manifest.run for manifest in manifests if manifest.status == "running"]
    if running and not is_in_use(root):
        yield StoreFinding(
            ok=True,
            what=f"stopped in the middle: {', '.join(running)}",
            safe="Everything completed is stored.",
            fix="The same command goes on from there.",
        )


def _check_manifests(store: PartStore, manifests: Iterable[Manifest]) -> Iterator[StoreFinding]:
    """Manifests that name parts that are not there, or that have other rows."""
    for manifest in manifests:
        there = for_each(store.place, store.exists, manifest.parts)
        missing = [ref for ref, found in zip(manifest.parts, there, strict=True) if not found]
        if missing:
            names = ", ".join(f"{ref.dataset}/{ref.key}" for ref in missing[:_NAMED])
            more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
            yield StoreFinding(
                ok=False,
                what=f"run {manifest.run}: {len(missing)} of {len(manifest.parts)} parts are missing: {names}{more}",
                safe="Completed calls are stored and not paid again.",
                fix=_again([manifest]),
            )


class _PartCheck:
    """Every part of every dataset, whoever uses it: a later run would find it by its key."""

    def __init__(self, store: PartStore, manifests: Iterable[Manifest]) -> None:
        self._store = store
        self._users: dict[tuple[str, str], list[Manifest]] = defaultdict(list)
        self._rows: dict[tuple[str, str], int] = {}
        for manifest in manifests:
            for ref in manifest.parts:
                self._users[ref.dataset, ref.key].append(manifest)
                self._rows[ref.dataset, ref.key] = ref.rows

    def all_parts(self) -> Iterator[StoreFinding]:
        for dataset in DATASETS:
            refs = [PartRef(dataset=dataset, key=entry.path.stem, rows=0) for entry in self._store.list_parts(dataset)]
            parts = rows = unchecked = 0
            for found in for_each(self._store.place, self._check, refs, at_once=_PARTS_AT_ONCE):
                if isinstance(found, StoreFinding):
                    yield found
                    continue
                count, compared = found
                parts, rows, unchecked = parts + 1, rows + count, unchecked + (not compared)
            if parts:
                note = f"; {unchecked} of them of an earlier version: read, not compared" if unchecked else ""
                yield StoreFinding(ok=True, what=f"{dataset}: {parts} whole parts, {rows} rows{note}")

    def _check(self, ref: PartRef) -> tuple[int, bool] | StoreFinding:
        place, users = self._store.locate(ref), self._users.get((ref.dataset, ref.key), [])
        try:
            found, compared = check_part(self._store, ref)
            told = self._rows.get((ref.dataset, ref.key), found)
            if told != found:
                raise damaged_part(place, ValueError(f"it has {found} rows, and its run was told {told}"))
        except StorageError as error:
            return explain(error, _delete_and(place, users) if place.is_file() else "")
        return found, compared


def _check_lineage(store: PartStore, manifests: Iterable[Manifest]) -> Iterator[StoreFinding]:
    """Used parts whose ancestors are gone, and parts that nobody uses."""
    try:
        used = find_used(store, manifests)
    except StorageError:
        return  # a used part is damaged, which was said; what it was made from is not known
    listed = {ref for manifest in manifests for ref in manifest.parts}
    ancestors = sorted(used - listed, key=lambda ref: (ref.dataset, ref.key))
    there = for_each(store.place, store.exists, ancestors)
    gone = [f"{ref.dataset}/{ref.key}" for ref, found in zip(ancestors, there, strict=True) if not found]
    if gone:
        yield StoreFinding(
            ok=False,
            what=f"{len(gone)} parts that used parts were made from are missing: {', '.join(gone[:_NAMED])}",
            safe="The tables of the runs are whole; an export or an evaluation may look for them.",
            fix="Type the commands of the runs again: they make what is missing.",
        )
    unused = [item.size for item in find_unused(store, used)]
    if unused:
        yield StoreFinding(
            ok=True,
            what=f"{len(unused)} parts ({sum(unused) / 1e6:.1f} MB) that no run uses",
            fix=f"rpo gc --data {store.place} shows them; --delete frees them",
        )


def _check_copies(store: PartStore) -> Iterator[StoreFinding]:
    """Compacted files and copies of older parts: both are made anew where they are gone."""
    for name, copies in (("compacted", compacted_store(store)), ("migrated", migrated_store(store))):
        whole = 0
        for ref in (
            PartRef(dataset=dataset, key=entry.path.stem, rows=0)
            for dataset in DATASETS
            for entry in copies.list_parts(dataset)
        ):
            try:
                check_part(copies, ref)
                whole += 1
            except StorageError as error:
                fix = f"{delete_command(copies.locate(ref))}: it can be made anew."
                yield StoreFinding(ok=False, what=error.what, safe="The parts are there.", fix=fix)
        if whole:
            yield StoreFinding(ok=True, what=f"{name}: {whole} whole files")


def _check_results(machine: Path) -> Iterator[StoreFinding]:
    """What Prefect remembers of task runs."""
    for path in sorted(path for path in (machine / RESULTS_FOLDER).glob("*") if path.is_file()):
        try:
            json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            yield StoreFinding(
                ok=False,
                what=f"Prefect's result {path} cannot be read: {error}.",
                safe="The part that it names is not affected.",
                fix=f"rm '{path}'",
            )


def _check_shared_calls(root: Root) -> Iterator[StoreFinding]:
    """What machines have shared: one that cannot be read stops every machine that has not seen it yet."""
    if isinstance(root, Path):
        return
    whole = calls = 0
    names = (root / CALLS_FOLDER).list_names()
    for found in for_each(root, lambda name: _count_shared(root / CALLS_FOLDER / name), names):
        if isinstance(found, StoreFinding):
            yield found
        else:
            whole, calls = whole + 1, calls + found
    if whole:
        yield StoreFinding(ok=True, what=f"shared calls: {calls} in {whole} objects")


def _count_shared(place: ObjectPath) -> int | StoreFinding:
    try:
        return len(read_shared_calls(place)[0])
    except FileNotFoundError:  # tidied away since it was listed
        return 0
    except StorageError as error:
        return explain(error, f"{delete_command(place)}: its calls are asked for again where no part was made of them.")


def _check_calls(path: Path) -> Iterator[StoreFinding]:
    if not path.is_file():
        return
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            problems = [text for (text,) in db.execute("pragma quick_check").fetchall() if text != "ok"]
            (calls,) = db.execute("select count(*) from calls").fetchone() if not problems else (0,)
    except sqlite3.Error as error:
        problems, calls = [str(error)], 0
    if problems:
        yield StoreFinding(
            ok=False,
            what=f"The call cache {path} is damaged: {'; '.join(problems[:_NAMED])}.",
            safe="Finished parts are whole.",
            fix=recovery_steps(path),
        )
    else:
        yield StoreFinding(ok=True, what=f"call cache: {calls} calls")


def _check_catalog(path: Path) -> Iterator[StoreFinding]:
    import duckdb

    if not path.is_file():
        return
    try:
        with duckdb.connect(str(path), read_only=True) as db:
            db.execute("select view_name from duckdb_views()").fetchall()
    except duckdb.Error as error:
        yield StoreFinding(
            ok=False,
            what=f"The catalog {path} cannot be read: {str(error).strip()}",
            safe="It holds no data.",
            fix=f"rm '{path}': the next query makes it anew.",
        )
    else:
        yield StoreFinding(ok=True, what="catalog")


def _check_leftovers(store: PartStore) -> Iterator[StoreFinding]:
    dead = find_dead_temporaries(store.machine)
    if dead:
        yield StoreFinding(
            ok=True,
            what=f"{len(dead)} half-written files of killed processes: {dead[0]}",
            safe="Nothing reads them.",
            fix="The next run removes them, and so does rpo gc --delete.",
        )
    for dataset in DATASETS:
        for entry in list_files(store.place / dataset):
            name = entry.path.name
            if name.endswith(".parquet") and name != SCHEMA_FILE and not PART_NAME.fullmatch(name):
                yield StoreFinding(ok=True, what=f"{entry.path} has no name of a part: nothing reads it")


def _delete_and(place: Root, users: Sequence[Manifest]) -> str:
    if not users:
        return f"{delete_command(place)}: no run uses it."
    return f"{delete_command(place)}, then {_again(users)}"


def _again(users: Iterable[Manifest]) -> str:
    """The commands that make missing parts of some runs anew."""
    commands = dict.fromkeys(
        f"`rpo evaluate --benchmark {manifest.benchmark} --name {manifest.run}`" if manifest.benchmark is not None
        else f"`rpo evaluate --run {manifest.evaluates} --name {manifest.run}`" if manifest.evaluates is not None
        else f"`rpo run --run {manifest.estimates} --dry-run`" if manifest.estimates is not None
        else f"`{manifest.imported.command} --run {manifest.run}`" if manifest.imported is not None
        else f"`rpo run --run {manifest.run}`" + (f" with `--policy {manifest.policy}`" if manifest.policy else "")
        for manifest in users
    )  # fmt: skip
    return f"type {', '.join(commands)} with the same settings again: that makes it anew."
