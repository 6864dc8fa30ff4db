"""Texts that stand in a file twice, or nearly: an index on disk, so that memory does not grow with the file."""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from itertools import pairwise
from typing import Literal, NamedTuple

import rensa

from models.errors import StorageError

PERMUTATIONS = 64
"""Hashes of a MinHash: its estimate of a similarity of 0.8 is off by 0.05 (one standard deviation)."""
_BANDS, _ROWS = 8, 4
_SEED = 1
_CACHE_KIB = 32_000

# a Chinese character is a word here
_WORD = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]|[^\W_\u3400-\u4dbf\u4e00-\u9fff]+")


class Duplicate(NamedTuple):
    """A text that was there before."""

    kind: Literal["exact", "near"]
    line: int
    """Where the earlier one stands."""
    similarity: float
    """Share of the pairs of words that the two have in common, estimated."""


class Seen:
    """The texts and ids of a file so far."""

    def __init__(self, database: sqlite3.Connection, near: float) -> None:
        self._database, self._near = database, near
        self._keys: list[int] = []
        self._digest = b""

    def find_id(self, given: str) -> int | None:
        """The line on which an id stands already."""
        found = self._database.execute("select line from keys where key = ?", (_id_key(given),)).fetchone()
        return found and int(found[0])

    def find_text(self, text: str) -> Duplicate | None:
        """What a text is a duplicate of.

        Exact: the same letters, whatever the case and the white space. Near: the share of common pairs of words is at
        least ``near``, as MinHash estimates it; candidates are texts that agree in one of 8 bands of 4 hashes, which
        finds 98 % of those that are 0.8 alike, and 99.98 % at 0.9.
        """
        plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
        exact = _key(b"text", plain.encode())
        self._keys, self._digest = [exact], b""
        if self._near:
            hashes = _min_hashes(plain)
            self._keys += _bands(hashes)
            self._digest = bytes(value & 0xFF for value in hashes)
        marks = ",".join("?" * len(self._keys))
        found = self._database.execute(
            f"select key, line, digest from keys join digests using (line) where key in ({marks}) order by line",
            self._keys,
        ).fetchall()
        for key, earlier, _ in found:
            if key == exact:
                return Duplicate("exact", earlier, 1.0)
        alike = [(_similarity(self._digest, other), -earlier) for _, earlier, other in found]
        if alike and max(alike)[0] >= self._near:
            similarity, earlier = max(alike)
            return Duplicate("near", -earlier, similarity)
        return None

    def keep(self, line: int, given: str) -> None:
        """Remember the text that was last asked for, and the id of its row where it has one of its own."""
        keys = [*self._keys, _id_key(given)] if given else self._keys
        self._database.execute("insert into digests values (?, ?)", (line, self._digest))
        self._database.executemany("insert or ignore into keys values (?, ?)", [(key, line) for key in keys])


@contextmanager
def open_seen(near: float) -> Iterator[Seen]:
    """An index for one import, in a file that the system removes when it is closed.

    Args:
        near: From which similarity on a text is a near duplicate; 0: never.

    Raises:
        StorageError: The disk is full.
    """
    database = sqlite3.connect("", isolation_level=None)  # a file without a name, in the folder for temporaries
    try:
        for setting in ("journal_mode = off", "synchronous = off", f"cache_size = -{_CACHE_KIB}", "temp_store = file"):
            database.execute(f"pragma {setting}")
        database.execute("create table keys (key integer primary key, line integer)")
        database.execute("create table digests (line integer primary key, digest blob)")
        database.execute("begin")
        yield Seen(database, near)
    except sqlite3.Error as error:
        raise StorageError(
            f"The index of duplicates could not be kept: {error}.",
            safe="Nothing was written.",
            next_step="It is a temporary file of some 300 bytes a row: set SQLITE_TMPDIR to a folder with space.",
        ) from error
    finally:
        database.close()


def _id_key(given: str) -> int:
    return _key(b"id", given.encode())


def _key(space: bytes, data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8, person=space).digest(), "big", signed=True)


def _min_hashes(plain: str) -> list[int]:
    words = _WORD.findall(plain)
    sketch = rensa.RMinHash(num_perm=PERMUTATIONS, seed=_SEED)
    sketch.update({f"{one} {other}" for one, other in pairwise(words)} or set(words) or {plain})
    hashes: list[int] = sketch.digest()
    return hashes


def _bands(hashes: list[int]) -> Iterator[int]:
    for band in range(_BANDS):
        # Python's hash of numbers is the same in every process
        yield hash((band, *hashes[band * _ROWS : (band + 1) * _ROWS]))


def _similarity(one: bytes, other: bytes) -> float:
    """Share of equal hashes; of each only a byte is kept, so one in 256 is equal by chance."""
    equal = sum(map(int.__eq__, one, other)) / PERMUTATIONS
    return max(0.0, (equal - 1 / 256) / (1 - 1 / 256))
