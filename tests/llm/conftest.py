from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tenacity import wait_none

from models.endpoints import Endpoint, Role, Roles
from models.settings import FactorySettings
from storage.call_cache import CallCache
from tasks.llm import endpoint
from tasks.llm.gateway import Gateway
from tests.scripted_server import Script, ScriptedServer

Opener = Callable[..., Gateway]
Server = Callable[..., ScriptedServer]


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "BACKOFF", wait_none())


@pytest.fixture
def serve() -> Iterator[Server]:
    servers: list[ScriptedServer] = []

    def start(**script: Any) -> ScriptedServer:
        servers.append(ScriptedServer(Script(**script)).__enter__())
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__(None, None, None)


@pytest.fixture
def open_to(tmp_path: Path) -> Iterator[Opener]:
    """Opens a gateway to an address; all of a test share one cache file."""
    gateways: list[Gateway] = []

    def start(base_url: str | list[str], *, max_tokens: int = 256, seed: int = 0, **fields: Any) -> Gateway:
        settings = settings_to(base_url, tmp_path, max_tokens=max_tokens, seed=seed, **fields)
        gateways.append(Gateway(settings, CallCache(tmp_path / "calls.sqlite")))
        return gateways[-1]

    yield start
    for gateway in gateways:
        gateway.close()


def settings_to(
    base_url: str | list[str], data: Path, *, max_tokens: int = 256, seed: int = 0, **fields: Any
) -> FactorySettings:
    fields = {"base_url": base_url, "model": "scripted", "max_concurrency": 8, "max_tries": 4, **fields}
    return FactorySettings(
        data=str(data),
        seed=seed,
        endpoints={"scripted": Endpoint(**fields)},
        roles=Roles(policy=Role(endpoint="scripted", max_tokens=max_tokens)),
    )
