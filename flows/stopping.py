"""Stopping a command: a Ctrl-C, a SIGTERM or a closed terminal ends it within seconds, with one message."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from models.errors import PrefectServerError

_TEMPORARY_SERVER = Path(__file__).with_name("temporary_server.py")


class TerminatedError(KeyboardInterrupt):
    """A signal other than Ctrl-C's came: what that ends, ends by this too.

    Attributes:
        signal: Its number.
    """

    def __init__(self, number: int) -> None:
        self.signal = number


def _terminate(number: int, _frame: FrameType | None) -> None:
    raise TerminatedError(number)


def _find_server() -> None:
    """Start Prefect's temporary server, where no other is named, in a process group of its own.

    A terminal and ``timeout`` send a signal to the whole group of a command, and a run whose server is gone first
    waits for it for minutes. A command that is killed stops nothing: its server watches for that. Prefect has no option
    for either.

    Raises:
        PrefectServerError: Nothing listens at the address that is named.
    """
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url:
        with get_client(sync_client=True) as client:
            # one that is only slow is waited for, by whatever asks it
            if isinstance(client.api_healthcheck(), httpx.ConnectError):
                raise no_answer(settings.api.url)
        return
    if not settings.server.ephemeral.enabled:
        return
    from prefect.server.api.server import SubprocessASGIServer

    popen = subprocess.Popen

    def start(args: list[str], **options: Any) -> subprocess.Popen[bytes]:
        # python -m uvicorn ...
        return popen([args[0], str(_TEMPORARY_SERVER), *args[3:]], start_new_session=True, **options)

    subprocess.Popen = start  # type: ignore[assignment,misc]
    try:
        with suppress(RuntimeError):  # the flow tries again, and then its error is shown
            SubprocessASGIServer().start()
    finally:
        subprocess.Popen = popen  # type: ignore[misc]


def no_answer(api: str) -> PrefectServerError:
    """The server that a person has named is not there."""
    return PrefectServerError(
        f"The Prefect server {api} does not answer, which PREFECT_API_URL names.",
        safe="Nothing was started.",
        next_step="Start it; or unset PREFECT_API_URL (`prefect config view` shows where it is set), and `rpo up` "
        "starts one.",
    )


@contextmanager
def stoppable() -> Iterator[None]:
    """Around the flow that a command runs.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        PrefectServerError: There is no server where one should be.
        TerminatedError: SIGTERM, or SIGHUP where ``nohup`` has not switched it off.
    """
    heard = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, before in heard.items():
        if before is not signal.SIG_IGN:
            signal.signal(number, _terminate)
    try:
        _find_server()
        yield
    finally:
        for number, before in heard.items():
            signal.signal(number, before)
