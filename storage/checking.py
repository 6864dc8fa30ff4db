"""Whether a data folder is whole: every manifest, part and database of it, and what to do about what is not.

A part carries a checksum for every page. What they do not cover (the headers of pages, the footer with its statistics,
by which readers skip rows) is compared with what this program writes for the same rows: equal rows are equal bytes.
"""

from __future__ import annotations

import io
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from models.base import Strict
from models.errors import StorageError
from models.records import DATASETS, PartRef
from storage.call_cache import CALL_CACHE_FILE, recovery_steps
from storage.catalog import CATALOG_FILE
from storage.compaction import compacted_store
from storage.encoding import UNREADABLE, damaged_part, encode_part
from storage.files import find_dead_temporaries
from storage.garbage import PART_NAME, RESULTS_FOLDER, find_unused, find_used
from storage.manifests import Manifest, load
from storage.migrated import migrated_store
from storage.parts import SCHEMA_FILE, PartStore
from storage.usage import is_in_use

if TYPE_CHECKING:
    from typing_extensions import Buffer

_NAMED: Final = 3
"""Of many missing parts so many are named."""


class StoreFinding(Strict):
    """One thing that was looked at."""

    ok: bool = Field(description="Whether nothing is wrong with it.")
    what: str = Field(description="What was found.")
    safe: str = Field(default="", description="What is not affected.")
    fix: str = Field(default="", description="What to type next; of something that is well: what may be done.")


def check_store(root: Path) -> Iterator[StoreFinding]:
    """Look at everything in a data folder; nothing is changed.

    Raises:
        StorageError: There is no such folder.
    """
    store = PartStore(root)
    if not store.root.is_dir():
        raise StorageError(f"There is no data folder {root}.", next_step="Check --data, which names it.")
    manifests: list[Manifest] = []
    whole = True
    for found in _read_manifests(store.root):
        if isinstance(found, Manifest):
            manifests.append(found)
        else:
            whole = False
            yield found
    yield StoreFinding(ok=True, what=f"{len(manifests)} runs with a readable manifest")
    yield from _check_unfinished(store.root, manifests)
    yield from _check_manifests(store, manifests)
    checked = _PartCheck(store, manifests)
    yield from checked.all_parts()
    if whole:
        yield from _check_lineage(store, manifests)
    yield from _check_copies(store)
    yield from _check_results(store.root)
    yield from _check_calls(store.root / CALL_CACHE_FILE)
    yield from _check_catalog(store.root / CATALOG_FILE)
    yield from _check_leftovers(store.root)


def _read_manifests(root: Path) -> Iterator[Manifest | StoreFinding]:
    for path in sorted((root / "runs").glob("[!.]*.json")):
        try:
            yield load(root, path.stem)
        except StorageError as error:
            yield _wrong(error)


def _check_unfinished(root: Path, manifests: Iterable[Manifest]) -> Iterator[StoreFinding]:
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
        missing = [ref for ref in manifest.parts if not store.exists(ref)]
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
            parts = rows = unchecked = 0
            for path in sorted((self._store.root / dataset).glob("*.parquet")):
                if not PART_NAME.fullmatch(path.name):
                    continue
                ref = PartRef(dataset=dataset, key=path.stem, rows=0)
                users = self._users[dataset, ref.key]
                try:
                    found, compared = check_part(self._store, ref)
                    told = self._rows.get((dataset, ref.key), found)
                    if told != found:
                        raise damaged_part(path, ValueError(f"it has {found} rows, and its run was told {told}"))
                except StorageError as error:
                    yield _wrong(error, _delete_and(path, users) if path.exists() else "")
                    continue
                parts, rows, unchecked = parts + 1, rows + found, unchecked + (not compared)
            if parts:
                note = f"; {unchecked} of them of an earlier version: read, not compared" if unchecked else ""
                yield StoreFinding(ok=True, what=f"{dataset}: {parts} whole parts, {rows} rows{note}")


