"""Flags: what a person marked is there, whole, for everybody, whatever else happens."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from models.errors import StorageError
from storage.catalog import build_catalog, query
from storage.flags import FLAGS_FOLDER, flag_now, read_flag, read_flags, remove_flag, write_flag

ROOT = Path(__file__).parents[2]
WRITE_FLAGS = """
import sys
from pathlib import Path
from storage.flags import flag_now, write_flag
for number in range(10**6):
    write_flag(Path(sys.argv[1]), flag_now(f"pair-{number % 50}", "run", "why " * 200))
    if number == 10:
        print("ready", flush=True)
"""


def test_a_flag_is_put_on_changed_and_taken_off(tmp_path: Path) -> None:
    assert read_flags(tmp_path) == {}
    assert read_flag(tmp_path, "a-b") is None
    write_flag(tmp_path, flag_now("a-b", "run"))
    write_flag(tmp_path, flag_now("../../etc/passwd-\n'; --", "run", "odd"))
    write_flag(tmp_path, flag_now("a-b", "run", 'why, "then"?\n表'))
    found = read_flag(tmp_path, "a-b")
    assert found is not None and found.note == 'why, "then"?\n表'
    assert {pair: flag.note for pair, flag in read_flags(tmp_path).items()} == {
        "a-b": 'why, "then"?\n表',
        "../../etc/passwd-\n'; --": "odd",
    }
    remove_flag(tmp_path, "a-b")
    remove_flag(tmp_path, "a-b")
    assert set(read_flags(tmp_path)) == {"../../etc/passwd-\n'; --"}
    assert {path.parent for path in tmp_path.rglob("*.json")} == {tmp_path / FLAGS_FOLDER}


def test_a_flag_that_cannot_be_taken_off_is_said(tmp_path: Path) -> None:
    (tmp_path / FLAGS_FOLDER).write_text("no folder")
    with pytest.raises(StorageError, match=r"flag of pair a-b could not be taken off(?s:.*)may be written"):
        remove_flag(tmp_path, "a-b")


def test_sql_sees_a_flag_at_once(tmp_path: Path) -> None:
    build_catalog(tmp_path)
    assert query(tmp_path, "FROM flags").rows == []
    write_flag(tmp_path, flag_now("a-b", "run", 'why, "then"?\n表'))
    result = query(tmp_path, "SELECT pair_id, run, note FROM flags")
    assert result.rows == [("a-b", "run", 'why, "then"?\n表')]
    assert set(read_flags(tmp_path)) == {"a-b"}
    remove_flag(tmp_path, "a-b")
    assert query(tmp_path, "FROM flags").rows == []


def test_many_hands_at_once(tmp_path: Path) -> None:
    def flag_all(hand: int) -> None:
        for number in range(10):
            write_flag(tmp_path, flag_now(f"own-{hand}-{number}", "run"))
            write_flag(tmp_path, flag_now("shared", "run", str(hand)))

    hands = [threading.Thread(target=flag_all, args=(hand,)) for hand in range(4)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    flags = read_flags(tmp_path)
    assert len(flags) == 41
    assert flags["shared"].note in "0123"


def test_a_killed_writer_leaves_whole_flags(tmp_path: Path) -> None:
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", WRITE_FLAGS, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            writer.send_signal(signal.SIGKILL)
        flags = read_flags(tmp_path)
        assert len(flags) > 10
        assert {flag.note for flag in flags.values()} == {"why " * 200}


def test_a_damaged_flag_is_named(tmp_path: Path) -> None:
    write_flag(tmp_path, flag_now("a-b", "run"))
    (path,) = (tmp_path / FLAGS_FOLDER).glob("*.json")
    path.write_text('{"pair_id": "a-b"')
    with pytest.raises(StorageError, match=path.name) as caught:
        read_flags(tmp_path)
    assert "flag the pair again" in caught.value.next_step
