"""Parts: whole or absent, readable by name, with their lineage."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.arrow import arrow_schema, to_table
from models.base import digest
from models.errors import StorageError
from models.records import DATASETS, LlmCall, Metric, Pair, PartRef
from storage import files
from storage.parts import PartStore


def metric(n: int, run: str = "r") -> Metric:
    return Metric(run=run, model="m", benchmark="b", metric="csr", value=n / 7, low=None, high=1.0, n=n)


@pytest.fixture
def store(tmp_path: Path) -> PartStore:
    return PartStore(tmp_path / "it's [a] folder")


def temporaries(root: Path) -> list[Path]:
    return [path for path in root.rglob(".*") if path.is_file()]


def test_rows_come_back_as_they_were(store: PartStore) -> None:
    rows = [metric(n) for n in range(5)]
    ref = store.write("metrics", digest("k"), iter(rows))
    assert ref == PartRef(dataset="metrics", key=digest("k"), rows=5)
    assert store.read(ref, Metric) == rows
    assert store.read_table(ref).schema.equals(arrow_schema(Metric))
    assert store.exists(ref) and store.exists("metrics", ref.key)
    assert store.path(ref) == store.root / "metrics" / f"{ref.key}.parquet"
    assert store.find("metrics", ref.key) == ref
    assert temporaries(store.root) == []


def test_a_part_without_rows_is_a_part(store: PartStore) -> None:
    ref = store.write("pairs", digest("k"), [])
    assert store.read(ref, Pair) == []
    assert store.find("pairs", ref.key) == ref


def test_equal_rows_are_equal_bytes_however_they_come(store: PartStore) -> None:
    rows = [metric(n, run=str(n % 3)) for n in range(70_000)]
    table = to_table(Metric, rows)
    ref = store.write("metrics", digest("k"), rows)
    first = store.path(ref).read_bytes()
    assert store.write_table("metrics", ref.key, iter(table.to_batches(max_chunksize=999))) == ref
    assert store.path(ref).read_bytes() == first
    assert pq.read_metadata(store.path(ref)).num_row_groups == 2


def test_lineage(store: PartStore) -> None:
    systems = store.write("systems", digest("s"), [])
    turns = store.write("turns", digest("t"), [], inputs=[systems])
    responses = store.write("responses", digest("r"), [], inputs=[turns])
    judgments = store.write("judgments", digest("j"), [], inputs=[responses, systems])
    assert store.inputs(judgments) == [responses, systems]
    assert store.inputs(systems) == []
    assert store.upstream(judgments, "turns") == turns
    assert store.upstream(judgments, "systems") == systems
    assert store.upstream(judgments, "judgments") == judgments
    with pytest.raises(StorageError, match="does not descend from any part of users"):
        store.upstream(judgments, "users")
    other = store.write("turns", digest("t2"), [])
    both = store.write("responses", digest("r2"), [], inputs=[turns, other])
    with pytest.raises(StorageError, match="2 parts of turns"):
        store.upstream(both, "turns")


@pytest.mark.parametrize("dataset", ["", "nope", "../runs", "metrics/..", "/etc"])
def test_a_dataset_is_never_a_path(store: PartStore, dataset: str) -> None:
    with pytest.raises(StorageError, match="is not a dataset"):
        store.write(dataset, digest("k"), [])
    with pytest.raises(StorageError, match="is not a dataset"):
        store.exists(dataset, digest("k"))


@pytest.mark.parametrize("key", ["", "a", "../" * 10 + "aa", digest("k") + "\n", digest("k").upper() + "0"])
def test_a_key_is_never_a_path(store: PartStore, key: str) -> None:
    with pytest.raises(StorageError, match="is not a part key"):
        store.find("metrics", key)


def test_records_and_columns_of_another_dataset_are_refused(store: PartStore) -> None:
    with pytest.raises(StorageError, match="Metric is not a Pair"):
        store.write("pairs", digest("k"), [metric(1)])
    with pytest.raises(StorageError, match="must have the columns"):
        store.write_table("pairs", digest("k"), to_table(Metric, [metric(1)]))
    table = to_table(Metric, [metric(1)])
    position = table.schema.get_field_index("n")
    with pytest.raises(StorageError, match="must have the columns"):
        store.write_table("metrics", digest("k"), table.set_column(position, "n", pa.array(["1"])))
    with pytest.raises(StorageError, match="column n must not be null"):
        store.write_table("metrics", digest("k"), table.set_column(position, "n", pa.array([None], pa.int64())))
    assert not store.exists("metrics", digest("k"))
    assert temporaries(store.root) == []


def test_a_lone_surrogate_is_named(store: PartStore) -> None:
    with pytest.raises(StorageError, match="lone surrogate"):
        store.write("metrics", digest("k"), [metric(1, run="\ud800")])


@pytest.mark.parametrize("keep", [0, 3, 100, -1])
def test_a_truncated_part_says_what_to_do(store: PartStore, keep: int) -> None:
    ref = store.write("metrics", digest("k"), [metric(n) for n in range(100)])
    path = store.path(ref)
    path.write_bytes(path.read_bytes()[:keep])
    for use in (
        lambda: store.read(ref, Metric),
        lambda: store.read_table(ref),
        lambda: store.find("metrics", ref.key),
        lambda: store.inputs(ref),
    ):
        with pytest.raises(StorageError) as caught:
            use()
        assert str(path) in caught.value.what
        assert "safe to delete" in caught.value.safe
        assert "makes this part anew" in caught.value.next_step


def test_overwritten_bytes_in_the_middle(store: PartStore) -> None:
    ref = store.write("metrics", digest("k"), [metric(n) for n in range(1000)])
    path = store.path(ref)
    data = path.read_bytes()
    path.write_bytes(data[:10] + b"\xff" * 200 + data[210:])
    with pytest.raises(StorageError, match="is damaged"):
        store.read(ref, Metric)


def test_missing_and_foreign_parts(store: PartStore) -> None:
    ref = PartRef(dataset="metrics", key=digest("k"), rows=1)
    assert store.find("metrics", ref.key) is None
    with pytest.raises(StorageError, match="is missing"):
        store.read(ref, Metric)
    with pytest.raises(StorageError, match="is missing"):
        store.inputs(ref)
    ref = store.write("metrics", ref.key, [metric(1)])
    with pytest.raises(StorageError, match="does not hold LlmCall rows"):
        store.read(ref, LlmCall)


def test_schema_files(store: PartStore) -> None:
    store.ensure_schemas()
    for dataset, model in DATASETS.items():
        table = pq.ParquetFile(store.schema_path(dataset)).read()
        assert table.num_rows == 0
        assert table.schema.equals(arrow_schema(model))
    before = store.schema_path("pairs").stat().st_mtime_ns
    store.schema_path("turns").write_bytes(b"old")
    store.ensure_schemas()
    assert store.schema_path("pairs").stat().st_mtime_ns == before
    assert pq.read_schema(store.schema_path("turns")).names == arrow_schema(DATASETS["turns"]).names


def test_sweep_removes_what_the_dead_left_and_nothing_else(store: PartStore) -> None:
    ref = store.write("metrics", digest("k"), [metric(1)])
    folder = store.path(ref).parent

    def leave(host: str, pid: int, age: float = 0) -> Path:
        path = folder / f".{ref.key}.parquet.{host}.{pid}.1.tmp"
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age, time.time() - age))
        return path

    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    dead, old = leave(files._HOST, child), leave("0" * 8, 7, age=4000)
    alive, elsewhere, foreign = leave(files._HOST, os.getpid()), leave("0" * 8, child), folder / ".notes.tmp"
    foreign.write_bytes(b"")
    assert store.sweep() == sorted([dead, old])
    assert alive.exists() and elsewhere.exists() and foreign.exists() and store.exists(ref)
    assert PartStore(store.root / "nowhere").sweep() == []


def test_a_failed_write_leaves_nothing(store: PartStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files, "sync", refuse)
    with pytest.raises(StorageError, match="Input/output error") as caught:
        store.write("metrics", digest("k"), [metric(1)])
    assert "run the same command again" in caught.value.next_step
    assert list((store.root / "metrics").iterdir()) == []


def test_file_and_folder_are_synced_in_that_order(store: PartStore, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real_sync, real_replace = files.sync, Path.replace

    def sync(path: Path) -> None:
        seen.append("file" if path.is_file() else "folder")
        real_sync(path)

    def replace(path: Path, target: Path) -> Path:
        seen.append("rename")
        return real_replace(path, target)

    monkeypatch.setattr(files, "sync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    store.write("metrics", digest("k"), [metric(1)])
    assert seen == ["file", "rename", "folder"]


def test_threads_that_write_one_key(store: PartStore) -> None:
    rows = [metric(n) for n in range(2000)]
    refs: list[PartRef] = []
    threads = [
        threading.Thread(target=lambda: refs.append(store.write("metrics", digest("k"), rows))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refs) == 8
    assert store.read(refs[0], Metric) == rows
    assert temporaries(store.root) == []
