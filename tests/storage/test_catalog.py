"""The catalog: views over the parts of runs, and a way to ask that cannot change or leak anything."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from models.base import digest
from models.errors import StorageError
from models.records import DATASETS, TABLES, Metric, PartRef
from models.settings import RESERVED_RUNS
from storage.catalog import CATALOG_LOCK, build_catalog, query
from storage.locks import in_turn
from storage.manifests import Manifest, RunBook, manifest_path
from storage.parts import PartStore


class Data:
    """A data folder with runs of metrics."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, PartStore(root)

    def part(self, run: str, *numbers: int) -> PartRef:
        rows = [
            Metric(run=run, model="m", benchmark="b", metric="csr", value=n, low=None, high=None, n=n) for n in numbers
        ]
        return self.store.write("metrics", digest([run, numbers]), rows)

    def book(self, run: str, hours: int = 0) -> RunBook:
        started_at = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=hours)
        return RunBook(self.root, Manifest(run=run, settings_hash="h", settings={}, started_at=started_at))

    def ask(self, sql: str) -> list[tuple[object, ...]]:
        return list(query(self.root, sql).rows)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    return Data(tmp_path / 'it\'s; "data" [x] *')


def test_no_runs_and_no_parts(data: Data) -> None:
    assert build_catalog(data.root) == []
    for dataset, model in TABLES.items():
        result = query(data.root, f"FROM {dataset}")
        assert (result.columns, result.rows) == (list(model.model_fields), [])
    data.book("empty")
    assert build_catalog(data.root) == []
    assert data.ask("SELECT count(*) FROM empty.pairs") == [(0,)]


def test_a_schema_a_run_and_the_newest_in_main(data: Data) -> None:
    new, old = data.book("new", hours=2), data.book("old", hours=1)
    new.add([data.part("new", 1, 2), data.part("new", 3)])
    old.add([data.part("old", 4)])
    data.part("nobody", 5)
    build_catalog(data.root)
    assert data.ask("SELECT n FROM new.metrics ORDER BY n") == [(1,), (2,), (3,)]
    assert data.ask("SELECT n FROM old.metrics") == [(4,)]
    assert data.ask("SELECT DISTINCT run FROM metrics") == [("new",)]


def test_every_view_and_column_has_its_comment(data: Data) -> None:
    data.book("run")
    build_catalog(data.root)
    for schema, tables in (("main", TABLES), ("run", DATASETS)):
        views = data.ask(
            f"SELECT view_name, comment FROM duckdb_views() WHERE schema_name = '{schema}' AND NOT internal"
        )
        assert {name for name, _ in views} == set(tables)
        assert all(comment for _, comment in views)
        columns = data.ask(
            "SELECT table_name, column_name, comment FROM duckdb_columns() "
            f"WHERE schema_name = '{schema}' AND NOT internal"
        )
        expected = {
            (dataset, name, field.description)
            for dataset, model in tables.items()
            for name, field in model.model_fields.items()
        }
        assert set(columns) == expected


def test_missing_and_damaged_parts_are_warned_of(data: Data) -> None:
    good, gone, bad = data.part("run", 1), data.part("run", 2), data.part("run", 3)
    data.book("run").add([good, gone, bad])
    data.store.path(gone).unlink()
    data.store.path(bad).write_bytes(data.store.path(bad).read_bytes()[:50])
    warnings = build_catalog(data.root)
    assert len(warnings) == 2
    assert gone.key in warnings[0] and "missing" in warnings[0]
    assert bad.key in warnings[1] and "safe to delete" in warnings[1]
    assert data.ask("SELECT n FROM metrics") == [(1,)]


def test_a_part_deleted_since_is_noticed(data: Data) -> None:
    parts = [data.part("run", 1), data.part("run", 2)]
    data.book("run").add(parts)
    assert len(data.ask("FROM metrics")) == 2
    data.store.path(parts[0]).unlink()
    assert len(data.ask("FROM metrics")) == 1


def test_a_damaged_manifest_is_named(data: Data) -> None:
    data.book("run")
    manifest_path(data.root, "run").write_text("{")
    with pytest.raises(StorageError, match=r"run\.json"):
        build_catalog(data.root)


def test_a_damaged_catalog_can_be_deleted(data: Data) -> None:
    data.book("run").add([data.part("run", 1)])
    (data.root / "catalog.duckdb").write_bytes(b"no database")
    build_catalog(data.root)
    (data.root / "catalog.duckdb").unlink()
    assert data.ask("SELECT n FROM metrics") == [(1,)]


def test_readers_and_builders_never_block_each_other(data: Data) -> None:
    book = data.book("run")
    book.add([data.part("run", 0)])
    build_catalog(data.root)
    held = duckdb.connect(str(data.root / "catalog.duckdb"), read_only=True)
    failures: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                assert query(data.root, "SELECT count(*) FROM run.metrics").rows[0][0] >= 1
        except BaseException as error:
            failures.append(error)

    def build() -> None:
        try:
            for _ in range(4):
                build_catalog(data.root)
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    builders = [threading.Thread(target=build) for _ in range(2)]
    for thread in [*readers, *builders]:
        thread.start()
    for number in range(1, 5):
        book.add([data.part("run", number)])
    for builder in builders:
        builder.join()
    assert held.execute("SELECT n FROM run.metrics").fetchall() == [(0,)]
    held.close()
    build_catalog(data.root)
    stop.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert data.ask("SELECT count(*) FROM metrics") == [(5,)]
    assert [path.name for path in data.root.iterdir() if path.name.startswith(".")] == []