def check_part(store: PartStore, ref: PartRef) -> tuple[int, bool]:
    """Read a part, verify its checksums, and compare its bytes with what this program writes for the same rows.

    Returns:
        Its rows, and whether the bytes could be compared: another version of the factory or of its Parquet library
        writes others.

    Raises:
        StorageError: The part is damaged or missing, or was written by a newer version.
    """
    path, table = store.path(ref), store.read_table(ref)
    try:
        footer = pq.read_metadata(path, memory_map=False)
        writer, stored = footer.created_by, footer.metadata or {}
    except UNREADABLE as error:
        raise damaged_part(path, error) from error
    if b"rpo.inputs" not in stored:
        raise damaged_part(path, ValueError("its footer does not say what it was made from"))
    inputs = store.inputs(ref)
    if writer != f"parquet-cpp-arrow version {pa.cpp_version}":
        return table.num_rows, False
    with path.open("rb") as file:
        comparison = _Comparison(file)
        encode_part(comparison, ref.dataset, table, inputs=inputs, what=f"Part {path}")
    # damage does not change the length of a file that can still be read; another version of the factory does
    if comparison.tell() != path.stat().st_size:
        return table.num_rows, False
    if comparison.differs_at is not None:
        raise damaged_part(path, ValueError(f"byte {comparison.differs_at} is not as it was written"))
    return table.num_rows, True


class _Comparison(io.BytesIO):
    """Takes what is written, keeps nothing of it, and says where it differs from a file."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file, self._written = file, 0
        self.differs_at: int | None = None

    def write(self, data: Buffer, /) -> int:
        new = bytes(data)
        there = self._file.read(len(new))
        if self.differs_at is None and new != there:
            same = next((place for place, pair in enumerate(zip(new, there, strict=False)) if pair[0] != pair[1]), 0)
            self.differs_at = self._written + same
        self._written += len(new)
        return len(new)

    def tell(self) -> int:
        return self._written


def _check_lineage(store: PartStore, manifests: Iterable[Manifest]) -> Iterator[StoreFinding]:
    """Used parts whose ancestors are gone, and parts that nobody uses."""
    try:
        used = find_used(store, manifests)
    except StorageError:
        return  # a used part is damaged, which was said; what it was made from is not known
    listed = {ref for manifest in manifests for ref in manifest.parts}
    gone = sorted(f"{ref.dataset}/{ref.key}" for ref in used - listed if not store.exists(ref))
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
            fix=f"rpo gc --data {store.root} shows them; --delete frees them",
        )


def _check_copies(store: PartStore) -> Iterator[StoreFinding]:
    """Compacted files and copies of older parts: both are made anew where they are gone."""
    for name, copies in (("compacted", compacted_store(store)), ("migrated", migrated_store(store))):
        whole = 0
        for path in sorted(copies.root.glob("*/*.parquet")):
            if path.parent.name not in DATASETS or not PART_NAME.fullmatch(path.name):
                continue
            try:
                check_part(copies, PartRef(dataset=path.parent.name, key=path.stem, rows=0))
                whole += 1
            except StorageError as error:
                yield StoreFinding(
                    ok=False, what=error.what, safe="The parts are there.", fix=f"rm '{path}': it can be made anew."
                )
        if whole:
            yield StoreFinding(ok=True, what=f"{name}: {whole} whole files")


def _check_results(root: Path) -> Iterator[StoreFinding]:
    """What Prefect remembers of task runs."""
    for path in sorted(path for path in (root / RESULTS_FOLDER).glob("*") if path.is_file()):
        try:
            json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            yield StoreFinding(
                ok=False,
                what=f"Prefect's result {path} cannot be read: {error}.",
                safe="The part that it names is not affected.",
                fix=f"rm '{path}'",
            )


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


def _check_leftovers(root: Path) -> Iterator[StoreFinding]:
    dead = find_dead_temporaries(root)
    if dead:
        yield StoreFinding(
            ok=True,
            what=f"{len(dead)} half-written files of killed processes: {dead[0]}",
            safe="Nothing reads them.",
            fix="The next run removes them, and so does rpo gc --delete.",
        )
    for dataset in DATASETS:
        for path in sorted((root / dataset).glob("*")):
            if path.suffix == ".parquet" and path.name != SCHEMA_FILE and not PART_NAME.fullmatch(path.name):
                yield StoreFinding(ok=True, what=f"{path} has no name of a part: nothing reads it")


def _wrong(error: StorageError, fix: str = "") -> StoreFinding:
    # libraries explain themselves in several lines
    return StoreFinding(ok=False, what=" ".join(error.what.split()), safe=error.safe, fix=fix or error.next_step)


def _delete_and(path: Path, users: Iterable[Manifest]) -> str:
    users = list(users)
    if not users:
        return f"rm '{path}': no run uses it."
    return f"rm '{path}', then {_again(users)}"


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
