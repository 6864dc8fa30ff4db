"""Manifests: which parts belong to a run."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from models.base import digest
from models.errors import SettingsError, StorageError
from models.records import PartRef
from storage.manifests import Manifest, RunBook, list_runs, load, manifest_path, newest_run, save

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def manifest(run: str = "demo", minutes: int = 0, parts: list[PartRef] | None = None) -> Manifest:
    return Manifest(
        run=run,
        settings_hash="h",
        settings={"name": "ä"},
        started_at=NOON + timedelta(minutes=minutes),
        parts=parts or [],
    )


def part(number: int, dataset: str = "pairs") -> PartRef:
    return PartRef(dataset=dataset, key=digest(number), rows=number)


def test_saved_and_loaded(tmp_path: Path) -> None:
    saved = manifest(parts=[part(1), part(2, "turns"), part(3)])
    save(tmp_path, saved)
    assert load(tmp_path, "demo") == saved
    assert saved.parts_of("pairs") == [part(1), part(3)]
    assert saved.parts_of("users") == []


def test_the_newest_run_is_last(tmp_path: Path) -> None:
    assert list_runs(tmp_path) == []
    for run, minutes in (("a", 5), ("b", 1), ("c", 3)):
        save(tmp_path, manifest(run, minutes))
    (tmp_path / "runs" / "a.lock").touch()
    assert [found.run for found in list_runs(tmp_path)] == ["b", "c", "a"]


def test_a_command_without_a_name_is_about_the_newest_run_of_the_factory(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="There is no run"):
        newest_run(tmp_path)
    for found in (
        manifest("demo"),
        manifest("demo_eval", 1).model_copy(update={"evaluates": "demo"}),
        manifest("ifeval", 2).model_copy(update={"benchmark": "ifeval"}),
        manifest("demo_estimate", 3).model_copy(update={"estimates": "demo"}),
    ):
        save(tmp_path, found)
        assert newest_run(tmp_path) == "demo"
    save(tmp_path, manifest("second", 4))
    assert newest_run(tmp_path) == "second"


@pytest.mark.parametrize(
    "name", ["main", "information_schema", "temp", "memory", "catalog", "A", "a b", "../a", "", "1a", "a" * 49]
)
def test_names_that_cannot_be_a_schema_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        manifest(name)


@pytest.mark.parametrize("run", ["nope", "../runs/demo", "/etc/passwd"])
def test_an_unknown_run_lists_the_known(tmp_path: Path, run: str) -> None:
    save(tmp_path, manifest())
    with pytest.raises(StorageError, match=r"There is no run .*known runs: demo"):
        load(tmp_path, run)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b'{"run": "demo"}'])
def test_a_damaged_manifest_is_named(tmp_path: Path, text: bytes) -> None:
    save(tmp_path, manifest())
    path = manifest_path(tmp_path, "demo")
    path.write_bytes(text)
    for use in (lambda: load(tmp_path, "demo"), lambda: list_runs(tmp_path)):
        with pytest.raises(StorageError, match="is damaged") as caught:
            use()
        assert str(path) in caught.value.what


def test_a_renamed_manifest_is_not_another_run(tmp_path: Path) -> None:
    save(tmp_path, manifest())
    manifest_path(tmp_path, "demo").rename(manifest_path(tmp_path, "other"))
    with pytest.raises(StorageError, match="it says that it is run demo"):
        load(tmp_path, "other")


def test_a_book_saves_every_part_once(tmp_path: Path) -> None:
    book = RunBook(tmp_path, manifest(parts=[part(0)]))
    book.add([part(0), part(1), part(1)])
    book.add([part(1)])
    assert load(tmp_path, "demo").parts == [part(0), part(1)] == book.manifest.parts
    finished = book.finish("complete", {"pairs": 1})
    assert load(tmp_path, "demo") == finished
    assert finished.status == "complete"
    assert finished.summary == {"pairs": 1}
    assert finished.finished_at is not None


def test_threads_share_a_book(tmp_path: Path) -> None:
    book = RunBook(tmp_path, manifest())

    def work(first: int) -> None:
        for number in range(first, 60, 4):
            book.add([part(number), part(number + 1)])

    threads = [threading.Thread(target=work, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        # a reader sees a whole manifest at any moment
        load(tmp_path, "demo")
    saved = load(tmp_path, "demo").parts
    assert len(saved) == len(set(saved)) == 61
