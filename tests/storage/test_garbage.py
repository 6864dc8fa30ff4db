"""What no run uses is found, and freed only when asked; nothing else is ever touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.base import digest
from models.errors import StorageError
from models.records import PartRef
from storage import garbage
from storage.compaction import compact_runs
from storage.garbage import free_garbage, look_for_garbage
from storage.manifests import manifest_path
from storage.parts import PartStore
from storage.usage import alone, is_in_use, using
from tests.storage.stores import files_under, llm_call, make_older, save_run, write_metrics

ROOT = Path(__file__).parents[2]


@pytest.fixture
def used(tmp_path: Path) -> PartRef:
    """A folder with a finished run of one part."""
    part = write_metrics(tmp_path, "used")
    save_run(tmp_path, "demo", part)
    PartStore(tmp_path).ensure_schemas()
    make_older(tmp_path)
    return part


def leave(root: Path, name: str = "unused") -> PartRef:
    """A part with its accounts and Prefect's memory of it, which no run uses."""
    part = write_metrics(root, name)
    PartStore(root).write("llm_calls", part.key, [llm_call(name)])
    (root / "prefect").mkdir(exist_ok=True)
    (root / "prefect" / f"metrics-{part.key}").write_text("{}")
    make_older(root)
    return part


def test_nothing_to_do(tmp_path: Path, used: PartRef) -> None:
    before = files_under(tmp_path)
    report = look_for_garbage(tmp_path)
    assert (report.files, report.size, report.freed, report.left_alone) == (0, 0, [], [])
    assert free_garbage(tmp_path).files == 0
    assert files_under(tmp_path) == {*before, tmp_path / "runs" / "in-use.lock"}


def test_a_part_goes_with_its_accounts_and_results_and_only_when_asked(tmp_path: Path, used: PartRef) -> None:
    keep = files_under(tmp_path)
    part = leave(tmp_path)
    all_files = files_under(tmp_path)
    looked = look_for_garbage(tmp_path)
    assert files_under(tmp_path) == all_files
    assert [(total.what, total.files) for total in looked.freed] == [
        ("metrics", 1), ("llm_calls", 1), ("prefect results", 1)
    ]  # fmt: skip
    assert looked.size == sum(path.stat().st_size for path in all_files - keep)
    assert not looked.deleted
    freed = free_garbage(tmp_path)
    assert freed.deleted and freed.freed == looked.freed
    assert files_under(tmp_path) == {*keep, tmp_path / "runs" / "in-use.lock"}
    assert not PartStore(tmp_path).exists(part)


def test_what_a_used_part_was_made_from_and_its_accounts_are_used(tmp_path: Path) -> None:
    store = PartStore(tmp_path)
    grandparent = write_metrics(tmp_path, "grandparent")
    parent = write_metrics(tmp_path, "parent", inputs=(grandparent,))
    child = write_metrics(tmp_path, "child", inputs=(parent,))
    calls = store.write("llm_calls", child.key, [llm_call("c")])
    save_run(tmp_path, "demo", child)
    make_older(tmp_path)
    assert free_garbage(tmp_path).files == 0
    assert all(store.exists(ref) for ref in (grandparent, parent, child, calls))


def test_an_evaluation_a_sample_and_a_round_use_their_parts(tmp_path: Path) -> None:
    parts = {name: write_metrics(tmp_path, name) for name in ("demo", "demo_eval", "demo_estimate", "second")}
    save_run(tmp_path, "demo", parts["demo"])
    save_run(tmp_path, "demo_eval", parts["demo_eval"], evaluates="demo")
    save_run(tmp_path, "demo_estimate", parts["demo_estimate"], estimates="demo")
    save_run(tmp_path, "second", parts["second"], policy="demo_rpo", previous="demo")
    make_older(tmp_path)
    assert look_for_garbage(tmp_path).files == 0
    manifest_path(tmp_path, "demo_eval").unlink()
    assert [(total.what, total.files) for total in free_garbage(tmp_path).freed] == [("metrics", 1)]
    assert not PartStore(tmp_path).exists(parts.pop("demo_eval"))
    assert all(PartStore(tmp_path).exists(part) for part in parts.values())


def test_young_parts_are_kept(tmp_path: Path, used: PartRef) -> None:
    leave(tmp_path)
    young = write_metrics(tmp_path, "young")
    report = free_garbage(tmp_path)
    assert (report.files, report.young.files) == (3, 1)
    assert PartStore(tmp_path).exists(young)
    assert free_garbage(tmp_path, grace_hours=0).files == 1


