"""An OpenAI-compatible server that answers from a hash; ``rpo scripted-server`` starts it.

The same body gets the same answer, always and everywhere. It can misbehave on request, and it counts what it is asked
and what it did wrong, so that a test can say how often a call was made. A request with a JSON schema gets an object of
that schema; so does one for a JSON object or for text whose prompt ends in a schema. Nothing is kept on disk.
"""

import asyncio
import hashlib
import json
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

from aiohttp import web

from tests.scripted_answers import write_answer
from tests.scripted_chat import Chat, split_tokens
from tests.scripted_faults import Fault, draw_fault, error_response, is_answered, refuse, spoil_answer, spoil_body
from tests.scripted_sense import write_prose

Format = Literal["json_schema", "json_object"]
MAX_BODY = 64 * 1024 * 1024


@dataclass
class Script:
    """How the server behaves.

    Attributes:
        models: Names that it knows; empty: all.
        key: The key that it wants; empty: none.
        context: Tokens of a chat that it takes; 0: any number.
        latency_s: Seconds before an answer.
        slow_s: Seconds more that the fault ``slow`` takes.
        retry_after: Value of the header of ``rate_limit`` and ``unavailable``; empty: no header.
        faults: Share of each fault in all attempts, decided by a hash of body and attempt.
        first: Faults of the first requests, in order; ``ok`` is none.
        faulty_attempts: Attempts of one body that can be faulty; later ones are answered.
        refused: Response formats that it answers 400.
        refusal: What it says then.
        texts: What it says instead of its own text, in order; when they are used up, its own.
    """

    models: tuple[str, ...] = ()
    key: str = ""
    context: int = 0
    latency_s: float = 0.0
    slow_s: float = 5.0
    retry_after: str = "1"
    faults: Mapping[Fault, float] = field(default_factory=dict)
    first: tuple[Fault | Literal["ok"], ...] = ()
    faulty_attempts: int = 1_000_000
    refused: tuple[Format, ...] = ()
    refusal: str = "This response_format type is unavailable."
    texts: tuple[str, ...] = ()


