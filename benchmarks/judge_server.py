"""A judge with a fixed latency and so many slots, lean enough not to be what is measured.

    python -m benchmarks.judge_server --latency 1 --slots 64 --faults 0.05

prints its port, answers every POST with the same valid verdicts, and GET with its record: first arrival, last answer,
answers, refusals, busiest. About 0.1 ms of CPU a call; ``tests/scripted_server.py`` takes ten times as much.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import time
from collections import deque
from typing import cast

import uvloop

CONSTRAINTS = 3
"""Every request asks for verdicts on c1, c2 and c3."""

_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_VERDICTS = [
    {"id": f"c{number}", "reason": "The response says so in its first sentence.", "verdict": verdict}
    for number, verdict in enumerate(("followed", "violated", "followed"), start=1)
]
_ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "judge",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": json.dumps({"verdicts": _VERDICTS})},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 600, "completion_tokens": 80, "total_tokens": 680},
}


def _reply(status: str, body: object, headers: str = "") -> bytes:
    text = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n{headers}\r\n"
    return head.encode() + text


_OK = _reply("200 OK", _ANSWER)
_LIMIT = _reply("429 Too Many Requests", {"error": {"message": "Rate limit reached."}}, "Retry-After: 1\r\n")
_BROKEN = _reply("500 Internal Server Error", {"error": {"message": "Internal error."}})


class Judge:
    """The slots and the record.

    Args:
        latency: Seconds of an answer.
        slots: Answers that are being made at a time; other requests wait.
        faults: Share of requests refused: half of them 429 at once (``Retry-After: 1``), half 500 after the latency.
    """

    def __init__(self, latency: float, slots: int, faults: float) -> None:
        self._latency, self._free, self._faults = latency, slots, faults
        self._slots = slots
        self._waiting: deque[Connection] = deque()
        self._random = random.Random(0)
        self._loop = asyncio.get_running_loop()
        self.first = self.last = 0.0
        self.answers = self.refusals = self.busiest = 0

    def take(self, connection: Connection) -> None:
        """A request has arrived."""
        self.first = self.first or time.monotonic()
        chance = self._random.random()
        if chance < self._faults / 2:
            self.refusals += 1
            connection.send(_LIMIT)
            return
        connection.reply = _BROKEN if chance < self._faults else _OK
        if self._free:
            self._begin(connection)
        else:
            self._waiting.append(connection)

    def record(self) -> bytes:
        """What was counted."""
        values = {name: getattr(self, name) for name in ("first", "last", "answers", "refusals", "busiest")}
        return _reply("200 OK", values)

    def _begin(self, connection: Connection) -> None:
        self._free -= 1
        self.busiest = max(self.busiest, self._slots - self._free)
        self._loop.call_later(self._latency, self._end, connection)

    def _end(self, connection: Connection) -> None:
        self._free += 1
        self.last = time.monotonic()
        if connection.reply is _OK:
            self.answers += 1
        else:
            self.refusals += 1
        connection.send(connection.reply)
        if self._waiting:
            self._begin(self._waiting.popleft())


class Connection(asyncio.Protocol):
    """One connection: requests one after the other, as an HTTP client without pipelining sends them."""

    def __init__(self, judge: Judge) -> None:
        self._judge, self._received, self.reply = judge, b"", _OK
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connects."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass

    def data_received(self, data: bytes) -> None:
        """A piece of a request."""
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        length = _LENGTH.search(head)
        if len(body) < (int(length[1]) if length else 0):
            return
        self._received = b""
        if head.startswith(b"POST"):
            self._judge.take(self)
        else:
            self.send(self._judge.record())

    def send(self, reply: bytes) -> None:
        """Answer the request."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(reply)


async def serve(latency: float, slots: int, faults: float) -> None:
    """Listen on a free port and print it."""
    judge = Judge(latency, slots, faults)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(judge), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, default=1.0, help="seconds of an answer")
    parser.add_argument("--slots", type=int, default=64, help="answers at a time")
    parser.add_argument("--faults", type=float, default=0.0, help="share of requests refused, half 429, half 500")
    given = parser.parse_args()
    uvloop.run(serve(given.latency, given.slots, given.faults))


if __name__ == "__main__":
    main()
