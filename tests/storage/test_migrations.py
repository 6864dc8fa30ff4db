"""Parts of older versions are read in today's columns, by Python and by SQL; those of newer ones are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.arrow import arrow_schema
from models.base import Strict
from models.errors import StorageError
from models.records import DATASETS, Judgment, LlmCall, PartRef, Turn
from storage import migrations
from storage.catalog import build_catalog, query
from storage.manifests import load
from storage.migrated import current_path
from storage.parts import PartStore
from tests.storage.stores import OLD_STORE, files_under


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder as an older factory left it."""
    return Path(shutil.copytree(OLD_STORE, tmp_path / "old"))


def part(root: Path, dataset: str) -> PartRef:
    return load(root, "old").parts_of(dataset)[0]


def test_python_reads_an_old_part_with_todays_defaults(old: Path) -> None:
    store = PartStore(old)
    assert "mode" not in pq.read_schema(store.path(part(old, "llm_calls"))).names
    assert {(call.mode, call.round) for call in store.read(part(old, "llm_calls"), LlmCall)} == {("", 1)}
    assert {judgment.split for judgment in store.read(part(old, "judgments"), Judgment)} == {None}
    turn = store.read(part(old, "turns"), Turn)[0]
    assert (turn.reference_origin, turn.repeats_opening) == ("sampled", None)
    assert turn.reference == "A reference. Über 你好."
    for ref in load(old, "old").parts:
        assert store.read_table(ref).schema.equals(arrow_schema(DATASETS[ref.dataset]))


def test_sql_reads_an_old_part_with_todays_defaults_and_the_part_stays_as_it_is(old: Path) -> None:
    before = {path: path.read_bytes() for path in files_under(old)}
    assert build_catalog(old) == []
    asked = query(old, "select distinct mode, round, cost from llm_calls")
    assert asked.rows == [("", 1, None)]
    assert query(old, "select distinct reference_origin, repeats_opening from turns").rows == [("sampled", None)]
    joined = "select count(*) from judgments join responses using (response_id) where split is null"
    assert query(old, joined).rows == [(16,)]
    assert {path: path.read_bytes() for path in before} == before
    store = PartStore(old)
    assert current_path(store, part(old, "responses")) == store.path(part(old, "responses"))  # has not changed since


class CallOfTomorrow(Strict):
    """An LLM call of a later version."""

    call: str
    role: str
    milliseconds: int
    note: str | None = None


def next_version(table: pa.Table) -> pa.Table:
    """Renames a column, changes the type of another, and drops the rest."""
    seconds = table["seconds"].to_pylist()
    return pa.table({"call": table["request_hash"], "role": table["role"],
                     "milliseconds": [round(1000 * value) for value in seconds]})  # fmt: skip


def test_a_registered_migration_renames_and_retypes(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = part(old, "llm_calls")
    build_catalog(old)  # leaves a copy in the columns of before
    copy = current_path(PartStore(old), ref)
    hashes = [call.request_hash for call in PartStore(old).read(ref, LlmCall)]
    monkeypatch.setitem(DATASETS, "llm_calls", CallOfTomorrow)
    monkeypatch.setitem(migrations.MIGRATIONS, "llm_calls", (next_version,))
    store = PartStore(old)
    calls = store.read(ref, CallOfTomorrow)
    assert [call.call for call in calls] == hashes
    assert {(call.milliseconds, call.note) for call in calls} == {(500, None)}
    assert query(old, "select 1").rows == [(1,)]
    build_catalog(old)
    assert query(old, "select sum(milliseconds), max(note) from llm_calls").rows == [(4000, None)]
    assert current_path(store, ref) == copy  # written anew
    # a part that is written now has the new version, and is read as it is
    new = store.write("llm_calls", "0" * 32, calls[:2])
    assert store.is_current(new) and store.read(new, CallOfTomorrow) == calls[:2]
    # and the program of today says what is to be done
    monkeypatch.undo()
    for use in (lambda: store.read(new, LlmCall), lambda: store.find("llm_calls", new.key), lambda: store.inputs(new)):
        with pytest.raises(StorageError, match="written by a newer version of the factory: version 2") as caught:
            use()
        assert "Update the factory" in caught.value.next_step and "not touched" in caught.value.safe


def test_a_part_without_a_column_that_has_no_default_says_so(old: Path) -> None:
    store, ref = PartStore(old), part(old, "llm_calls")
    path = store.path(ref)
    pq.write_table(pq.read_table(path).drop_columns(["model"]), path)
    with pytest.raises(StorageError, match="does not hold LlmCall rows of this version"):
        store.read_table(ref)
    assert len(build_catalog(old)) == 1
