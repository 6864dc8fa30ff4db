"""The call cache of one machine of several: completed calls are shared through the store.

SQLite needs a disk of its own, so every machine has its database, and a call is on that disk before anything is built
on it, as ever. What is new there is put into the store every few seconds, and at the end, as one object a time:
``DATA/calls/<writer>-<number>.jsonl.gz``, never changed. A batch that does not find all its calls looks for new objects
of others first. Nothing is a lock, and no writer waits for another.

What is not shared yet is noted in the database, in the transaction that stores it, and gets the name of its object
before that is written: an object that was written twice is one object, and what it says was paid is added once. So a
killed process costs nothing on its own machine (the next one there shares what it left), and a machine that is lost for
good costs the others the calls of its last ``SHARE_S`` seconds.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import os
import secrets
import threading
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

from models.errors import StorageError
from storage.call_cache import CALL_CACHE_FILE, CachedCall, CallCache, Payment
from storage.objects import ConditionError, ObjectPath
from storage.roots import Root, machine_dir

CALLS_FOLDER = "calls"
SHARE_S = 5.0
"""Seconds between two objects of a writer."""
_LOOK_S = 5.0
"""Seconds between two looks for those of others, at least."""
_LOOK_SHARE = 0.05
"""Share of the time that looking may take: a listing grows with the objects, and is then made less often."""
_MOST_CALLS = 5000
"""Calls of an object, so that reading one takes little memory."""

_SUFFIX = ".jsonl.gz"

log = logging.getLogger(__name__)


# a name of '' is none yet
_SCHEMA = """
CREATE TABLE IF NOT EXISTS unshared (request_hash TEXT PRIMARY KEY, name TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS unshared_spending (
    run TEXT NOT NULL, name TEXT NOT NULL DEFAULT '', calls INTEGER NOT NULL, cost REAL NOT NULL,
    PRIMARY KEY (run, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS shared (name TEXT PRIMARY KEY) WITHOUT ROWID;
"""


class SharedCallCache(CallCache):
    """A call cache that shares with those of other machines; used like any other.

    Args:
        path: The SQLite file of this machine.
        folder: Where completed calls are shared.

    Raises:
        StorageError: As ``CallCache``; or the store does not answer.
    """

    def __init__(self, path: Path, folder: ObjectPath) -> None:
        super().__init__(path)
        with self._lock, self._errors():
            self._db.executescript(_SCHEMA)
        self._folder = folder
        self._looking, self._sharing = threading.Lock(), threading.Lock()
        self._look_again = 0.0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep_sharing, name="share-calls", daemon=True)
        self._look()
        self._thread.start()

    def get_many(self, hashes: Sequence[str]) -> dict[str, CachedCall]:
        """The calls that are known here or, as far as they are shared, on other machines."""
        found = super().get_many(hashes)
        if len(found) < len(set(hashes)) and self._look():
            found = super().get_many(hashes)
        return found

    def close(self) -> None:
        """Share what is left, and close; what cannot be shared now is shared by the next process on this machine."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        try:
            self.share()
        except StorageError as error:
            log.warning("The last calls are stored on this machine only, and shared by the next run here: %s", error)
        super().close()

    def share(self) -> None:
        """Put what is new here into the store.

        Raises:
            StorageError: The store does not take it; nothing is lost.
        """
        with self._sharing:
            while name := self._next_name():
                # of another process of this machine, or sent twice as the answer was lost: it is the same object
                with contextlib.suppress(ConditionError):
                    (self._folder / name).write_bytes(self._pack(name), create=True)
                with self._transaction():
                    self._db.execute("DELETE FROM unshared WHERE name = ?", [name])
                    self._db.execute("DELETE FROM unshared_spending WHERE name = ?", [name])

    def _store(self, calls: Sequence[CachedCall], payments: Sequence[Payment]) -> int:
        new = super()._store(calls, payments)
        self._db.executemany(
            "INSERT INTO unshared (request_hash) VALUES (?) ON CONFLICT DO NOTHING", [(c.request_hash,) for c in calls]
        )
        self._db.executemany(
            "INSERT INTO unshared_spending (run, calls, cost) VALUES (?, ?, ?) ON CONFLICT (run, name) DO UPDATE "
            "SET calls = calls + excluded.calls, cost = cost + excluded.cost",
            [(payment.run, payment.calls, payment.cost) for payment in payments],
        )
        return new

    def _next_name(self) -> str:
        """The object to write next, one that was not finished first; empty: nothing is new."""
        with self._transaction():
            row = self._db.execute(
                "SELECT name FROM unshared UNION ALL SELECT name FROM unshared_spending ORDER BY name DESC LIMIT 1"
            ).fetchone()
            if row is None or row[0]:
                return row[0] if row else ""
            name = f"{time.time_ns():x}-{secrets.token_hex(8)}{_SUFFIX}"
            self._db.execute(
                "UPDATE unshared SET name = ? WHERE request_hash IN (SELECT request_hash FROM unshared LIMIT ?)",
                [name, _MOST_CALLS],
            )
            self._db.execute("UPDATE unshared_spending SET name = ?", [name])
            # what is ours is not taken over: its payments are counted already
            self._db.execute("INSERT INTO shared (name) VALUES (?)", [name])
            return name

    def _pack(self, name: str) -> bytes:
        with self._lock, self._errors():
            hashes = self._db.execute("SELECT request_hash FROM unshared WHERE name = ?", [name]).fetchall()
            paid = self._db.execute("SELECT run, calls, cost FROM unshared_spending WHERE name = ?", [name]).fetchall()
        calls = super().get_many([request_hash for (request_hash,) in hashes])
        # ASCII: an answer may hold a lone surrogate, which UTF-8 does not take
        lines = [json.dumps({"call": calls[request_hash].model_dump()}) for request_hash in sorted(calls)]
        lines += [json.dumps({"payment": {"run": run, "calls": count, "cost": cost}}) for run, count, cost in paid]
        return gzip.compress("\n".join(lines).encode("ascii"), compresslevel=5, mtime=0)

    def _look(self) -> bool:
        """Take over what others have shared since the last time; False: it is too early, or another thread does."""
        if time.monotonic() < self._look_again or not self._looking.acquire(blocking=False):
            return False
        try:
            began = time.monotonic()
            with self._lock, self._errors():
                known = {name for (name,) in self._db.execute("SELECT name FROM shared")}
            for name in self._folder.list_names():
                if name.endswith(_SUFFIX) and name not in known:
                    self._take_over(name)
            took = time.monotonic() - began
            self._look_again = time.monotonic() + max(_LOOK_S, took / _LOOK_SHARE)
            return True
        finally:
            self._looking.release()

    def _take_over(self, name: str) -> None:
        try:
            calls, payments = read_shared_calls(self._folder / name)
        except FileNotFoundError:  # tidied away since it was listed
            return
        with self._transaction():
            # another process of this machine may have been faster
            if self._db.execute("INSERT INTO shared (name) VALUES (?) ON CONFLICT DO NOTHING", [name]).rowcount:
                super()._store(calls, payments)

    def _keep_sharing(self) -> None:
        while not self._closing.wait(SHARE_S):
            try:
                self.share()
            except StorageError as error:
                log.warning("Completed calls wait on this machine to be shared: %s", error)


def read_shared_calls(place: ObjectPath) -> tuple[list[CachedCall], list[Payment]]:
    """What an object of shared calls holds.

    Raises:
        FileNotFoundError: It is not there.
        StorageError: It is damaged.
    """
    try:
        content = gzip.decompress(place.read_bytes())
        lines = [json.loads(line) for line in content.decode("ascii").splitlines()]
        calls = [CachedCall.model_validate(line["call"]) for line in lines if "call" in line]
        return calls, [Payment.model_validate(line["payment"]) for line in lines if "payment" in line]
    except FileNotFoundError:
        raise
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise StorageError(
            f"The shared calls {place} are damaged: {error}.",
            safe="Finished parts are whole, and so are the calls of this machine.",
            next_step="Delete the object: its calls are asked for again where no part was made of them.",
        ) from error


def open_call_cache(root: Root) -> CallCache:
    """The call cache of a DATA on this machine.

    Raises:
        StorageError: It cannot be opened, or what others have shared cannot be read.
    """
    path = machine_dir(root) / CALL_CACHE_FILE
    return CallCache(path) if isinstance(root, Path) else SharedCallCache(path, root / CALLS_FOLDER)


def read_spending(root: Root) -> dict[str, float]:
    """What every run of a DATA has spent, as far as this machine knows; empty where it has asked nothing yet.

    And where DATA may only be read: SQLite would write beside its database. Manifests of finished runs say it too.
    It does not look for what others have shared, as a run does: that can be gigabytes.

    Raises:
        StorageError: The call cache is damaged.
    """
    path = machine_dir(root) / CALL_CACHE_FILE
    if not path.is_file() or not all(os.access(place, os.W_OK) for place in (path, path.parent)):
        return {}
    with CallCache(path) as cache:
        return cache.spending()
