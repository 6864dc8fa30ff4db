"""The web server of ``rpo browse``: the page, the pairs of one run, and flags. All else is read-only."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import duckdb
import uvicorn
from pydantic import Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from flows.browse.guard import LOOPBACK, Guard
from models.base import Strict
from models.errors import FactoryError, SettingsError
from models.summary import NOISE_CASES
from storage.browse import PairFilters, PairIndex, read_pair
from storage.flags import flag_now, read_flag, read_flags, remove_flag, write_flag
from storage.manifests import Manifest
from storage.parts import PartStore

STATIC: Final = Path(__file__).parent / "static"
_MAX_BODY: Final = 64 * 1024
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class PairRequest(PairFilters):
    """Which pair to show: one of these, or the first that matches."""

    number: int | None = Field(default=None, ge=1, description="Its number among those that match, from 1.")
    after: int | None = Field(default=None, ge=0, description="The place that it is to follow.")
    before: int | None = Field(default=None, ge=0, description="The place that it is to precede.")
    pair: str | None = Field(default=None, max_length=1000, description="Its id, whether it matches or not.")


class FlagRequest(Strict):
    """A flag to put on a pair, or to take off."""

    pair_id: str = Field(min_length=1, max_length=1000)
    flagged: bool
    note: str | None = Field(default=None, max_length=2000, description="null: that of the flag that is there.")


class Browser:
    """What the page asks for.

    Args:
        store: The parts.
        manifest: The run.
        index: Its pairs.
    """

    def __init__(self, store: PartStore, manifest: Manifest, index: PairIndex) -> None:
        self._store, self._manifest, self._index = store, manifest, index

    def run(self, _: Request) -> dict[str, Any]:
        """The run and what its pairs can be filtered by."""
        choices = self._index.choices()
        for choice in choices.get("case", []):
            choice["label"] = f"{choice['value']}: {NOISE_CASES[int(choice['value'])]}"
        return {"run": self._manifest.run, "choices": choices}

    def pair(self, request: Request) -> dict[str, Any]:
        """The pair that is asked for, its number and how many match."""
        asked = PairRequest.model_validate(dict(request.query_params))
        filters = PairFilters.model_validate(asked.model_dump(include=set(PairFilters.model_fields)))
        flagged = read_flags(self._store.place) if filters.flagged else ()
        matches = self._index.find(filters, flagged)
        if asked.pair is not None:
            place = self._index.place_of(asked.pair)
        elif asked.after is not None:
            place = matches.after(asked.after)
        elif asked.before is not None:
            place = matches.before(asked.before)
        else:
            place = matches.at(asked.number or 1)
        found: dict[str, Any] = {"total": len(matches.places), "number": None, "pair": None, "flag": None}
        if place is None:
            return found
        pair = read_pair(self._index, self._store, self._manifest.run, place)
        flag = read_flag(self._store.place, pair.pair_id)
        return found | {
            "number": matches.number(place),
            "pair": pair.model_dump(mode="json"),
            "flag": flag and flag.model_dump(mode="json"),
        }

    def flag(self, body: bytes) -> dict[str, Any]:
        """Put a flag on a pair of the run, or take it off."""
        asked = FlagRequest.model_validate_json(body)
        if self._index.place_of(asked.pair_id) is None:
            raise HTTPException(404, "There is no such pair in this run.")
        if not asked.flagged:
            remove_flag(self._store.place, asked.pair_id)
            return {"flag": None}
        note = asked.note
        if note is None:  # who flags has perhaps not seen that somebody did already, and why
            there = read_flag(self._store.place, asked.pair_id)
            note = there.note if there else ""
        flag = flag_now(asked.pair_id, self._manifest.run, note)
        write_flag(self._store.place, flag)
        return {"flag": flag.model_dump(mode="json")}


def make_app(browser: Browser, port: int) -> Starlette:
    """The application; ``port`` is the one that it is served on."""

    def ask(answer: Callable[[Request], dict[str, Any]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            return JSONResponse(await run_in_threadpool(answer, request))

        return endpoint

    async def flag(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            raise HTTPException(415, "A flag is sent as application/json.")
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_BODY:
                raise HTTPException(413, "A flag is smaller than this.")
        return JSONResponse(await run_in_threadpool(browser.flag, body))

    async def page(_: Request) -> Response:
        return FileResponse(STATIC / "index.html", media_type="text/html; charset=utf-8")

    files = {file.name: file for file in STATIC.iterdir() if file.suffix in _TYPES}

    async def asset(request: Request) -> Response:
        file = files.get(request.path_params["name"])
        if file is None:
            raise HTTPException(404, "There is no such file.")
        return FileResponse(file, media_type=_TYPES[file.suffix])

    return Starlette(
        routes=[
            Route("/", page),
            Route("/assets/{name}", asset),
            Route("/api/run", ask(browser.run)),
            Route("/api/pair", ask(browser.pair)),
            Route("/api/flag", flag, methods=["POST"]),
        ],
        middleware=[Middleware(Guard, port=port)],
        exception_handlers={
            FactoryError: _show_error,
            ValidationError: _show_invalid,
            duckdb.Error: _show_damage,
            HTTPException: _show_refused,
            ClientDisconnect: _say_nothing,
        },
    )


def _refuse(status: int, what: str, safe: str = "", next_step: str = "") -> Response:
    return JSONResponse({"what": what, "safe": safe, "next_step": next_step}, status)


async def _show_error(_: Request, error: Any) -> Response:
    return _refuse(500, error.what, error.safe, error.next_step)


async def _show_damage(_: Request, error: Any) -> Response:
    return _refuse(500, f"DuckDB refuses: {error}.", "Nothing was changed.", "Type: rpo doctor --store")


async def _show_invalid(_: Request, error: Any) -> Response:
    first = error.errors(include_url=False, include_input=False)[0]
    return _refuse(400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}.", next_step="Reset the filters.")


async def _show_refused(_: Request, error: Any) -> Response:
    return _refuse(error.status_code, error.detail)


async def _say_nothing(_: Request, __: Any) -> Response:
    return Response(status_code=400)  # nobody reads it


def listen(port: int) -> socket.socket:
    """A socket on this machine's loopback address.

    Args:
        port: The port; 0: any that is free.

    Raises:
        SettingsError: It is taken.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((LOOPBACK, port))
        # before the page is opened: from here on it is answered
        listening.listen(128)
    except (OSError, OverflowError) as error:
        listening.close()
        raise SettingsError(
            f"Port {port} cannot be listened on: {str(error).rstrip('.')}.",
            next_step="Give another one: --port 0 takes any that is free.",
        ) from error
    return listening


def serve(app: Starlette, listening: socket.socket) -> None:
    """Serve until the process is told to stop."""
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="off")
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])
