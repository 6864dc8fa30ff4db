"""Stopping a command: a Ctrl-C, a SIGTERM or a closed terminal ends it within seconds, with one message."""

from __future__ import annotations

import functools
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


class TerminatedError(KeyboardInterrupt):
    """A signal other than Ctrl-C's came: what that ends, ends by this too.

    Attributes:
        signal: Its number.
    """

    def __init__(self, number: int) -> None:
        self.signal = number


def _terminate(number: int, _frame: FrameType | None) -> None:
    raise TerminatedError(number)


def _start_temporary_server() -> None:
    """Start Prefect's temporary server, where there is no other, in a process group of its own.

    A terminal and ``timeout`` send a signal to the whole group of a command, and a run whose server is gone first
    waits for it for minutes. Prefect has no option for that.
    """
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url or not settings.server.ephemeral.enabled:
        return
    popen = subprocess.Popen
    subprocess.Popen = functools.partial(popen, start_new_session=True)  # type: ignore[assignment,misc]
    try:
        with suppress(RuntimeError):  # the flow tries again, and then its error is shown
            SubprocessASGIServer().start()
    finally:
        subprocess.Popen = popen  # type: ignore[misc]


@contextmanager
def stoppable() -> Iterator[None]:
    """Around the flow that a command runs.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        TerminatedError: SIGTERM, or SIGHUP where ``nohup`` has not switched it off.
    """
    heard = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, before in heard.items():
        if before is not signal.SIG_IGN:
            signal.signal(number, _terminate)
    try:
        _start_temporary_server()
        yield
    finally:
        for number, before in heard.items():
            signal.signal(number, before)
