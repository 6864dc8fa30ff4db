"""`rpo doctor --store`: what is whole is said to be whole, and every kind of damage is found and explained."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from models.base import digest
from models.errors import StorageError
from models.records import Judgment, Pair, PartRef
from storage import files
from storage.call_cache import CachedCall, CallCache
from storage.catalog import build_catalog
from storage.checking import check_store
from storage.compaction import compact_runs, find_compacted
from storage.findings import StoreFinding
from storage.flags import flag_file, flag_now, write_flag
from storage.manifests import manifest_path
from storage.part_check import check_part
from storage.parts import PartStore
from tests.storage.stores import OLD_STORE, files_under, make_older, save_run, write_metrics


def wrong(root: Path) -> list[StoreFinding]:
    return [finding for finding in check_store(root) if not finding.ok]


def notes(root: Path) -> list[str]:
    return [finding.what for finding in check_store(root) if finding.ok]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A whole folder with everything in it."""
    root = tmp_path / "data"
    parent = write_metrics(root, "parent")
    parts = [write_metrics(root, f"part {n}", inputs=(parent,)) for n in range(3)]
    save_run(root, "demo", *parts)
    with CallCache(root / "calls.sqlite") as cache:
        cache.put_many([
            CachedCall(request_hash=digest(n), model="m", text="word " * 500, finish_reason="stop", prompt_tokens=1,
                       completion_tokens=1, seconds=1.0)
            for n in range(50)
        ])  # fmt: skip
    compact_runs(root, above=2)
    build_catalog(root)
    (root / "prefect").mkdir()
    (root / "prefect" / f"metrics-{parts[0].key}").write_text("{}")
    return root


def first_part(root: Path) -> Path:
    return PartStore(root).path(PartRef(dataset="metrics", key=digest("part 0"), rows=20))


def test_a_whole_folder_is_whole_and_is_not_changed(root: Path) -> None:
    before = {path: path.read_bytes() for path in files_under(root)}
    assert wrong(root) == []
    assert notes(root) == [
        "1 runs with a readable manifest",
        "metrics: 4 whole parts, 80 rows",
        "compacted: 1 whole files",
        "call cache: 50 calls",
        "catalog",
    ]
    assert {path: path.read_bytes() for path in before if path.suffix != ".sqlite-shm"} == {
        path: data for path, data in before.items() if path.suffix != ".sqlite-shm"
    }


def test_a_folder_of_an_older_version_is_whole(tmp_path: Path) -> None:
    root = Path(shutil.copytree(OLD_STORE, tmp_path / "old"))
    assert wrong(root) == []
    assert "turns: 1 whole parts, 4 rows; 1 of them of an earlier version: read, not compared" in notes(root)


# created_by says which library wrote the file; nothing reads it, and without it there is nothing to compare with
def is_harmless(data: bytes, place: int) -> bool:
    begins = data.rindex(b"parquet-cpp-arrow")
    return begins <= place < begins + len(b"parquet-cpp-arrow version 00.0.0")


@pytest.mark.parametrize("bit", [0, 4, 7])
def test_a_flipped_bit_anywhere_in_a_part_is_found(tmp_path: Path, bit: int) -> None:
    store, noise = PartStore(tmp_path), random.Random(0)
    judgments = [
        Judgment(response_id=digest([n], length=16), constraint_id=digest([n % 7], length=16), dialogue_id="d", turn=1,
                 position=n % 5, verdict="followed", reason=f"{noise.random()}", judge="code", votes=1)
        for n in range(200)
    ]  # fmt: skip
    parent = store.write("responses", digest("r"), [])
    ref = store.write("judgments", digest("k"), judgments, inputs=[parent])
    assert check_part(store, ref) == (200, True)
    path = store.path(ref)
    data = path.read_bytes()
    unseen = []
    for place in range(bit, len(data), 29):
        path.write_bytes(data[:place] + bytes([data[place] ^ (1 << bit)]) + data[place + 1 :])
        try:
            check_part(store, ref)
            unseen.append(place)
        except StorageError:
            pass
    assert [place for place in unseen if not is_harmless(data, place)] == []
    path.write_bytes(data)
    assert check_part(store, ref) == (200, True)


def test_reading_finds_every_flipped_bit_in_the_rows(tmp_path: Path) -> None:
    store = PartStore(tmp_path)
    ref = write_metrics(tmp_path, "part", rows=300)
    path, rows = store.path(ref), store.read_table(ref)
    data = path.read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for place in range(4, footer, 13):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        try:
            read = store.read_table(ref)
        except StorageError:
            continue
        assert read.equals(rows), place  # a header that nothing depends on


def damage(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:200] + b"\xff" * 4 + data[204:])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("harm", [damage, cut])
def test_a_damaged_part_says_which_command_makes_it_anew(root: Path, harm: Callable[[Path], None]) -> None:
    harm(first_part(root))
    [finding] = wrong(root)
    assert str(first_part(root)) in finding.what and "is damaged" in finding.what
    assert "safe to delete" in finding.safe
    assert finding.fix.startswith(f"rm '{first_part(root)}', then type `rpo run --run demo`")
    save_run(root, "demo", status="failed")
    assert "no run uses it" in wrong(root)[0].fix


