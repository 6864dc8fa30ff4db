"""What looks after DATA in an S3 store: the same reports as of a folder, and nothing freed that a run may need."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from models.base import digest
from models.errors import StorageError
from models.records import Metric, PartRef
from storage.checking import check_store
from storage.compaction import compact_runs, find_compacted
from storage.findings import StoreFinding
from storage.flags import flag_file, flag_now, write_flag
from storage.garbage import GarbageReport, free_garbage, look_for_garbage
from storage.leases import PROBE_PREFIX, Lease, leased
from storage.manifests import RUNS_FOLDER, manifest_path
from storage.migrated import current_path, migrated_store
from storage.objects import ObjectPath, filesystem
from storage.parts import PartStore
from storage.places import list_entries, list_files
from storage.roots import Root, machine_dir
from storage.shared_calls import CALLS_FOLDER, SharedCallCache
from storage.usage import USAGE_LOCK, alone, is_in_use, using
from tests.storage.stores import OLD_STORE, llm_call, make_older, metric, save_run, write_metrics
from tests.storage.test_call_cache import call


def fill(root: Root) -> None:
    """A run whose one part has a parent and accounts; the same in no run; and what is not ours."""
    store, machine = PartStore(root), machine_dir(root)
    store.ensure_schemas()
    for name in ("used", "unused"):
        part = write_metrics(root, name, inputs=(write_metrics(root, f"parent of {name}"),))
        store.write("llm_calls", part.key, [llm_call(name)])
        (machine / "prefect").mkdir(parents=True, exist_ok=True)
        (machine / "prefect" / f"metrics-{part.key}").write_text("{}")
        if name == "used":
            save_run(root, "demo", part)
    pieces = [write_metrics(root, f"piece {n}") for n in range(2)]
    save_run(root, "pieces", *pieces)
    compact_runs(root, run="pieces", above=1)
    save_run(root, "pieces", *reversed(pieces))
    for place in (root / "notes.txt", root / "metrics" / "mine.parquet"):
        place.write_bytes(b"mine")


def names(root: Root) -> set[str]:
    """All that is there, of the machine's folder too."""
    found = set()
    for folder in {root, machine_dir(root)}:
        pending = [folder]
        while pending:
            for entry in list_entries(pending.pop()):
                if entry.kind == "folder":
                    pending.append(entry.path)
                else:
                    found.add(str(entry.path).removeprefix(f"{folder}/"))
    return {name for name in found if not name.endswith(".lock")}


def said(root: Root, report: GarbageReport) -> dict[str, object]:
    values = report.model_dump()
    values["left_alone"] = [line.replace(str(root), "DATA") for line in values["left_alone"]]
    return values


