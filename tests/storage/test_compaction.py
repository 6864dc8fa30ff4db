"""Many parts as one file: the same answers, from fewer files; the parts stay what the run is made of."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest

from models.errors import StorageError
from models.records import Metric, PartRef
from storage.catalog import build_catalog, query
from storage.compaction import compact_runs, find_compacted
from storage.manifests import load
from storage.parts import PartStore
from tests.storage.stores import OLD_STORE, save_run, write_metrics

ROWS = "select run, n from metrics"


@pytest.fixture
def parts(tmp_path: Path) -> list[PartRef]:
    """A finished run of five parts."""
    parts = [write_metrics(tmp_path, f"part {n}", rows=30) for n in range(5)]
    save_run(tmp_path, "demo", *parts)
    build_catalog(tmp_path)
    return parts


def files_read(root: Path) -> list[str]:
    """The files that the view reads, without the zero-row one."""
    with duckdb.connect(str(root / "catalog.duckdb"), read_only=True) as db:
        [(sql,)] = db.execute(
            "select sql from duckdb_views() where schema_name = 'demo' and view_name = 'metrics'"
        ).fetchall()
    return [Path(text).name for text in sql.split("'") if text.endswith(".parquet") and "_schema" not in text]


def test_the_view_reads_one_file_and_answers_the_same_in_the_same_order(tmp_path: Path, parts: list[PartRef]) -> None:
    store = PartStore(tmp_path)
    before, bytes_before = query(tmp_path, ROWS), [store.path(part).read_bytes() for part in parts]
    manifest = load(tmp_path, "demo")
    assert len(files_read(tmp_path)) == 5
    [done] = compact_runs(tmp_path, above=4)
    assert (done.run, done.dataset, done.parts, done.rows) == ("demo", "metrics", 5, 150)
    build_catalog(tmp_path)
    assert len(files_read(tmp_path)) == 1
    assert query(tmp_path, ROWS) == before
    # what resume, lineage and audit use is as it was
    assert [store.path(part).read_bytes() for part in parts] == bytes_before
    assert load(tmp_path, "demo") == manifest
    # again: it is there
    assert [item.seconds for item in compact_runs(tmp_path, above=4)] == [0]


def test_few_parts_and_unfinished_runs_stay_as_they_are(tmp_path: Path, parts: list[PartRef]) -> None:
    assert compact_runs(tmp_path) == compact_runs(tmp_path, above=5) == []
    save_run(tmp_path, "going", *parts, status="running")
    with pytest.raises(StorageError, match="no finished run 'going'"):
        compact_runs(tmp_path, run="going", above=1)


def test_a_manifest_with_other_parts_reads_the_parts(tmp_path: Path, parts: list[PartRef]) -> None:
    compact_runs(tmp_path, above=4)
    more = write_metrics(tmp_path, "one more")
    for changed in ([*parts, more], parts[:4], [parts[1], parts[0], *parts[2:]]):
        save_run(tmp_path, "demo", *changed)
        build_catalog(tmp_path)
        assert len(files_read(tmp_path)) == len(changed)
        assert query(tmp_path, "select count(*) from metrics").rows == [(sum(part.rows for part in changed),)]


def test_a_damaged_compacted_file_is_not_read(tmp_path: Path, parts: list[PartRef]) -> None:
    compact_runs(tmp_path, above=4)
    path = find_compacted(PartStore(tmp_path), "metrics", parts)
    assert path is not None
    path.write_bytes(path.read_bytes()[:-40])
    build_catalog(tmp_path)
    assert len(files_read(tmp_path)) == 5
    assert query(tmp_path, "select count(*) from metrics").rows == [(150,)]
    compact_runs(tmp_path, above=4)
    build_catalog(tmp_path)
    assert len(files_read(tmp_path)) == 1


def test_a_missing_or_exchanged_part_is_not_compacted(tmp_path: Path, parts: list[PartRef]) -> None:
    store = PartStore(tmp_path)
    store.write("metrics", parts[2].key, store.read(parts[2], Metric)[:-1])
    with pytest.raises(StorageError, match="has 29 rows"):
        compact_runs(tmp_path, above=4)
    store.path(parts[2]).unlink()
    with pytest.raises(StorageError, match="is missing"):
        compact_runs(tmp_path, above=4)
    assert find_compacted(store, "metrics", parts) is None


def test_parts_of_an_older_version_are_compacted_in_todays_columns(tmp_path: Path) -> None:
    root = Path(shutil.copytree(OLD_STORE, tmp_path / "old"))
    assert {item.dataset for item in compact_runs(root, above=0)} == {"turns", "responses", "judgments", "llm_calls"}
    build_catalog(root)
    assert query(root, "select distinct mode, round from llm_calls").rows == [("", 1)]
    assert not (root / "migrated").exists()  # no copy is needed where the compacted file is read
