"""A model server whose answers a test writes: a function from the wanted schema's name and the prompt to a text."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from models.loading import validate_settings
from models.settings import FactorySettings
from tasks.llm.gateway import close_gateway

Reply = Callable[[str, str], str]
"""Answers a schema's name and the last message of a chat."""


@dataclass
class AnsweringServer:
    """The server and what it was asked."""

    reply: Reply
    asked: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    async def chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        name, prompt = body["response_format"]["json_schema"]["name"], body["messages"][-1]["content"]
        self.asked.append((name, prompt))
        choice = {"message": {"role": "assistant", "content": self.reply(name, prompt)}, "finish_reason": "stop"}
        return web.json_response({"choices": [{"index": index} | choice for index in range(body.get("n") or 1)]})

    async def listen(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.chat)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        return runner

    def settings(self, data: Path, **update: Any) -> FactorySettings:
        """Settings with an author on this server."""
        return validate_settings(
            {
                "data": str(data),
                "endpoints": {"a": {"model": "pen", "base_url": f"http://127.0.0.1:{self.port}/v1", "max_tries": 1}},
                "roles": {name: {"endpoint": "a", "max_tokens": 4096} for name in ("author", "judge", "policy")},
                **update,
            }
        )


Start = Callable[[Reply], AnsweringServer]


@contextmanager
def answering() -> Iterator[Start]:
    """Starts servers, and stops them and the gateways to them at the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runners: list[web.AppRunner] = []

    def start(reply: Reply) -> AnsweringServer:
        server = AnsweringServer(reply)
        runners.append(asyncio.run_coroutine_threadsafe(server.listen(), loop).result(20))
        return server

    try:
        yield start
    finally:
        close_gateway()
        for runner in runners:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
