"""What a command writes, where its reader leaves early (``| head``) or the disk is full."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console


class PipedConsole(Console):
    """Leaves it to ``delivered`` what a reader that is gone means: Rich alone ends with exit code 1."""

    def on_broken_pipe(self) -> None:
        """The reader is gone."""
        raise BrokenPipeError


@contextmanager
def delivered() -> Iterator[None]:
    """Around a command: all that it has written is delivered, or the exit code says that it is not.

    A reader that is gone ends it silently, with the code of SIGPIPE, as it ends ``cat``. The signal itself would end a
    run as soon as a model server closes a connection.
    """
    ended: BaseException | None = None
    try:
        yield
    except (OSError, SystemExit) as error:
        ended = error
    # None: it was closed before the command began
    streams = [stream for stream in (sys.stdout, sys.stderr) if stream is not None]
    is_gone = any(map(_reader_is_gone, streams))
    lost = [problem for stream in streams if (problem := _flush(stream))]
    if is_gone and (lost or isinstance(ended, BrokenPipeError)):
        sys.exit(128 + signal.SIGPIPE)
    if lost:
        print(f"error: The output could not be written: {lost[0].strerror}.", file=sys.stderr)
        sys.exit(1)
    if ended is not None:
        raise ended


def _reader_is_gone(stream: TextIO) -> bool:
    """A broken pipe may also be one to a model server: only that of the output is meant."""
    poll = select.poll()
    poll.register(stream.fileno(), 0)  # an error is told unasked
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _flush(stream: TextIO) -> OSError | None:
    """Why what was written does not arrive; it is then given up, or Python would try again as it ends."""
    try:
        stream.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return error
    return None
