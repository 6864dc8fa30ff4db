"""The gateways of this process: one for the settings of a run, shared by its threads, closed at its end."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterable

from models.base import digest
from models.settings import FactorySettings
from storage.call_cache import CallCache
from storage.roots import data_root, machine_dir
from storage.shared_calls import open_call_cache
from tasks.llm.gateway import Gateway, closed_error

_open: dict[str, tuple[Gateway, CallCache]] = {}
_open_lock = threading.Lock()
_open_pid = os.getpid()
_refusing = False


def open_gateway(settings: FactorySettings) -> Gateway:
    """The gateway of this process for these settings, made at the first call and shared by all threads.

    Settings that differ only in what no call depends on (batch size, ...) share one; a run of another name pays from
    a budget of its own.

    Raises:
        FactoryError: The run was stopped (``close_gateway``).
    """
    global _open_pid
    with _open_lock:
        if _refusing:
            raise closed_error()
        if _open_pid != os.getpid():
            # threads do not survive a fork: what was inherited belongs to the parent
            _open.clear()
            _open_pid = os.getpid()
        parts = settings.model_dump(mode="json", include={"endpoints", "roles", "seed", "run", "budget", "runner"})
        key = digest([str(machine_dir(settings.data).resolve()), parts])
        if key not in _open:
            cache = open_call_cache(data_root(settings.data))
            _open[key] = Gateway(settings, cache), cache
        return _open[key][0]


def admit_calls() -> None:
    """After a run that was stopped, another may begin in this process."""
    global _refusing
    with _open_lock:
        _refusing = False


def close_gateway(*, stopped: bool = False) -> None:
    """Closes what ``open_gateway`` opened in this process; runs at exit by itself.

    Args:
        stopped: Batches that are still at work find none from now on, so that they end.
    """
    global _refusing
    with _open_lock:
        _refusing = _refusing or stopped
        opened = list(_open.values()) if _open_pid == os.getpid() else []
        _open.clear()
    _close(opened)


def close_gateways_of(settings: FactorySettings) -> None:
    """Closes those of one run, in a worker process that goes on for others."""
    owner = settings.data, settings.run
    with _open_lock:
        keys = [key for key, (gateway, _) in _open.items() if gateway.owner == owner]
        opened = [_open.pop(key) for key in keys]
    _close(opened)


def _close(opened: Iterable[tuple[Gateway, CallCache]]) -> None:
    for gateway, cache in opened:
        gateway.close()
        cache.close()


atexit.register(close_gateway)