def test_what_a_young_part_was_made_from_is_kept_with_it(tmp_path: Path, used: PartRef) -> None:
    store, parent = PartStore(tmp_path), leave(tmp_path, "parent")
    # a run would find the child by its key, which says nothing of what the parent's rows were
    child = store.write("responses", digest("child"), [], inputs=(parent,))
    report = free_garbage(tmp_path)
    assert (report.files, report.young.files) == (0, 3)
    assert store.exists(parent) and store.exists(child)
    make_older(tmp_path)
    assert free_garbage(tmp_path).files == 4


def test_wherever_it_is_killed_no_part_outlives_what_it_was_made_from(
    tmp_path: Path, used: PartRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lay(root: Path) -> PartStore:
        store = PartStore(root)
        made_from: tuple[PartRef, ...] = ()
        save_run(root, "demo", write_metrics(root, "used"))
        for dataset in ("roles", "systems", "turns", "responses", "judgments", "pairs", "audits"):
            store.write("llm_calls", digest(dataset), [llm_call(dataset)])
            made_from = (store.write(dataset, digest(dataset), [], inputs=made_from),)
        make_older(root)
        return store

    delete = garbage._delete
    for killed_after in range(14):
        store, left = lay(tmp_path / f"{killed_after}"), [killed_after]

        def die(item: garbage.Item, left: list[int] = left) -> None:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            delete(item)

        monkeypatch.setattr(garbage, "_delete", die)
        with pytest.raises(KeyboardInterrupt):
            free_garbage(store.root)
        for path in store.root.glob("[!l]*/[0-9a-f]*.parquet"):
            ref = PartRef(dataset=path.parent.name, key=path.stem, rows=0)
            assert all(store.exists(parent) for parent in store.inputs(ref)), (killed_after, ref)
            assert ref.dataset == "metrics" or store.exists("llm_calls", ref.key), (killed_after, ref)


@pytest.mark.parametrize("status", ["failed", "running"])
def test_what_an_unfinished_run_might_find_again_is_kept(tmp_path: Path, used: PartRef, status: str) -> None:
    part = leave(tmp_path)
    save_run(tmp_path, "later", status=status)  # type: ignore[arg-type]
    report = free_garbage(tmp_path)
    assert (report.files, report.unfinished.files, report.unfinished_runs) == (0, 2, ["later"])
    assert PartStore(tmp_path).exists(part)
    assert free_garbage(tmp_path, unfinished=True).files == 3
    assert PartStore(tmp_path).exists(used)


def test_no_run_begins_while_parts_are_freed_and_nothing_is_freed_while_one_runs(tmp_path: Path, used: PartRef) -> None:
    leave(tmp_path)
    run = subprocess.Popen(
        [sys.executable, "-c", "import sys; from pathlib import Path; from storage.usage import using\n"
         "with using(Path(sys.argv[1])): print('at work', flush=True); sys.stdin.read()", str(tmp_path)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert run.stdout is not None and run.stdout.readline() == "at work\n"
    assert is_in_use(tmp_path) and look_for_garbage(tmp_path).in_use
    before = files_under(tmp_path)
    with using(tmp_path), pytest.raises(StorageError, match="A run is under way") as caught:  # runs do not mind runs
        free_garbage(tmp_path)
    assert "Nothing was deleted" in caught.value.safe
    assert files_under(tmp_path) == before
    run.kill()  # the lock goes with the process
    run.wait()
    with alone(tmp_path):
        assert is_in_use(tmp_path)
    assert not is_in_use(tmp_path)
    assert free_garbage(tmp_path).files == 3


def test_an_unreadable_manifest_refuses(tmp_path: Path, used: PartRef) -> None:
    leave(tmp_path)
    before = files_under(tmp_path)
    path = manifest_path(tmp_path, "other")
    for content in ("{", "", '{"run": "other", "from_the_future": 1}'):
        path.write_text(content)
        for work in (look_for_garbage, free_garbage):
            with pytest.raises(StorageError, match="uses is not known") as caught:
                work(tmp_path)
            assert str(path) in caught.value.what and "Nothing was deleted" in caught.value.safe
    # as its own message advises; what it used is still not known
    path.rename(f"{path}.damaged")
    with pytest.raises(StorageError, match=r"other\.json\.damaged may be the manifest"):
        free_garbage(tmp_path)
    Path(f"{path}.damaged").unlink()
    assert files_under(tmp_path) - {tmp_path / "runs" / "in-use.lock"} == before


def test_a_damaged_used_part_refuses(tmp_path: Path, used: PartRef) -> None:
    leave(tmp_path)
    PartStore(tmp_path).path(used).write_bytes(b"PAR1")
    with pytest.raises(StorageError, match="is damaged"):
        free_garbage(tmp_path)


def test_no_manifest_at_all_and_no_folder_refuse(tmp_path: Path) -> None:
    write_metrics(tmp_path, "part")
    make_older(tmp_path)
    with pytest.raises(StorageError, match="no manifest of a run"):
        free_garbage(tmp_path)
    with pytest.raises(StorageError, match="no data folder"):
        free_garbage(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_manifest_whose_parts_are_gone_uses_nothing(tmp_path: Path, used: PartRef) -> None:
    PartStore(tmp_path).path(used).unlink()
    leave(tmp_path)
    assert free_garbage(tmp_path).files == 3


def test_what_is_not_ours_is_left_alone_and_said(tmp_path: Path, used: PartRef) -> None:
    strangers = [tmp_path / "notes.txt", tmp_path / "mine" / "metrics.parquet", tmp_path / "metrics" / "mine.parquet",
                 tmp_path / "metrics" / ".DS_Store", tmp_path / "metrics" / f"{digest('x')}.parquet.bak",
                 tmp_path / "prefect" / "something", tmp_path / "prefect" / f"nothing-{digest('x')}",
                 tmp_path / "runs" / "README"]  # fmt: skip
    for path in strangers:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    make_older(tmp_path)
    report = free_garbage(tmp_path)
    assert report.files == 0
    assert all(path.read_text() == "mine" for path in strangers)
    said = {line.removesuffix(": not ours") for line in report.left_alone}
    assert said == {
        str(path) for path in (tmp_path / "mine", *strangers) if path.parent.name not in ("mine", "prefect")
    }


def test_links_are_left_alone_and_said(tmp_path: Path) -> None:
    root, other = tmp_path / "data", tmp_path / "other"
    save_run(root, "demo", write_metrics(root, "used"))
    save_run(other, "demo", write_metrics(other, "used"))
    linked = write_metrics(other, "linked")
    PartStore(other).write("llm_calls", linked.key, [llm_call("c")])
    make_older(tmp_path)
    link = PartStore(root).path(linked)
    link.symlink_to(PartStore(other).path(linked))
    (root / "llm_calls").symlink_to(other / "llm_calls")
    report = free_garbage(root, grace_hours=0)
    assert report.files == 0
    assert [line.split(":")[0] for line in report.left_alone] == [str(root / "llm_calls"), str(link)]
    assert PartStore(root).exists(linked)
    # the folder itself may be reached by a link: it is the same folder
    (tmp_path / "link").symlink_to(other)
    assert free_garbage(tmp_path / "link").files == 2


def test_leftovers_of_killed_processes(tmp_path: Path, used: PartRef) -> None:
    dead = tmp_path / "metrics" / f".{used.key}.parquet.{'0' * 8}.7.1.tmp"
    spill, export = tmp_path / "tmp" / "pairs-x1", tmp_path / "exports" / ".demo.77.tmp"
    for folder in (spill, export):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"12345")
    dead.write_bytes(b"half")
    (tmp_path / "exports" / "demo").mkdir()
    make_older(tmp_path)
    assert {total.what: total.files for total in look_for_garbage(tmp_path).freed} == {"scratch": 2, "temporaries": 1}
    os.utime(spill / "file")  # somebody works in it
    assert free_garbage(tmp_path).files == 2
    assert spill.exists() and not export.exists() and not dead.exists() and (tmp_path / "exports" / "demo").exists()


def test_a_result_of_a_part_that_is_gone(tmp_path: Path, used: PartRef) -> None:
    results = tmp_path / "prefect"
    results.mkdir()
    kept = results / f"metrics-{used.key}"
    for path in (kept, results / f"turns-{digest('gone')}", results / digest("of a failed task run")):
        path.write_text("{}")
    make_older(tmp_path)
    assert free_garbage(tmp_path).files == 2
    assert list(results.iterdir()) == [kept]


def test_compacted_files_go_when_no_manifest_has_their_parts(tmp_path: Path) -> None:
    parts = [write_metrics(tmp_path, f"part {n}") for n in range(4)]
    save_run(tmp_path, "demo", *parts)
    compact_runs(tmp_path, above=1)
    make_older(tmp_path)
    assert look_for_garbage(tmp_path).files == 0
    save_run(tmp_path, "demo", *parts[:3])
    assert {total.what: total.files for total in free_garbage(tmp_path).freed} == {"metrics": 1, "compacted": 1}


def test_a_read_only_folder(tmp_path: Path, used: PartRef) -> None:
    if os.geteuid() != 0:
        pytest.skip("root alone mounts a folder read-only; others are refused by its mode")
    leave(tmp_path)
    if subprocess.run(["mount", "--bind", str(tmp_path), str(tmp_path)], capture_output=True).returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(tmp_path)], check=True)
        assert look_for_garbage(tmp_path).files == 3
        with pytest.raises(StorageError, match="Read-only file system") as caught:
            free_garbage(tmp_path)
        assert "may be written" in caught.value.next_step
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert free_garbage(tmp_path).files == 3