class ScriptedServer:
    """The server, in a thread of this process while it is entered."""

    def __init__(self, script: Script | None = None, *, port: int = 0) -> None:
        self.script, self.port = script or Script(), port
        self.attempts: Counter[str] = Counter()
        self.completed: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.arrivals: list[float] = []
        self.in_flight = self.peak = self.requests = self.given_up = 0
        self.bodies: deque[dict[str, Any]] = deque(maxlen=1000)
        self._first, self._texts = deque(self.script.first), deque(self.script.texts)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="scripted-server", daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(20):
            raise RuntimeError("the scripted server did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def start(self) -> web.AppRunner:
        """Listens; the port is known afterwards."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/counts", self._counts)
        app.router.add_get("/health", self._health)
        # cancelled where the client goes away: what it does not wait for is no completed call
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, backlog=1024).start()
        self.port = runner.addresses[0][1]
        return runner

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = self._loop.run_until_complete(self.start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": m, "object": "model"} for m in self.script.models]})

    async def _counts(self, _: web.Request) -> web.Response:
        return web.json_response(self.count())

    def count(self) -> dict[str, Any]:
        """What was asked, answered and done wrong so far."""
        return {
            "requests": self.requests,
            "peak": self.peak,
            "attempts": self.attempts,
            "completed_calls": self.completed,
            "faults": self.faults,
            "given_up": self.given_up,
        }

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        self.requests += 1
        self.arrivals.append(time.monotonic())
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            return await self._answer(request, raw)
        finally:
            self.in_flight -= 1

    async def _answer(self, request: web.Request, raw: bytes) -> web.StreamResponse:
        script, sent = self.script, request.headers.get("Authorization", "")
        if script.key and sent != f"Bearer {script.key}":
            # repeats the key, as some servers do: a client must not pass that on
            return error_response(401, f"Incorrect API key provided: {sent.removeprefix('Bearer ')}", "invalid_api_key")
        try:
            body = json.loads(raw)
            chat, n = Chat(body["messages"]), int(body.get("n") or 1)
            asked = body.get("response_format") or {}
            schema = asked["json_schema"]["schema"] if asked.get("type") == "json_schema" else chat.schema
        except (ValueError, KeyError, TypeError, AttributeError):
            return error_response(400, "the body is not a chat request", "invalid_request_error")
        if (refusal := self._turn_away(body.get("model"), asked.get("type"), chat)) is not None:
            return refusal
        self.bodies.append(body)
        # the answer depends on the body, and n only says how many
        stem = json.dumps({k: v for k, v in body.items() if k not in ("n", "seed")}, sort_keys=True)
        stem += str(body.get("seed"))
        call = hashlib.sha256(f"{stem} {n}".encode("utf-8", "surrogatepass")).hexdigest()
        self.attempts[call] += 1
        fault = self._next_fault(call)
        await self._wait(fault)
        if fault == "drop" and request.transport is not None:
            request.transport.close()
        if (refusal := refuse(fault, script.retry_after)) is not None:
            self.faults[fault] += 1
            return refusal
        texts = [self._write(random.Random(f"{stem}{i}"), schema, chat, fault) for i in range(n)]
        answer = _completion(str(body.get("model")), texts, chat, int(body.get("max_tokens") or 10_000))
        if spoil_body(answer, fault):
            self.faults[fault] += 1
        if is_answered(fault):
            self.completed[call] += 1
        return web.json_response(answer)

    def _turn_away(self, model: object, asked: object, chat: Chat) -> web.Response | None:
        """What no attempt would change."""
        script = self.script
        if script.models and model not in script.models:
            return error_response(404, f"The model `{model}` does not exist.", "model_not_found")
        if script.context and (tokens := chat.count_tokens()) > script.context:
            said = f"This model's maximum context length is {script.context} tokens, the messages have {tokens}."
            return error_response(400, said, "context_length_exceeded")
        if asked in script.refused:
            return error_response(400, script.refusal, "invalid_request_error")
        return None

    async def _wait(self, fault: str) -> None:
        """The latency; a client that goes away meanwhile is noticed (``handler_cancellation``)."""
        late = fault == "slow"
        try:
            await asyncio.sleep(self.script.latency_s + (self.script.slow_s if late else 0))
        except asyncio.CancelledError:
            if late:
                self.faults["slow"] += 1
            else:
                self.given_up += 1
            raise

    def _write(self, rng: random.Random, schema: dict[str, Any] | None, chat: Chat, fault: str) -> str:
        if self._texts:
            return self._texts.popleft()
        if schema is None:
            return write_prose(rng, chat)
        text = json.dumps(write_answer(rng, schema, chat), ensure_ascii=False)
        said = spoil_answer(rng, text, fault)
        if said != text:
            self.faults[fault] += 1
        return said

    def _next_fault(self, call: str) -> str:
        if self._first:
            return self._first.popleft()
        attempt = self.attempts[call]
        return "ok" if attempt > self.script.faulty_attempts else draw_fault(call, attempt, self.script.faults)


def _completion(model: str, texts: list[str], chat: Chat, max_tokens: int) -> dict[str, Any]:
    choices, total = [], 0
    for i, text in enumerate(texts):
        tokens = split_tokens(text)
        cut = len(tokens) > max_tokens
        total += min(len(tokens), max_tokens)
        message = {"role": "assistant", "content": "".join(tokens[:max_tokens])}
        choices.append({"index": i, "message": message, "finish_reason": "length" if cut else "stop"})
    prompt = chat.count_tokens()
    usage = {"prompt_tokens": prompt, "completion_tokens": total, "total_tokens": prompt + total}
    return {
        "id": "chatcmpl-scripted", "object": "chat.completion", "created": 0, "model": model, "choices": choices,
        "usage": usage,
    }  # fmt: skip


if __name__ == "__main__":
    # imported here: it imports this module
    from tests.scripted_tool import main

    main()
