"""What `rpo doctor` checks, and what to do about it."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx

from flows.services import server_url
from models.base import Strict
from models.endpoints import Endpoint
from models.errors import FactoryError
from models.records import PersonaSeed, RoleSeed
from models.settings import FactorySettings
from storage.leases import require_conditions
from storage.roots import data_root, machine_dir
from tasks.llm.engines import find_model, lora_file, require_package
from tasks.seeds import read_seeds, seed_path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("flows", "tasks", "storage", "models")
MIN_FREE_GIB = 1.0


class Finding(Strict):
    """One thing that was looked at."""

    ok: bool
    what: str
    fix: str = ""


def check_all(settings: FactorySettings) -> list[Finding]:
    """Look at everything that a run with these settings needs."""
    return [
        *_check_environment(),
        *_check_seeds(settings),
        *_check_data(settings.data),
        _check_prefect(),
        *(finding for name, endpoint in settings.endpoints.items() for finding in _check_endpoint(name, endpoint)),
    ]


def _check_environment() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding(
        ok=sys.version_info >= (3, 11),
        what=f"Python {version}",
        fix="" if sys.version_info >= (3, 11) else "Use 3.11 or newer.",
    )
    for name in ("prefect", "fastapi", "duckdb", "pyarrow", "aiohttp", "pydantic"):
        try:
            yield Finding(ok=True, what=f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            yield Finding(ok=False, what=f"{name} is not installed", fix="make install")
    others = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
    for room in ROOMS:
        spec = importlib.machinery.PathFinder.find_spec(room, others)
        if spec is not None:
            place = spec.origin or next(iter(spec.submodule_search_locations or []), "?")
            yield Finding(
                ok=False,
                what=f"a package named {room!r} would shadow ours: {place}",
                fix="Use an environment of its own for the factory: make install",
            )


def _check_seeds(settings: FactorySettings) -> Iterator[Finding]:
    for path, model in ((settings.seeds.roles, RoleSeed), (settings.seeds.personas, PersonaSeed)):
        try:
            count = len(read_seeds(seed_path(path), model, list(settings.seeds.languages)))  # type: ignore[type-var]
            yield Finding(ok=True, what=f"{path}: {count} seeds")
        except FactoryError as error:
            yield Finding(ok=False, what=error.what, fix=error.next_step)


def _check_data(data: str) -> Iterator[Finding]:
    """The disk of the data, or the store and the disk of what stays on this machine."""
    if "://" in data:
        try:
            require_conditions(data_root(data))
            yield Finding(ok=True, what=f"{data}: can be written, and honours conditional writes")
        except FactoryError as error:
            yield Finding(ok=False, what=error.what, fix=error.next_step)
            return
    yield _check_disk(machine_dir(data))


def _check_disk(data: Path) -> Finding:
    there = next(folder for folder in (data.absolute(), *data.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return Finding(
            ok=False, what=f"{data} cannot be written: {error.strerror}", fix="Choose another folder: --data"
        )
    free = shutil.disk_usage(there).free / 2**30
    enough = free >= MIN_FREE_GIB
    return Finding(
        ok=enough,
        what=f"{data}: {free:.1f} GiB free",
        fix="" if enough else "Make room, or --data elsewhere.",
    )


def _check_prefect() -> Finding:
    address = os.environ.get("PREFECT_API_URL") or server_url()
    if not address:
        return Finding(ok=True, what="Prefect: no server is up (`rpo up`); a run starts a temporary one (10-20 s)")
    try:
        httpx.get(f"{address.rstrip('/')}/health", timeout=5).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Finding(
            ok=False,
            what=f"Prefect server {address} does not answer: {error}",
            fix="Start it, or unset PREFECT_API_URL; `rpo up` starts one on this machine.",
        )
    return Finding(ok=True, what=f"Prefect server {address}")


def _check_endpoint(name: str, endpoint: Endpoint) -> Iterator[Finding]:
    if endpoint.serve is not None:
        yield _check_served(name, endpoint)
        return
    headers = {}
    if endpoint.api_key_env:
        key = os.environ.get(endpoint.api_key_env)
        if not key:
            yield Finding(
                ok=False,
                what=f"endpoint {name}: the environment variable {endpoint.api_key_env} is not set",
                fix=f"export {endpoint.api_key_env}=...",
            )
            return
        headers["Authorization"] = f"Bearer {key}"
    for url in endpoint.base_urls:
        yield _check_address(name, endpoint, url, headers)


def _check_address(name: str, endpoint: Endpoint, url: str, headers: dict[str, str]) -> Finding:
    address = f"{url.rstrip('/')}/models"
    try:
        reply = httpx.get(address, headers=headers, timeout=10)
        reply.raise_for_status()
        models = [str(item["id"]) for item in reply.json()["data"]]
    except httpx.HTTPStatusError as error:
        code = error.response.status_code
        fix = f"Check the key in {endpoint.api_key_env}." if code in (401, 403) else "Check base_url: it ends in /v1."
        return Finding(ok=False, what=f"endpoint {name}: {address} answers {code}", fix=fix)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        what = f"endpoint {name}: {address} does not answer as a model server ({type(error).__name__})"
        return Finding(ok=False, what=what, fix="Start the server, or mend base_url.")
    known = endpoint.model in models
    return Finding(
        ok=known,
        what=f"endpoint {name}: {address}" + ("" if known else f" has no model {endpoint.model!r}"),
        fix="" if known else f"It has: {', '.join(models[:10])}",
    )


def _check_served(name: str, endpoint: Endpoint) -> Finding:
    assert endpoint.serve is not None  # noqa: S101  (narrows the type)
    serve = endpoint.serve
    try:
        model, lora = find_model(serve, name, endpoint.model), lora_file(serve, name)
        require_package(serve, name)
    except FactoryError as error:
        return Finding(ok=False, what=f"endpoint {name}: {error.what}", fix=error.next_step)
    shown = model.name if isinstance(model, Path) else model
    return Finding(ok=True, what=f"endpoint {name}: {serve.engine} with {shown}" + (f" and {lora}" if lora else ""))
