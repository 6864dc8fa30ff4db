"""The call cache: no completed call is paid twice."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from models.errors import StorageError
from storage.call_cache import CachedCall, CallCache, Payment

ROOT = Path(__file__).parents[2]


def call(name: str, text: str = "answer", **changes: object) -> CachedCall:
    values = {"model": "m", "finish_reason": "stop", "prompt_tokens": 3, "completion_tokens": 2, "seconds": 0.5}
    return CachedCall.model_validate({"request_hash": name, "text": text, **values, **changes})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "calls.sqlite"


def test_what_a_run_has_spent_is_kept_with_the_answers(path: Path) -> None:
    with CallCache(path) as cache:
        assert cache.spent("r") == 0
        cache.put_many([call("a")], [Payment(run="r", calls=1, cost=0.25), Payment(run="s", calls=1, cost=8)])
    with CallCache(path) as cache:
        cache.put_many([call("b"), call("c")], [Payment(run="r", calls=2, cost=0.5)])
        assert (cache.spent("r"), cache.spent("s"), cache.spent("t")) == (0.75, 8, 0)


def test_calls_come_back_as_they_were(path: Path) -> None:
    calls = [
        call("a", "plain", sample=3, tries=2),
        call("b", "中文 \N{GRINNING FACE} \x00 \"quoted\" 'x'\n"),
        call("c", "lone \ud800 surrogate"),
        call("d", ""),
    ]
    with CallCache(path) as cache:
        cache.put_many(calls)
        cache.put_many([])
    with CallCache(path) as cache:
        assert cache.get_many(["a", "b", "c", "d", "unknown"]) == {each.request_hash: each for each in calls}
        assert cache.get_many([]) == {}


def test_the_first_answer_stays(path: Path) -> None:
    with CallCache(path) as cache:
        assert cache.put_many([call("a", "first"), call("a", "second")])["a"].text == "first"
        assert cache.put_many([call("a", "third"), call("b", "new")])["a"].text == "first"
        assert cache.put_many([call("c")]) == {}
        assert {key: found.text for key, found in cache.get_many(["a", "b"]).items()} == {"a": "first", "b": "new"}


def test_a_batch_is_all_or_nothing(path: Path) -> None:
    with CallCache(path) as cache:
        broken = CachedCall.model_construct(**{**call("c").model_dump(), "model": None})
        with pytest.raises(StorageError, match="NOT NULL"):
            cache.put_many([call("b"), broken])
        assert cache.get_many(["b", "c"]) == {}
        cache.put_many([call("b")])
        assert list(cache.get_many(["b"])) == ["b"]


def test_thousands_of_hashes_in_one_question(path: Path) -> None:
    names = [f"{number:032x}" for number in range(40_000)]
    with CallCache(path) as cache:
        cache.put_many([call(name) for name in names[::2]])
        assert len(cache.get_many(names)) == 20_000


def test_many_threads(path: Path) -> None:
    wrong: list[object] = []
    with CallCache(path) as cache:

        def work(worker: int) -> None:
            for number in range(40):
                name = f"{number % 20}-{worker % 4}"
                cache.put_many([call(name, text=name)])
                if cache.get_many([name])[name].text != name:
                    wrong.append(name)

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert len(cache.get_many([f"{n}-{w}" for n in range(20) for w in range(4)])) == 80


def test_many_processes_on_a_new_file(path: Path) -> None:
    script = """
import sys
from pathlib import Path
from storage.call_cache import CachedCall, CallCache, Payment
with CallCache(Path(sys.argv[1])) as cache:
    for number in range(100):
        name = f"{number}-{sys.argv[2]}"
        cache.put_many([CachedCall(request_hash=name, text=name, model="m", finish_reason="stop", prompt_tokens=1,
                                   completion_tokens=1, seconds=1.0)])
        assert cache.get_many([name])[name].text == name
"""
    processes = [subprocess.Popen([sys.executable, "-c", script, str(path), str(n)], cwd=ROOT) for n in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    with CallCache(path) as cache:
        assert len(cache.get_many([f"{number}-{worker}" for number in range(100) for worker in range(4)])) == 400


def test_a_damaged_file_says_what_to_do(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is not a database" * 500)
    with pytest.raises(StorageError, match="call cache") as caught:
        CallCache(path)
    assert str(path) in caught.value.what
    assert ".recover" in caught.value.next_step


def test_a_file_damaged_in_the_middle(path: Path) -> None:
    with CallCache(path) as cache:
        cache.put_many([call(str(number), "x" * 3000) for number in range(100)])
    data = bytearray(path.read_bytes())
    data[4096:-4096] = b"\xee" * (len(data) - 8192)
    path.write_bytes(data)
    with CallCache(path) as cache, pytest.raises(StorageError, match="malformed"):
        cache.get_many([str(number) for number in range(100)])


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="call cache"):
        CallCache(tmp_path / "file" / "calls.sqlite")


def test_use_after_close(path: Path) -> None:
    cache = CallCache(path)
    cache.close()
    with pytest.raises(StorageError, match="closed"):
        cache.get_many(["a"])


def test_the_file_is_in_wal_mode_with_one_row_a_call(path: Path) -> None:
    with CallCache(path) as cache:
        cache.put_many([call("a"), call("b")])
        with sqlite3.connect(path) as db:
            assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert db.execute("SELECT count(*), sum(prompt_tokens) FROM calls").fetchone() == (2, 6)