def test_missing_parts_are_counted_a_run(root: Path) -> None:
    first_part(root).unlink()
    save_run(root, "demo_eval", PartRef(dataset="turns", key=digest("gone"), rows=1), evaluates="demo")
    factory, evaluation = wrong(root)
    assert f"run demo: 1 of 3 parts are missing: metrics/{digest('part 0')}" in factory.what
    assert "rpo run --run demo" in factory.fix
    assert "rpo evaluate --run demo --name demo_eval" in evaluation.fix


def test_a_missing_ancestor(root: Path) -> None:
    PartStore(root).path(PartRef(dataset="metrics", key=digest("parent"), rows=20)).unlink()
    [finding] = wrong(root)
    assert finding.what.startswith("1 parts that used parts were made from are missing: metrics/")


def test_a_part_with_other_rows_than_the_run_was_told(root: Path) -> None:
    write_metrics(root, "part 0", rows=19)
    [finding] = wrong(root)
    assert "it has 19 rows, and its run was told 20" in finding.what


def test_flags_that_cannot_be_read_and_those_of_pairs_that_are_gone(root: Path) -> None:
    def flag(pair_id: str) -> Path:
        write_flag(root, flag_now(pair_id, "demo"))
        path = flag_file(root, pair_id)
        assert isinstance(path, Path)
        return path

    pairs = [
        Pair(pair_id=pair_id, dialogue_id="d", turn=1, chosen_id="c", rejected_id="r", reversed_ids=[],
             margin=1, noise_case=1)
        for pair_id in ("kept", "other")
    ]  # fmt: skip
    part = PartStore(root).write("pairs", digest("pairs"), pairs)
    save_run(root, "paired", part)
    save_run(root, "demo", *(PartRef(dataset="metrics", key=digest(f"part {n}"), rows=20) for n in range(3)))
    flag("kept")
    assert wrong(root) == [] and "flags: 1 readable" in notes(root)
    gone, half, moved = flag("it's gone"), flag("half"), flag("other").with_name("copy of it.json")
    half.write_text('{"pair_id": "half"')
    moved.write_bytes(flag_file(root, "other").read_bytes())
    found = [finding for finding in check_store(root) if "flag" in finding.what.lower()]
    copied, damaged = sorted(
        (finding for finding in found if not finding.ok), key=lambda finding: "damaged" in finding.what
    )
    assert str(moved) in copied.what and copied.fix == f"rm '{moved}'"
    assert f"The flag {half} is damaged" in damaged.what and damaged.fix.startswith(f"rm '{half}', and flag the pair")
    assert "other flags are not affected" in damaged.safe
    [note] = [finding for finding in found if finding.ok and finding.fix]
    assert note.what == '1 flags are of pairs that no run has now: "it\'s gone" (flagged in run demo)'
    assert "They can stay" in note.fix and f"rm '{gone}'" in note.fix
    save_run(root, "later", status="failed")
    [note] = [finding for finding in check_store(root) if "no run has now" in finding.what]
    assert note.fix.startswith("First finish later")
    manifest_path(root, "later").unlink()

    # with a manifest or the pairs' part not readable it is not known which pairs there are
    manifest_path(root, "other").write_text("{")
    assert not any("no run has now" in what for what in notes(root))
    manifest_path(root, "other").unlink()
    PartStore(root).path(part).write_bytes(b"PAR1")
    assert not any("no run has now" in what for what in notes(root))


def test_orphans_and_half_written_files_are_no_fault(root: Path) -> None:
    write_metrics(root, "orphan")
    half = root / "metrics" / f".{digest('x')}.parquet.{files._HOST}.999999.1.tmp"
    half.write_bytes(b"PAR1")
    (root / "metrics" / "copy of it.parquet").write_bytes(b"")
    make_older(root, hours=2)
    assert wrong(root) == []
    said = "\n".join(notes(root))
    assert "1 parts (0.0 MB) that no run uses" in said
    assert f"1 half-written files of killed processes: {half}" in said
    assert "copy of it.parquet has no name of a part" in said


def test_a_run_that_nobody_works_on(root: Path) -> None:
    save_run(root, "later", status="running")
    assert wrong(root) == []
    assert "stopped in the middle: later" in notes(root)


def test_a_damaged_manifest(root: Path) -> None:
    manifest_path(root, "other").write_text("{")
    [finding] = wrong(root)
    assert "other.json is damaged" in finding.what and "mv '" in finding.fix


def test_a_damaged_call_cache(root: Path) -> None:
    path = root / "calls.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("pragma wal_checkpoint(truncate)")
    db.close()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"\x07" * 3000 + data[len(data) // 2 + 3000 :])
    [finding] = wrong(root)
    assert f"The call cache {path} is damaged" in finding.what and ".recover" in finding.fix
    path.write_bytes(b"not a database at all" * 100)
    assert len(wrong(root)) == 1


def test_a_damaged_catalog_compacted_file_and_result(root: Path) -> None:
    (root / "catalog.duckdb").write_bytes(b"x" * 5000)
    (root / "prefect" / f"metrics-{digest('part 0')}").write_text('{"half')
    parts = [PartRef(dataset="metrics", key=digest(f"part {n}"), rows=20) for n in range(3)]
    compacted = find_compacted(PartStore(root), "metrics", parts)
    assert isinstance(compacted, Path)
    damage(compacted)
    found = wrong(root)
    assert len(found) == 3
    assert all(finding.fix.startswith("rm '") for finding in found)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no data folder"):
        list(check_store(tmp_path / "nowhere"))
