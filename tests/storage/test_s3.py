"""DATA in an S3 store: parts, manifests, catalog, leases and calls, on a real server."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.errors import FactoryError, SettingsError, StorageError
from models.records import Metric, PartRef
from storage import leases, shared_calls
from storage.call_cache import Payment
from storage.catalog import build_catalog, query
from storage.compaction import compact_runs
from storage.leases import Lease, require_conditions
from storage.manifests import Manifest, RunBook, list_runs, load
from storage.objects import ConditionError, ObjectPath, filesystem
from storage.parts import PartStore
from storage.roots import data_root, machine_dir
from storage.shared_calls import CALLS_FOLDER, SharedCallCache, open_call_cache, read_spending
from tests.s3_store import BUCKET, Store, careless, environment
from tests.storage.test_call_cache import call


@pytest.fixture
def root(s3_root: ObjectPath) -> ObjectPath:
    return s3_root


def metrics(*values: float) -> list[Metric]:
    return [
        Metric(run="run", model="base", benchmark="heldout", metric=f"m{n}", value=value, low=None, high=None, n=1)
        for n, value in enumerate(values)
    ]


KEY, OTHER = "0" * 31 + "1", "0" * 31 + "2"


def test_a_part_is_the_same_bytes_as_in_a_folder(root: ObjectPath, tmp_path: Path) -> None:
    store, folder = PartStore(root), PartStore(tmp_path / "data")
    assert (store.find("metrics", KEY), store.exists("metrics", KEY)) == (None, False)
    source = PartRef(dataset="metrics", key=OTHER, rows=1)
    refs = [each.write("metrics", KEY, metrics(1, 2, 3), inputs=[source]) for each in (store, folder)]
    assert refs[0] == refs[1] == store.find("metrics", KEY)
    assert (root / f"metrics/{KEY}.parquet").read_bytes() == folder.path(refs[1]).read_bytes()
    assert store.read(refs[0], Metric) == metrics(1, 2, 3)
    assert store.inputs(refs[0]) == [source]
    assert store.size(refs[0]) == folder.size(refs[1])
    assert not list((tmp_path / "cache").rglob("*.tmp")), "nothing is left on the machine"


def test_a_footer_longer_than_the_first_request_is_read(root: ObjectPath) -> None:
    store = PartStore(root)
    inputs = [PartRef(dataset="metrics", key=f"{n:032x}", rows=n) for n in range(2000)]
    ref = store.write("metrics", KEY, metrics(1), inputs=inputs)
    assert store.inputs(ref) == inputs


def test_the_part_of_the_first_machine_stays(root: ObjectPath) -> None:
    store = PartStore(root)
    first = store.write("metrics", KEY, metrics(1, 2))
    assert store.write("metrics", KEY, metrics(3)) == first, "the rows of the part that is there"
    assert store.read(first, Metric) == metrics(1, 2)


def test_missing_and_damaged_parts_say_what_to_do(root: ObjectPath) -> None:
    store = PartStore(root)
    with pytest.raises(StorageError, match="is missing"):
        store.read_table(PartRef(dataset="metrics", key=KEY, rows=1))
    ref = store.write("metrics", KEY, metrics(1))
    place = root / f"metrics/{KEY}.parquet"
    place.write_bytes(place.read_bytes()[:100])
    for read in (store.read_table, store.inputs):
        with pytest.raises(StorageError, match=r"aws s3 rm 's3://"):
            read(ref)
    with pytest.raises(StorageError, match="aws s3 sync"):
        _ = store.root


def begin(root: ObjectPath, run: str, *parts: PartRef) -> RunBook:
    book = RunBook(root, Manifest(run=run, settings_hash="h", settings={}, started_at=datetime.now(UTC)))
    book.add(parts)
    return book


def test_another_machine_sees_runs_in_its_own_catalog(
    root: ObjectPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PartStore(root)
    begin(root, "first", store.write("metrics", KEY, metrics(1, 2)))
    assert query(root, "select count(*) from metrics").rows == [(2,)]

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    book = begin(root, "second", store.write("metrics", OTHER, metrics(3)))
    assert query(root, "select value from metrics").rows == [(3.0,)], "the newest run"
    assert query(root, "select sum(value) from first.metrics").rows == [(3.0,)]
    book.finish("complete")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert query(root, "select value from metrics").rows == [(3.0,)], "what was built before is old now"
    assert [run.run for run in list_runs(root)] == ["first", "second"]
    assert load(root, "second").status == "complete"
    with pytest.raises(StorageError, match="known runs: first, second"):
        load(root, "third")


def test_the_catalog_leaves_out_what_is_gone_and_reads_nothing_else(root: ObjectPath) -> None:
    store = PartStore(root)
    gone = store.write("metrics", OTHER, metrics(3))
    begin(root, "run", store.write("metrics", KEY, metrics(1, 2)), gone)
    (root / f"metrics/{OTHER}.parquet").unlink()
    [warning] = build_catalog(root)
    assert store.address(gone) in warning
    assert query(root, "select count(*) from run.metrics").rows == [(2,)]
    stranger = ObjectPath(BUCKET, "secret.csv")
    stranger.write_bytes(b"a\n1\n")
    for place in (str(stranger), f"{root}-not/secret.csv", "/etc/passwd"):
        with pytest.raises(StorageError, match="DuckDB refuses"):
            query(root, f"select * from read_csv('{place}')")


def test_many_parts_are_compacted_in_the_store(root: ObjectPath, tmp_path: Path) -> None:
    store, keys = PartStore(root), [f"{n:032x}" for n in range(5)]
    begin(root, "run", *(store.write("metrics", key, metrics(1, 2)) for key in keys)).finish("complete")
    [done] = compact_runs(root, above=4)
    assert (done.parts, done.rows, done.seconds > 0) == (5, 10, True)
    assert [again.seconds for again in compact_runs(root, above=4)] == [0]
    build_catalog(root)
    for key in keys:
        (root / f"metrics/{key}.parquet").unlink()
    assert query(root, "select count(*) from run.metrics").rows == [(10,)], "read from the one file"
    assert len(list((tmp_path / "cache/rpo-factory").iterdir())) == 1


def test_a_condition_that_does_not_hold_changes_nothing(root: ObjectPath) -> None:
    path = root / "one"
    tag = path.write_bytes(b"1", create=True)
    with pytest.raises(ConditionError):
        path.write_bytes(b"2", create=True)
    newer = path.write_bytes(b"3", replaces=tag)
    with pytest.raises(ConditionError):
        path.write_bytes(b"4", replaces=tag)
    assert path.read_tagged() == (b"3", newer)
    require_conditions(root)
    assert root.list_names() == ["one"]


def test_a_store_that_ignores_conditions_is_refused(server: Store, root: ObjectPath) -> None:
    with careless(server) as address, environment({**server.env, "AWS_ENDPOINT_URL": address}):
        for refused in (lambda: Lease(root / "runs/a.lock", "The run 'a'"), lambda: require_conditions(root)):
            with pytest.raises(StorageError, match="ignores If-None-Match"):
                refused()


@pytest.mark.usefixtures("short_leases")
def test_a_lease_is_waited_for_while_its_holder_lives(root: ObjectPath) -> None:
    first, taken = Lease(root / "runs/a.lock", "The run 'a'"), threading.Event()
    waiting: list[Lease] = []

    def wait() -> None:
        waiting.append(Lease(root / "runs/a.lock", "The run 'a'"))
        taken.set()

    threading.Thread(target=wait).start()
    assert not taken.wait(3), "renewed for twice as long as it holds by itself"
    first.require()
    first.release()
    assert taken.wait(5)
    waiting[0].require()
    waiting[0].release()


@pytest.mark.usefixtures("short_leases")
def test_the_lease_of_a_dead_holder_goes_to_one_of_many(root: ObjectPath) -> None:
    dead = Lease(root / "runs/a.lock", "The run 'a'")
    manifest = Manifest(run="a", settings_hash="h", settings={}, started_at=datetime.now(UTC))
    book = RunBook(root, manifest, require_lock=dead.require)
    dead._ended.set()  # renews no more, as after kill -9
    holders: list[Lease] = []
    threads = [
        threading.Thread(target=lambda: holders.append(Lease(root / "runs/a.lock", "The run 'a'")), daemon=True)
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while not holders and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    [holder] = holders
    holder.require()
    with pytest.raises(StorageError, match="may have been taken over"):
        book.finish("complete")
    assert load(root, "a") == manifest, "of two that hold it in turn, only the last one writes"
    for n in range(3):
        holders[n].release()
        while len(holders) < min(n + 2, 3):
            time.sleep(0.05)
    for thread in threads:
        thread.join()


def test_calls_and_what_they_cost_reach_other_machines_once(
    root: ObjectPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_calls, "_LOOK_S", 0.0)
    monkeypatch.setattr(shared_calls, "_LOOK_SHARE", float("inf"))
    folder = root / CALLS_FOLDER
    plain, late = call("a"), call("c")
    odd = call("b", "lone \ud800 surrogate, 中文", sample=2)
    with SharedCallCache(tmp_path / "one.sqlite", folder) as one, SharedCallCache(tmp_path / "two", folder) as two:
        one.put_many([plain, odd], [Payment(run="r", calls=2, cost=0.5)])
        assert two.get_many(["a"]) == {}
        one.share()
        assert two.get_many(["a", "b", "c"]) == {"a": plain, "b": odd}
        two.put_many([late], [Payment(run="r", calls=1, cost=0.25)])
        two.share()
        one.share()
        assert one.get_many(["c", "d"]) == {"c": late}
        assert one.spent("r") == two.spent("r") == 0.75
    assert len(folder.list_names()) == 2, "what came from others is not shared again"
    assert read_spending(root) == {}, "of this machine, which has asked nothing"
    with open_call_cache(root):
        assert read_spending(root) == {"r": 0.75}


def test_a_process_that_died_while_it_shared_shares_once(root: ObjectPath, tmp_path: Path) -> None:
    folder = root / CALLS_FOLDER
    dead = SharedCallCache(tmp_path / "one.sqlite", folder)
    dead.put_many([call("a")], [Payment(run="r", calls=1, cost=0.5)])
    name = dead._next_name()
    (folder / name).write_bytes(dead._pack(name), create=True)
    # here it is killed: the object is there, and its database says that it is not
    with SharedCallCache(tmp_path / "one.sqlite", folder) as again:
        assert again.spent("r") == 0.5
    with SharedCallCache(tmp_path / "two.sqlite", folder) as other:
        assert (other.spent("r"), set(other.get_many(["a"]))) == (0.5, {"a"})
    assert folder.list_names() == [name]


def test_a_store_that_is_gone_costs_no_call(
    server: Store, root: ObjectPath, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = SharedCallCache(tmp_path / "one.sqlite", root / CALLS_FOLDER)
    with environment({**server.env, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}):
        cache.put_many([call("a")])
        cache.close()
    assert "stored on this machine only" in caplog.text
    with SharedCallCache(tmp_path / "one.sqlite", root / CALLS_FOLDER) as again:
        again.share()
    assert len((root / CALLS_FOLDER).list_names()) == 1


def what_happens(address: str) -> FactoryError:
    with pytest.raises(FactoryError) as raised:
        data_root(address)
    assert raised.value.next_step
    assert "secret" not in str(raised.value)
    return raised.value


def test_what_is_wrong_with_a_store_is_said_at_the_door(
    server: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with environment(server.env):
        assert "there is no bucket 'nowhere'" in what_happens("s3://nowhere/data").what
        for address in ("s3://anyone:secret@factory/data", "s3://", "s3://factory/a?key=secret", "gs://factory/a"):
            assert isinstance(what_happens(address), SettingsError)
    with environment({**server.env, "AWS_ENDPOINT_URL": "http://anyone:secret@127.0.0.1:9"}):
        assert "http://127.0.0.1:9 does not" in what_happens(f"s3://{BUCKET}/data").what
    unset = {"AWS_ENDPOINT_URL": server.env["AWS_ENDPOINT_URL"], "AWS_EC2_METADATA_DISABLED": "true"}
    with environment({**unset, "HOME": str(tmp_path), "AWS_DEFAULT_REGION": "us-east-1"}):
        assert "no key is set" in what_happens(f"s3://{BUCKET}/data").what
    # from here on the server wants keys that it knows
    server.post("/moto-api/reset-auth", b"0")
    try:
        with environment(server.env):
            assert "refuses" in what_happens(f"s3://{BUCKET}/data").what
    finally:
        server.post("/moto-api/reset-auth", b"inf")


def test_a_folder_needs_none_of_this(tmp_path: Path) -> None:
    assert data_root(str(tmp_path)) == machine_dir(tmp_path) == machine_dir(str(tmp_path)) == tmp_path


def test_the_page_says_how_long_things_take() -> None:
    page = " ".join((Path(__file__).parents[2] / "docs/s3.md").read_text("utf-8").split())
    assert f"every {leases._RENEW_S:g} seconds" in page
    assert f"for {leases.LEASE_S:g} seconds" in page
    assert f"at most {shared_calls.SHARE_S:g} seconds later" in page


def test_one_connection_serves_all_threads(root: ObjectPath) -> None:
    found = []
    threads = [threading.Thread(target=lambda: found.append(filesystem())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(fs) for fs in found}) == 1
    assert root.is_file() is False
