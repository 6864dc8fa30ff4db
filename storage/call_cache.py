"""The call cache: every completed LLM call, in SQLite, before anything is built on it. Calls are money."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from pydantic import Field

from models.base import Strict
from models.errors import StorageError

# Other processes write for milliseconds; a minute of waiting means that one of them is stopped
_BUSY_S = 60.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    request_hash TEXT PRIMARY KEY,
    sample INTEGER NOT NULL,
    model TEXT NOT NULL,
    answer TEXT NOT NULL,
    finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    seconds REAL NOT NULL,
    tries INTEGER NOT NULL,
    created_at TEXT NOT NULL
) WITHOUT ROWID
"""
_SPENDING = """
CREATE TABLE IF NOT EXISTS spending (
    run TEXT PRIMARY KEY,
    calls INTEGER NOT NULL,
    cost REAL NOT NULL
) WITHOUT ROWID
"""
_COLUMNS = (
    "request_hash, sample, model, answer, finish_reason, prompt_tokens, completion_tokens, seconds, tries, created_at"
)


class CachedCall(Strict):
    """One completed call."""

    request_hash: str = Field(description="Identity of the request, its sample number included.")
    sample: int = Field(default=0, ge=0, description="Number of the sample, from 0.")
    model: str = Field(description="The model that answered.")
    text: str = Field(description="The answer.")
    finish_reason: str = Field(description="Why the model stopped: stop, length, ...")
    prompt_tokens: int = Field(ge=0, description="Tokens in.")
    completion_tokens: int = Field(ge=0, description="Tokens out.")
    seconds: float = Field(ge=0, description="From request to answer.")
    tries: int = Field(default=1, ge=1, description="Attempts that it took.")
    created_at: str = Field(
        default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"), description="When it was answered."
    )


class Payment(Strict):
    """What completed calls cost a run."""

    run: str = Field(description="The run that paid.")
    calls: int = Field(ge=1, description="Completed calls.")
    cost: float = Field(ge=0, description="Their cost, in the currency of the prices.")


CALL_CACHE_FILE = "calls.sqlite"


class CallCache:
    """Completed calls by request hash; for many threads and many processes at once.

    A call that ``put_many`` returned for survives ``kill -9`` of every process. A power loss may take the last calls
    with it, never the database.

    Args:
        path: The SQLite file; made when it is missing.

    Raises:
        StorageError: The file is no call cache, is damaged, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        # one connection under a lock: SQLite has one writer anyway, and no thread leaves a connection behind
        self._lock = threading.Lock()
        with self._errors():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                self._begin_wal()
                # NORMAL: a commit is in the kernel's hands (enough for kill -9); only a checkpoint is synced
                self._db.execute("PRAGMA synchronous = NORMAL")
                self._db.execute(_SCHEMA)
                self._db.execute(_SPENDING)
            except BaseException:
                self._db.close()
                raise

    def get_many(self, hashes: Sequence[str]) -> dict[str, CachedCall]:
        """The calls that are known, by request hash; unknown ones are left out."""
        with self._lock, self._errors():
            return self._find(hashes)

    def spent(self, run: str) -> float:
        """What the calls of a run have cost so far, over all times it was started; calls without a price count 0."""
        return self.spending().get(run, 0.0)

    def spending(self) -> dict[str, float]:
        """What every run has spent so far; runs whose calls have no price are not in it."""
        with self._lock, self._errors():
            return dict(self._db.execute("SELECT run, cost FROM spending ORDER BY run").fetchall())

    def put_many(self, calls: Sequence[CachedCall], payments: Sequence[Payment] = ()) -> dict[str, CachedCall]:
        """Keep calls and what they cost, all or none; where a hash is known already, the first answer stays.

        Returns:
            The first answers, by request hash, where there were any: what is built on the others could not be made
            again.
        """
        if not calls:
            return {}
        with self._transaction():
            new = self._store(calls, payments)
            return {} if new == len(calls) else self._find([call.request_hash for call in calls])

    def close(self) -> None:
        """Close the database; the cache cannot be used afterwards."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _find(self, hashes: Sequence[str]) -> dict[str, CachedCall]:
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM calls WHERE request_hash IN (SELECT value FROM json_each(?))",
            [json.dumps(list(hashes))],
        ).fetchall()
        return {row[0]: _from_row(row) for row in rows}

    def _store(self, calls: Sequence[CachedCall], payments: Sequence[Payment]) -> int:
        """Insert calls and add payments, in a transaction; returns how many calls are new."""
        marks = ", ".join("?" * len(_COLUMNS.split(",")))
        new = self._db.executemany(
            # not OR IGNORE, which would also drop a row that breaks NOT NULL without a word
            f"INSERT INTO calls ({_COLUMNS}) VALUES ({marks}) ON CONFLICT (request_hash) DO NOTHING",
            [_to_row(call) for call in calls],
        ).rowcount
        self._db.executemany(
            "INSERT INTO spending (run, calls, cost) VALUES (?, ?, ?) ON CONFLICT (run) DO UPDATE "
            "SET calls = calls + excluded.calls, cost = cost + excluded.cost",
            [(payment.run, payment.calls, payment.cost) for payment in payments],
        )
        return new

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, self._errors():
            # IMMEDIATE: wait for other writers here, where waiting is allowed, not in the middle
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    def _begin_wal(self) -> None:
        # SQLite does not wait (busy_timeout) for the change into WAL when two processes make a new file together
        deadline = time.monotonic() + _BUSY_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> StorageError:
        text, folder = str(error), self.path.parent
        if "full" in text or "disk I/O" in text or isinstance(error, OSError) or "unable to open" in text:
            next_step = f"Free space under {folder}, check that it may be written, and run the same command again."
        elif "locked" in text:
            next_step = f"Another process has held {self.path} for a minute: stop it and run the same command again."
        elif "malformed" not in text and "not a database" not in text:
            next_step = "This is a fault of the program, not of the file: please report it."
        else:
            next_step = recovery_steps(self.path)
        return StorageError(
            f"The call cache {self.path} failed: {error}.",
            safe="Finished parts are whole, and so are the calls stored before.",
            next_step=next_step,
        )


def recovery_steps(path: Path) -> str:
    """What to type when the database is damaged."""
    return (
        f"Keep the file (mv '{path}' '{path}.damaged'), get back what can be read with "
        f"sqlite3 '{path}.damaged' .recover | sqlite3 '{path}', and run the same command again; "
        "without it, calls whose parts are not written are made and paid again."
    )


def _to_row(call: CachedCall) -> tuple[object, ...]:
    # as JSON, because an answer may hold a lone surrogate, which neither SQLite nor UTF-8 takes
    try:
        answer = json.dumps(call.text, ensure_ascii=False)
        answer.encode("utf-8")
    except UnicodeEncodeError:
        answer = json.dumps(call.text)
    return (
        call.request_hash,
        call.sample,
        call.model,
        answer,
        call.finish_reason,
        call.prompt_tokens,
        call.completion_tokens,
        call.seconds,
        call.tries,
        call.created_at,
    )


def _from_row(row: tuple[str, int, str, str, str, int, int, float, int, str]) -> CachedCall:
    request_hash, sample, model, answer, finish_reason, prompt_tokens, completion_tokens, seconds, tries, at = row
    return CachedCall(
        request_hash=request_hash,
        sample=sample,
        model=model,
        text=json.loads(answer),
        finish_reason=finish_reason,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        seconds=seconds,
        tries=tries,
        created_at=at,
    )
