"""A scripted model server for the stages that ask one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tenacity import wait_none

from tasks.llm import endpoint
from tasks.llm.gateways import close_gateway
from tests.scripted_server import Script, ScriptedServer
from tests.tasks.answering import Start, answering

Serve = Callable[..., ScriptedServer]


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "BACKOFF", wait_none())


@pytest.fixture
def answer_with() -> Iterator[Start]:
    with answering() as start:
        yield start


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts scripted servers, and stops them and the gateways to them at the end."""
    servers: list[ScriptedServer] = []

    def start(**script: Any) -> ScriptedServer:
        servers.append(ScriptedServer(Script(**script)).__enter__())
        return servers[-1]

    yield start
    close_gateway()
    for server in servers:
        server.__exit__(None, None, None)
