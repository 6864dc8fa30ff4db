"""One machine at a time, by a lease: an object in the store that its holder writes anew every few seconds.

No clocks are compared, as those of two machines differ. Who wants a held lease watches its tag: where it has not
changed for ``LEASE_S`` by the watcher's own clock, the holder is dead (or cut off, which the store cannot tell apart),
and the watcher puts its own name there on the condition that the tag is still that one; so only one of many takes over.
A holder that could not renew for as long, by *its* clock, takes itself for dead, and writes no manifest any more. These
clocks go on while a machine sleeps.

A lock file is refused at once, where a lease is waited for: on several machines nobody sits there to type again.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from models.errors import StorageError
from storage.manifests import RUNS_FOLDER
from storage.objects import ConditionError, ObjectPath
from storage.roots import Root

LEASE_S = 20.0
"""A holder that has not renewed for so long is dead."""
PROBE_PREFIX = ".probe."
"""Of the name of an object by which a store is tried; a killed process may leave one."""
_RENEW_S = LEASE_S / 5
_LOOK_S = 2.0

log = logging.getLogger(__name__)


class Lease:
    """A lease that this process holds until it is released.

    Args:
        path: The object.
        what: Who is held, for messages: "The run 'demo'".
        tell: Told once whom this process waits for.
    """

    def __init__(self, path: ObjectPath, what: str, tell: Callable[[str], None] = log.warning) -> None:
        self._path, self._what, self._tell = path, what, tell
        self._owner = {"host": socket.gethostname(), "pid": os.getpid(), "token": secrets.token_hex(8)}
        self._count = 0
        self._ended = threading.Event()
        self._lost = False
        self._renewed = _now()
        self._tag = self._take()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Do nothing while the lease is held.

        Raises:
            StorageError: Another machine has it, or may have it: it could not be renewed for too long.
        """
        if self._lost or _now() - self._renewed > LEASE_S:
            raise StorageError(
                f"{self._what} may have been taken over by another machine: this one could not renew {self._path} for "
                f"{LEASE_S:.0f} seconds.",
                safe="All parts and completed calls are whole.",
                next_step="Where the other machine does not go on with it, type the same command again.",
            )

    def release(self) -> None:
        """Let others have it; where it is lost already, they have."""
        self._ended.set()
        self._thread.join()
        if not self._lost:
            try:
                self._put(self._tag, free=True)
            except (ConditionError, StorageError) as error:
                log.warning("%s was not released, and is free in %.0f s: %s", self._path, LEASE_S, error)

    def _take(self) -> str:
        """Wait until it is free or its holder dead, and take it; returns its tag."""
        watch, told = _Watch(self._path), False
        while True:
            self._renewed = _now()
            if watch.look() in ("free", "dead"):
                try:
                    tag = self._put(watch.tag or None)
                    _require_create(self._path)
                    return tag
                except ConditionError:
                    # an answer may be lost on its way, and the request is then sent again: was it ours?
                    if self._is_ours():
                        return self._path.read_tagged()[1]
                    continue
            if not told:
                told = True
                self._tell(f"{self._what} is being worked on by {watch.holder}; waiting for it.")
            time.sleep(_LOOK_S)

    def _put(self, tag: str | None, *, free: bool = False) -> str:
        """Write the lease on the condition that it is as it was read; None: that it is not there."""
        self._count += 1
        content = json.dumps({} if free else {**self._owner, "renewed": self._count}).encode()
        return self._path.write_bytes(content, create=tag is None, replaces=tag)

    def _is_ours(self) -> bool:
        try:
            return _read_holder(self._path.read_bytes()).get("token") == self._owner["token"]
        except FileNotFoundError:
            return False

    def _renew(self) -> None:
        while not self._ended.wait(_RENEW_S):
            began = _now()
            try:
                self._tag = self._put(self._tag)
                self._renewed = began
            except ConditionError:
                if not self._is_ours():
                    self._lost = True
                    return
                self._tag, self._renewed = self._path.read_tagged()[1], began
            except Exception as error:
                # a store that does not answer now may in a second; `require` says when it has taken too long
                log.warning("%s was not renewed: %s", self._path, error)


