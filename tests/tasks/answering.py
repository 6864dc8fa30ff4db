"""A model server whose answers a test writes: a function from what is wanted and the prompt to a text."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from models.loading import validate_settings
from models.settings import FactorySettings
from tasks.llm.gateways import close_gateway

Reply = Callable[[str, str], str | Sequence[str] | None]
"""Answers a schema's name (for free text, the model's) and the last message of a chat; a text, or one for each of the
samples that are asked for; None: the server fails."""


@dataclass
class AnsweringServer:
    """The server and what it was asked."""

    reply: Reply
    asked: list[tuple[str, str]] = field(default_factory=list)
    chats: list[list[dict[str, str]]] = field(default_factory=list)
    port: int = 0

    async def chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        wanted = body.get("response_format")
        name = wanted["json_schema"]["name"] if wanted else body["model"]
        prompt, count = body["messages"][-1]["content"], body.get("n") or 1
        self.asked.append((name, prompt))
        self.chats.append(body["messages"])
        said = self.reply(name, prompt)
        if said is None:
            return web.json_response({"error": {"message": "no"}}, status=500)
        texts = [said] * count if isinstance(said, str) else said[:count]
        choices = [
            {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            for index, text in enumerate(texts)
        ]
        return web.json_response({"choices": choices})

    def prompts(self, name: str) -> list[str]:
        """What was asked under a name."""
        return [prompt for asked, prompt in self.asked if asked == name]

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
