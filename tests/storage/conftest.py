"""An S3 store for the tests of what rests in one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import leases
from storage.objects import ObjectPath
from storage.roots import data_root
from tests.s3_store import BUCKET, Store, environment, start_store


@pytest.fixture(scope="session")
def server() -> Iterator[Store]:
    with start_store() as store:
        yield store


@pytest.fixture
def s3_root(server: Store, tmp_path: Path) -> Iterator[ObjectPath]:
    """A prefix of its own; what stays on this machine is in ``tmp_path``."""
    with environment({**server.env, "XDG_CACHE_HOME": str(tmp_path / "cache")}):
        found = data_root(f"s3://{BUCKET}/{secrets.token_hex(4)}/data")
        assert isinstance(found, ObjectPath)
        yield found


@pytest.fixture
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("LEASE_S", 1.5), ("_RENEW_S", 0.3), ("_LOOK_S", 0.1)):
        monkeypatch.setattr(leases, name, seconds)