class _Watch:
    """Looks at a lease again and again: a dead holder is told from a living one by the tag, which stays the same.

    Attributes:
        tag: Its tag when it was last looked at; empty: it was not there.
        holder: Who held it then.
    """

    def __init__(self, path: ObjectPath) -> None:
        self._path = path
        self.tag, self.holder = "", "nobody"
        self._first: str | None = None
        self._since = _now()

    def look(self) -> Literal["free", "held", "alive", "dead"]:
        """What it is now; "held": it has not been watched for long enough to know more."""
        try:
            content, tag = self._path.read_tagged()
            holder = _read_holder(content)
        except FileNotFoundError:
            tag, holder = "", {}
        if tag != self.tag:
            self.tag, self._since = tag, _now()
        if not holder:
            self._first = None
            return "free"
        self.holder = f"process {holder.get('pid')} on {holder.get('host')}"
        self._first = self._first or tag
        if _now() - self._since > LEASE_S:
            return "dead"
        return "held" if tag == self._first else "alive"


def wait_for(path: ObjectPath, what: str, tell: Callable[[str], None]) -> None:
    """Wait until nobody holds a lease, without taking it; one of a dead holder is released.

    Args:
        path: The object.
        what: Who is held, for the message.
        tell: Told once whom this process waits for.
    """
    watch, told = _Watch(path), False
    while (state := watch.look()) != "free":
        if state == "dead":
            _release(path, watch.tag)
            continue
        if not told:
            told = True
            tell(f"{what} by {watch.holder}; waiting for it.")
        time.sleep(_LOOK_S)


def is_held(path: ObjectPath, *, release: bool = False) -> bool:
    """Whether a living process holds a lease: it is watched until that is known, for a dead one ``LEASE_S``.

    Args:
        path: The object.
        release: Whether to release that of a dead one. Should it come back (its machine slept), it finds that out.
    """
    watch = _Watch(path)
    while True:
        match watch.look():
            case "free":
                return False
            case "alive":
                return True
            case "dead":
                if not release:
                    return False
                _release(path, watch.tag)
                continue
        time.sleep(_LOOK_S)


def _release(path: ObjectPath, tag: str) -> None:
    """Release the lease of a dead holder, unless that has renewed it after all."""
    with suppress(ConditionError):
        path.write_bytes(b"{}", replaces=tag)


def require_conditions(root: Root) -> None:
    """Check that a store can be written, and that it honours conditional writes.

    Raises:
        StorageError: It cannot, or it ignores them.
    """
    if isinstance(root, Path):
        return
    probe = root / RUNS_FOLDER / f"{PROBE_PREFIX}{secrets.token_hex(8)}"
    probe.write_bytes(b"{}")
    try:
        _require_create(probe)
    finally:
        probe.unlink()


def _require_create(path: ObjectPath) -> None:
    """Ask for what must fail: a store that ignores conditions would give one run to two machines."""
    try:
        path.write_bytes(b"{}", create=True)
    except ConditionError:
        return
    raise StorageError(
        f"The store of {path} ignores If-None-Match: two machines could work on one run.",
        safe="Nothing was started.",
        next_step="Use a store that honours conditional writes, as AWS S3 does.",
    )


def _read_holder(content: bytes) -> dict[str, object]:
    """Who holds a lease; nobody where it was released. What cannot be read is held, until it is seen not to change."""
    try:
        holder = json.loads(content)
    except ValueError:
        return {"host": "?", "pid": "?"}
    return holder if isinstance(holder, dict) else {"host": "?", "pid": "?"}


def _now() -> float:
    """Seconds of a clock of this machine that nobody sets, and that goes on while it sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


@contextmanager
def leased(path: ObjectPath, what: str, tell: Callable[[str], None]) -> Iterator[Lease]:
    """Hold the lease ``path``, after waiting for who holds it now.

    Raises:
        StorageError: The store does not answer, or ignores conditional writes.
    """
    lease = Lease(path, what, tell)
    try:
        yield lease
    finally:
        lease.release()
