"""kill -9 and full disks: what is visible is whole, and what was promised is there."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.base import digest
from models.errors import StorageError
from models.records import Metric, PartRef
from storage import manifests
from storage.call_cache import CachedCall, CallCache
from storage.catalog import build_catalog
from storage.parts import PartStore

ROOT = Path(__file__).parents[2]

WRITE_PARTS = """
import sys
from pathlib import Path
from models.base import digest
from models.records import Metric
from storage.parts import PartStore
store = PartStore(Path(sys.argv[1]))
rows = [Metric(run=str(n), model="m", benchmark="b", metric="csr", value=n, low=None, high=None, n=n)
        for n in range(3000)]
store.write("metrics", digest([sys.argv[2], "first"]), rows)  # what the first write loads is not what is tested
print("ready", flush=True)
for number in range(10**6):
    store.write("metrics", digest([sys.argv[2], number]), rows)
"""

WRITE_CALLS = """
import sys
from pathlib import Path
from storage.call_cache import CachedCall, CallCache
cache = CallCache(Path(sys.argv[1]))
print("ready", flush=True)
for number in range(10**6):
    calls = [CachedCall(request_hash=f"{sys.argv[2]}-{number}-{part}", text="x" * 500, model="m",
                        finish_reason="stop", prompt_tokens=1, completion_tokens=1, seconds=1.0) for part in range(5)]
    cache.put_many(calls)
    print(number, flush=True)
"""


def kill_while_writing(script: str, *arguments: str) -> list[str]:
    """Start a writer, kill -9 it at some moment; what it had printed."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(random.uniform(0.02, 0.3))
    process.send_signal(signal.SIGKILL)
    printed = process.stdout.read().splitlines()
    process.wait()
    return printed


def test_no_half_part_is_ever_visible(tmp_path: Path) -> None:
    store = PartStore(tmp_path)
    seen = 0
    for attempt in range(8):
        kill_while_writing(WRITE_PARTS, str(tmp_path), str(attempt))
        for path in (tmp_path / "metrics").glob("*.parquet"):
            assert len(store.read(PartRef(dataset="metrics", key=path.stem, rows=3000), Metric)) == 3000
            seen += 1
            path.unlink()
    assert seen
    left = [path for path in (tmp_path / "metrics").iterdir() if path.name.startswith(".")]
    assert store.sweep() == sorted(left)
    assert list((tmp_path / "metrics").iterdir()) == []


def test_every_call_that_was_stored_is_there_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    for attempt in range(6):
        stored = kill_while_writing(WRITE_CALLS, str(path), str(attempt))
        promised = [f"{attempt}-{number}-{part}" for number in stored if number.isdigit() for part in range(5)]
        with CallCache(path) as cache:
            assert sorted(cache.get_many(promised)) == sorted(promised)
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        # a batch is there as a whole or not at all
        assert db.execute("SELECT count(*) % 5 FROM calls").fetchone() == (0,)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "tiny"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a small tmpfs can be mounted by root only")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small tmpfs cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, *, leave: int) -> Path:
    ballast = folder / "ballast"
    free = os.statvfs(folder)
    ballast.write_bytes(b"\0" * max(0, free.f_bavail * free.f_bsize - leave))
    return ballast


def test_a_full_disk_leaves_every_part_whole_and_the_next_run_goes_on(tiny_disk: Path) -> None:
    store = PartStore(tiny_disk)
    noise = random.Random(0)
    rows = [
        Metric(run=f"{noise.random()}{noise.random()}", model="m", benchmark="b", metric="csr", value=n, low=None,
               high=None, n=n)
        for n in range(2000)
    ]  # fmt: skip
    first = store.write("metrics", digest("first"), rows)
    ballast = fill(tiny_disk, leave=16_384)
    with pytest.raises(StorageError, match="No space left") as caught:
        store.write("metrics", digest("second"), rows)
    assert "Free space" in caught.value.next_step
    assert [path.name for path in (tiny_disk / "metrics").iterdir()] == [store.path(first).name]
    assert store.read(first, Metric) == rows
    ballast.unlink()
    assert store.read(store.write("metrics", digest("second"), rows), Metric) == rows


def test_a_full_disk_leaves_the_manifest_as_it_was(tiny_disk: Path) -> None:
    manifest = manifests.Manifest.model_validate(
        {"run": "r", "settings_hash": "h", "settings": {}, "started_at": "2026-01-01T00:00:00Z"}
    )
    book = manifests.RunBook(tiny_disk, manifest)
    ballast = fill(tiny_disk, leave=0)
    refs = [PartRef(dataset="pairs", key=digest(n), rows=n) for n in range(200)]
    with pytest.raises(StorageError, match="No space left"):
        book.add(refs)
    assert manifests.load(tiny_disk, "r").parts == []
    ballast.unlink()
    book.add(refs)
    assert manifests.load(tiny_disk, "r").parts == refs


def test_a_full_disk_is_what_ends_the_building_of_a_catalog(tiny_disk: Path) -> None:
    PartStore(tiny_disk).ensure_schemas()
    fill(tiny_disk, leave=8_192)
    with pytest.raises(StorageError, match="No space left") as caught:
        build_catalog(tiny_disk)
    assert "Free space" in caught.value.next_step


def test_a_full_disk_keeps_the_calls_that_were_stored(tiny_disk: Path) -> None:
    def call(name: str) -> CachedCall:
        return CachedCall(
            request_hash=name,
            text="x" * 50_000,
            model="m",
            finish_reason="stop",
            prompt_tokens=1,
            completion_tokens=1,
            seconds=1.0,
        )

    with CallCache(tiny_disk / "calls.sqlite") as cache:
        cache.put_many([call("first")])
        ballast = fill(tiny_disk, leave=4096)
        with pytest.raises(StorageError, match="call cache") as caught:
            cache.put_many([call(str(number)) for number in range(20)])
        assert "Free space" in caught.value.next_step
        ballast.unlink()
        assert list(cache.get_many(["first", "0", "19"])) == ["first"]
        cache.put_many([call("second")])
        assert len(cache.get_many(["first", "second"])) == 2