def test_two_builders_take_turns(data: Data) -> None:
    """Else the slower one puts a catalog in place that does not know what the other one's run has made since."""
    book = data.book("run")
    build_catalog(data.root)
    with in_turn(data.root / CATALOG_LOCK, "The catalog"):
        other = threading.Thread(target=build_catalog, args=[data.root])
        other.start()
        other.join(1)
        book.add([data.part("run", 1)])
    other.join()
    assert data.ask("SELECT n FROM run.metrics") == [(1,)]


def test_thousands_of_parts(data: Data) -> None:
    ref = data.part("run", 1)
    refs = [ref.model_copy(update={"key": digest(["copy", number])}) for number in range(1500)]
    for copy in refs:
        data.store.path(copy).hardlink_to(data.store.path(ref))
    data.book("run").add(refs)
    assert build_catalog(data.root) == []
    assert data.ask("SELECT sum(n) FROM metrics") == [(1500,)]


def test_a_limit(data: Data) -> None:
    assert query(data.root, "FROM range(10)", limit=3) == (["range"], [(0,), (1,), (2,)], True)
    assert not query(data.root, "FROM range(3)", limit=3).truncated


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "FROM metrics",
        "WITH x AS (SELECT 1) FROM x",
        "DESCRIBE metrics",
        "SHOW TABLES",
        "SHOW ALL TABLES",
        "SUMMARIZE metrics",
        "EXPLAIN SELECT * FROM metrics",
        "explain analyze FROM metrics",
        "-- what\nSELECT 1;",
        "VALUES (1)",
    ],
)
def test_reading_is_allowed(data: Data, sql: str) -> None:
    assert query(data.root, sql).columns


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP VIEW metrics",
        "COPY (SELECT 1) TO '{outside}/x.csv'",
        "COPY (SELECT 1) TO '{data}/x.csv'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{data}/x.csv'",
        "/* */ EXPLAIN ANALYZE COPY (SELECT 1) TO '{data}/x.csv'",
        "EXPLAIN EXPLAIN ANALYZE COPY (SELECT 1) TO '{data}/x.csv'",
        "EXPLAIN (ANALYZE) COPY (SELECT 1) TO '{data}/x.csv'",
        "FROM query('COPY (SELECT 1) TO ''x.csv''')",
        "EXPORT DATABASE '{data}/x.csv'",
        "ATTACH '{outside}/x.csv'",
        "ATTACH '{data}/x.csv' AS other",
        "DETACH catalog",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CREATE TABLE t (x INT)",
        "CREATE TEMP TABLE t (x INT)",
        "INSERT INTO metrics VALUES (1)",
        "DELETE FROM metrics",
        "DROP VIEW metrics",
        "PRAGMA memory_limit = '1GB'",
        "PRAGMA enable_profiling",
        "SET enable_external_access = true",
        "RESET lock_configuration",
        "CALL pragma_version()",
        "VACUUM",
        "CHECKPOINT",
        "FROM read_csv('/etc/passwd')",
        "FROM read_text('/etc/passwd')",
        "FROM read_text('{data}/../secret')",
        "FROM read_blob('{outside}/secret')",
        "FROM glob('{outside}/*')",
        "FROM '/etc/passwd'",
        "FROM parquet_metadata('{outside}/secret')",
        "FROM sniff_csv('/etc/passwd')",
        "EXPLAIN ANALYZE SELECT * FROM read_text('/etc/passwd')",
        "SELECT nope FROM metrics",
        "SELEC 1",
    ],
)
def test_everything_else_is_refused(data: Data, sql: str) -> None:
    outside = data.root.parent
    build_catalog(data.root)
    (outside / "secret").write_text("secret")
    before = sorted(path.name for path in outside.rglob("*"))
    escaped = sql.format(outside=str(outside).replace("'", "''"), data=str(data.root).replace("'", "''"))
    with pytest.raises(StorageError):
        query(data.root, escaped)
    after = sorted(path.name for path in outside.rglob("*"))
    assert [name for name in after if name not in before] == []


def test_an_answer_is_json_and_loses_no_column(data: Data) -> None:
    sql = "SELECT 1 AS a, 2 AS a, 'nan'::DOUBLE AS b, ['inf'::DOUBLE, NULL] AS c, map {DATE '2026-01-02': 1} AS d"

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    [row] = json.loads(query(data.root, sql).to_json(), parse_constant=refuse)
    assert row == {"a": 1, "a_1": 2, "b": "nan", "c": ["inf", None], "d": {"2026-01-02": 1}}


def test_an_error_lists_what_there_is(data: Data) -> None:
    data.book("first")
    with pytest.raises(StorageError, match="nope does not exist") as caught:
        query(data.root, "FROM nope")
    assert "metrics" in caught.value.next_step
    assert "first" in caught.value.next_step


def test_no_run_has_the_name_of_a_word_that_sql_keeps_for_itself() -> None:
    refused = set()
    for (word,) in duckdb.connect().execute("select keyword_name from duckdb_keywords()").fetchall():
        try:
            duckdb.connect().execute(f"create schema {word}; create table {word}.t (n int); from {word}.t")
        except duckdb.Error:
            refused.add(word)
    assert "order" in refused
    assert refused <= RESERVED_RUNS


def test_a_folder_that_was_moved_is_read_where_it_is(data: Data, tmp_path: Path) -> None:
    data.book("run").add([data.part("run", 1)])
    build_catalog(data.root)
    data.root = data.root.rename(tmp_path / "after")
    assert data.ask("SELECT n FROM run.metrics") == [(1,)]