def test_the_report_is_that_of_a_folder_and_so_is_what_stays(s3_root: ObjectPath, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for root in (s3_root, folder):
        fill(root)
    assert names(s3_root) == names(folder)
    make_older(folder)
    before = names(folder)
    # in the store everything is of this moment
    looked = look_for_garbage(s3_root, grace_hours=0)
    assert said(s3_root, looked) == said(folder, look_for_garbage(folder, grace_hours=0))
    assert {total.what: total.files for total in looked.freed} == {
        "metrics": 2, "llm_calls": 1, "prefect results": 1, "compacted": 1
    }  # fmt: skip
    assert looked.left_alone == [f"{s3_root}/metrics/mine.parquet: not ours", f"{s3_root}/notes.txt: not ours"]
    assert names(s3_root) == before, "it was only looked at"
    freed = [said(root, free_garbage(root, grace_hours=0)) for root in (s3_root, folder)]
    assert freed[0] == freed[1]
    assert names(s3_root) == names(folder)
    assert len(before - names(s3_root)) == looked.files == 5
    assert [finding for finding in check_store(s3_root) if not finding.ok] == []


def test_age_is_by_the_clock_of_what_keeps_the_parts(
    s3_root: ObjectPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = time.time
    for root in (s3_root, tmp_path / "data"):
        save_run(root, "demo", write_metrics(root, "used"))
        young = write_metrics(root, "young")
        with monkeypatch.context() as patch:
            # the clock of this machine, of which the store and the disk know nothing
            patch.setattr(time, "time", lambda: here() + 3 * 86400)
            report = free_garbage(root)
            assert (report.files, report.young.files) == (0, 1)
            assert PartStore(root).exists(young)
            assert free_garbage(root, grace_hours=0).files == 1


@pytest.mark.usefixtures("short_leases")
def test_nothing_is_freed_while_another_machine_has_a_run(s3_root: ObjectPath) -> None:
    fill(s3_root)
    before = names(s3_root)
    run = Lease(s3_root / RUNS_FOLDER / "later.lock", "The run 'later'")
    assert is_in_use(s3_root) and look_for_garbage(s3_root).in_use
    with pytest.raises(StorageError, match="A run is under way") as caught:
        free_garbage(s3_root, grace_hours=0)
    assert "Nothing was deleted" in caught.value.safe
    assert names(s3_root) == before
    run.release()
    assert not is_in_use(s3_root)
    assert free_garbage(s3_root, grace_hours=0).files == 5


@pytest.mark.usefixtures("short_leases")
def test_a_run_that_was_dead_and_comes_back_finds_that_out(s3_root: ObjectPath) -> None:
    fill(s3_root)
    run = Lease(s3_root / RUNS_FOLDER / "later.lock", "The run 'later'")
    run._ended.set()  # its machine sleeps
    run._thread.join()
    assert not look_for_garbage(s3_root).in_use
    assert free_garbage(s3_root, grace_hours=0).files == 5
    run._ended.clear()
    awake = threading.Thread(target=run._renew)
    awake.start()
    awake.join(10)
    assert not awake.is_alive()
    with pytest.raises(StorageError, match="may have been taken over"):
        run.require()


@contextmanager
def beginning(root: ObjectPath) -> Iterator[tuple[threading.Event, list[str]]]:
    """A run that begins, as on another machine: an event that it has begun, and what it says."""
    begun, end = threading.Event(), threading.Event()
    told: list[str] = []

    def work() -> None:
        with leased(root / RUNS_FOLDER / "run.lock", "The run", told.append), using(root, told.append):
            begun.set()
            end.wait()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield begun, told
    finally:
        end.set()
        thread.join(20)


@pytest.mark.usefixtures("short_leases")
def test_a_run_waits_while_parts_are_freed(s3_root: ObjectPath) -> None:
    with ExitStack() as stack:
        with alone(s3_root) as require_alone:
            begun, told = stack.enter_context(beginning(s3_root))
            assert not begun.wait(2.5), "renewed for longer than it holds by itself"
            require_alone()
        assert begun.wait(20)
        assert "is being freed by process" in told[0]
        with pytest.raises(StorageError, match="A run is under way"), alone(s3_root):
            pass


@pytest.mark.usefixtures("short_leases")
def test_a_run_goes_on_where_who_frees_was_killed_and_that_one_frees_no_more(s3_root: ObjectPath) -> None:
    lock = s3_root / RUNS_FOLDER / USAGE_LOCK
    dead = Lease(lock, "Freeing")
    dead._ended.set()
    dead._thread.join()
    with beginning(s3_root) as (begun, _):
        assert begun.wait(20)
        with pytest.raises(StorageError, match="may have been taken over"):
            dead.require()
        assert lock.read_bytes() == b"{}", "should it come back, its next renewal fails"


def test_a_probe_and_uploads_that_nobody_finishes(s3_root: ObjectPath) -> None:
    save_run(s3_root, "demo", write_metrics(s3_root, "used"))
    (s3_root / RUNS_FOLDER / f"{PROBE_PREFIX}1").write_bytes(b"{}")

    def upload(name: str, *pieces: bytes) -> None:
        # without a piece it is of 2010 for this server
        place = s3_root / name
        fs, there = filesystem(), {"Bucket": place.bucket, "Key": place.key}
        begun = fs.call_s3("create_multipart_upload", **there)["UploadId"]
        for number, piece in enumerate(pieces, 1):
            fs.call_s3("upload_part", **there, UploadId=begun, PartNumber=number, Body=piece)

    def left() -> set[str]:
        return {str(upload.path).removeprefix(f"{s3_root}/") for upload in s3_root.list_uploads()}

    under_way, compacting = f"metrics/{digest('a')}.parquet", f"compacted/metrics/{digest('b')}.parquet"
    upload(under_way, b"12345", b"67")
    upload(compacting)
    upload("exports/mine.tar")
    report = free_garbage(s3_root, grace_hours=0)
    assert [(total.what, total.files) for total in report.freed] == [("unfinished uploads", 1)]
    assert (report.young.files, report.young.size, report.left_alone) == (1, 7, [])
    assert left() == {under_way, "exports/mine.tar"}


def test_an_unreadable_manifest_and_none_at_all_refuse(s3_root: ObjectPath) -> None:
    with pytest.raises(StorageError, match="There is nothing under s3://"):
        free_garbage(s3_root)
    with pytest.raises(StorageError, match="There is nothing under s3://"):
        list(check_store(s3_root))
    write_metrics(s3_root, "part")
    with pytest.raises(StorageError, match="no manifest of a run"):
        free_garbage(s3_root, grace_hours=0)
    path = manifest_path(s3_root, "demo")
    for bad in (path, s3_root / RUNS_FOLDER / "demo.json.damaged"):
        bad.write_bytes(b"{")
        with pytest.raises(StorageError, match="uses is not known"):
            free_garbage(s3_root, grace_hours=0)
        bad.unlink()
    assert len(list_files(s3_root / "metrics")) == 1


def harm(place: Root) -> None:
    data = place.read_bytes()
    place.write_bytes(data[:200] + b"\xff" * 4 + data[204:])


def test_the_doctor_finds_what_is_wrong_in_a_store(s3_root: ObjectPath, tmp_path: Path) -> None:
    def wrong() -> list[StoreFinding]:
        return [finding for finding in check_store(s3_root) if not finding.ok]

    parts = [write_metrics(s3_root, f"part {n}") for n in range(3)]
    save_run(s3_root, "demo", *parts)
    with SharedCallCache(machine_dir(s3_root) / "calls.sqlite", s3_root / CALLS_FOLDER) as cache:
        cache.put_many([call("a"), call("b")])
    write_flag(s3_root, flag_now("a-b", "demo"))
    found = list(check_store(s3_root))
    assert [finding.what for finding in found if finding.ok][:5] == [
        "1 runs with a readable manifest", "metrics: 3 whole parts, 60 rows", "flags: 1 readable",
        "1 flags are of pairs that no run has now: 'a-b' (flagged in run demo)", "shared calls: 2 in 1 objects",
    ]  # fmt: skip
    assert "call cache: 2 calls" in {finding.what for finding in found}
    assert wrong() == []

    places = [PartStore(s3_root).locate(part) for part in parts]
    harm(places[0])
    places[1].unlink()
    [shared] = list_files(s3_root / CALLS_FOLDER)
    shared.path.write_bytes(shared.path.read_bytes()[:60] + b"\xff" * 20)
    flag_file(s3_root, "a-b").write_bytes(b"{")
    missing, part, flag, calls = wrong()
    assert f"1 of 3 parts are missing: metrics/{parts[1].key}" in missing.what
    assert part.fix.startswith(f"aws s3 rm '{places[0]}', then type `rpo run --run demo`")
    assert flag.fix.startswith(f"aws s3 rm '{flag_file(s3_root, 'a-b')}'")
    assert "are damaged" in calls.what and calls.fix.startswith(f"aws s3 rm '{shared.path}'")


def test_a_copy_that_is_damaged_or_of_older_columns_is_written_anew(s3_root: ObjectPath) -> None:
    parts = [write_metrics(s3_root, f"part {n}") for n in range(3)]
    save_run(s3_root, "demo", *parts)
    compact_runs(s3_root, above=2)
    store = PartStore(s3_root)
    compacted = find_compacted(store, "metrics", parts)
    assert compacted is not None
    whole = compacted.read_bytes()
    compacted.write_bytes(whole[:-40])
    assert find_compacted(store, "metrics", parts) is None
    assert compact_runs(s3_root, above=2)[0].seconds > 0
    assert compacted.read_bytes() == whole

    # a part of before there were today's columns, and a copy of it that is no better
    [old] = (OLD_STORE / "turns").glob("[0-9a-f]*.parquet")
    turns = PartRef(dataset="turns", key=old.stem, rows=4)
    for place in (store.locate(turns), migrated_store(store).locate(turns)):
        place.write_bytes(old.read_bytes())
    copy = current_path(store, turns)
    assert copy.read_bytes() != old.read_bytes()
    assert migrated_store(store).is_current(turns)
    # a part itself is never changed
    assert store.write("metrics", parts[0].key, [metric(1)]) == parts[0]
    assert len(store.read(parts[0], Metric)) == 20
