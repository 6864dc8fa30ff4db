"""An OpenAI-compatible server that answers from a hash: ``python -m tests.scripted_server --port 0``.

The same body gets the same answer, always and everywhere. It can misbehave on request, and it counts what it is asked,
so that a test can say how often a call was made. A request with a JSON schema gets an object of that schema; so does
one for a JSON object or for text whose prompt ends in a schema. Nothing is kept on disk.
"""

import argparse
import asyncio
import hashlib
import json
import random
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self, get_args

from aiohttp import web

from tests.scripted_answers import find_schema, spoil_answer, write_answer
from tests.scripted_text import write_text

Fault = Literal[
    "rate_limit", "unavailable", "internal", "slow", "drop", "not_json", "no_choices", "null_content", "wrong_types",
    "few_choices", "bad_request", "quota", "surrogate", "length_null",
    "sloppy_json", "malformed_json", "missing_ids", "extra_ids", "wrong_value_types", "cut",
]  # fmt: skip
Format = Literal["json_schema", "json_object"]
MAX_BODY = 64 * 1024 * 1024


@dataclass
class Script:
    """How the server behaves.

    Attributes:
        models: Names that it knows; empty: all.
        key: The key that it wants; empty: none.
        latency_s: Seconds before an answer.
        slow_s: Seconds more that the fault ``slow`` takes.
        retry_after: Value of the header of ``rate_limit`` and ``unavailable``; empty: no header.
        faults: Probability of each fault, decided by a hash of body and attempt.
        first: Faults of the first requests, in order; ``ok`` is none.
        faulty_attempts: Attempts of one body that can be faulty; later ones are answered.
        refused: Response formats that it answers 400.
        refusal: What it says then.
        texts: What it says instead of its own text, in order; when they are used up, its own.
    """

    models: tuple[str, ...] = ()
    key: str = ""
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
        self.arrivals: list[float] = []
        self.in_flight = self.peak = self.requests = 0
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
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
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
        return web.json_response(
            {"requests": self.requests, "peak": self.peak, "attempts": self.attempts, "completed_calls": self.completed}
        )

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
            return _error(401, f"Incorrect API key provided: {sent.removeprefix('Bearer ')}", "invalid_api_key")
        try:
            body = json.loads(raw)
            messages, n = body["messages"], int(body.get("n") or 1)
            chinese = _is_chinese(messages)
            asked = body.get("response_format") or {}
            refused, schema = asked.get("type") in script.refused, _wanted_schema(asked, messages)
        except (ValueError, KeyError, TypeError, AttributeError):
            return _error(400, "the body is not a chat request", "invalid_request_error")
        if script.models and body.get("model") not in script.models:
            return _error(404, f"The model `{body.get('model')}` does not exist.", "model_not_found")
        if refused:
            return _error(400, script.refusal, "invalid_request_error")
        self.bodies.append(body)
        call = hashlib.sha256(json.dumps(body, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()
        self.attempts[call] += 1
        fault = self._next_fault(call)
        await asyncio.sleep(script.latency_s + (script.slow_s if fault == "slow" else 0))
        if (bad := self._misbehave(fault, request)) is not None:
            return bad
        # the answer depends on the body, and n only says how many
        parts = {k: v for k, v in body.items() if k not in ("n", "seed")}
        stem = json.dumps(parts, sort_keys=True) + str(body.get("seed"))
        texts = [self._write(random.Random(f"{stem}{i}"), schema, messages, fault, chinese) for i in range(n)]
        answer = _completion(str(body.get("model")), texts, messages, int(body.get("max_tokens") or 10_000))
        _spoil(answer, fault)
        self.completed[call] += 1
        return web.json_response(answer)

    def _write(
        self, rng: random.Random, schema: dict[str, Any] | None, messages: list[Any], fault: str, chinese: bool
    ) -> str:
        if self._texts:
            return self._texts.popleft()
        if schema is None:
            return write_text(rng, chinese=chinese)
        prompt = str(messages[-1]["content"])
        answer = write_answer(rng, schema, prompt, chinese=chinese)
        return spoil_answer(rng, json.dumps(answer, ensure_ascii=False), fault)

    def _next_fault(self, call: str) -> str:
        if self._first:
            return self._first.popleft()
        attempt = self.attempts[call]
        if attempt > self.script.faulty_attempts:
            return "ok"
        for fault, probability in self.script.faults.items():
            if random.Random(f"{call}{attempt}{fault}").random() < probability:
                return fault
        return "ok"

    def _misbehave(self, fault: str, request: web.Request) -> web.Response | None:
        headers = {"Retry-After": self.script.retry_after} if self.script.retry_after else {}
        match fault:
            case "rate_limit":
                return _error(429, "Rate limit reached.", "rate_limit_exceeded", headers)
            case "quota":
                return _error(429, "You exceeded your current quota.", "insufficient_quota")
            case "unavailable":
                return _error(503, "Service unavailable.", "unavailable", headers)
            case "internal":
                return _error(500, "Internal error.", "internal")
            case "bad_request":
                return _error(400, "This model's maximum context length is 8 tokens.", "context_length_exceeded")
            case "not_json":
                return web.Response(text='{"choices": [', content_type="application/json")
            case "drop":
                if request.transport is not None:
                    request.transport.close()
                return web.Response()
        return None


def _completion(model: str, texts: list[str], messages: list[dict[str, Any]], max_tokens: int) -> dict[str, Any]:
    choices, total = [], 0
    for i, text in enumerate(texts):
        tokens = _tokens(text)
        cut = len(tokens) > max_tokens
        total += min(len(tokens), max_tokens)
        message = {"role": "assistant", "content": "".join(tokens[:max_tokens])}
        choices.append({"index": i, "message": message, "finish_reason": "length" if cut else "stop"})
    prompt = sum(len(_tokens(str(m.get("content")))) + 4 for m in messages)
    usage = {"prompt_tokens": prompt, "completion_tokens": total, "total_tokens": prompt + total}
    return {
        "id": "chatcmpl-scripted", "object": "chat.completion", "created": 0, "model": model, "choices": choices,
        "usage": usage,
    }  # fmt: skip


def _spoil(answer: dict[str, Any], fault: str) -> None:
    match fault:
        case "no_choices":
            answer["choices"] = []
        case "few_choices":
            answer["choices"].pop()
        case "null_content":
            answer["choices"][0]["message"]["content"] = None
        case "cut":
            message = answer["choices"][0]["message"]
            message["content"] = message["content"][: len(message["content"]) // 2]
            answer["choices"][0]["finish_reason"] = "length"
        case "length_null":
            answer["choices"][0] |= {"message": {"role": "assistant", "content": None}, "finish_reason": "length"}
        case "wrong_types":
            answer["choices"] = [{"index": "zero", "message": "text", "finish_reason": 7} for _ in answer["choices"]]
            answer["usage"] = "many"
        case "surrogate":
            answer["choices"][0]["message"]["content"] = "broken \ud83d emoji"


def _wanted_schema(asked: dict[str, Any], messages: list[dict[str, Any]]) -> dict[str, Any] | None:
    if asked.get("type") == "json_schema":
        return dict(asked["json_schema"]["schema"])
    return find_schema(str(messages[-1].get("content")))


def _tokens(text: str) -> list[str]:
    return re.findall(r"\s*(?:[A-Za-z0-9]+|[^A-Za-z0-9\s])|\s+$", text)


def _is_chinese(messages: list[dict[str, Any]]) -> bool:
    # a schema in the prompt is not in the language of the chat
    users = [re.sub(r"^\{.*$", "", str(m["content"]), flags=re.MULTILINE) for m in messages if m["role"] == "user"]
    return bool(users) and len(re.findall(r"[\u4e00-\u9fff]", users[-1])) * 4 > len(users[-1])


def _error(status: int, message: str, code: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response({"error": {"message": message, "code": code}}, status=status, headers=headers)


async def _run(server: ScriptedServer) -> None:
    await server.start()
    print(json.dumps({"base_url": server.base_url}), flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="scripted OpenAI-compatible server on the loopback address")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--latency-ms", type=float, default=0)
    parser.add_argument("--slow-ms", type=float, default=5000, help="more latency of the fault slow")
    parser.add_argument("--retry-after", default="1", help="header of rate_limit and unavailable")
    parser.add_argument("--key", default="", help="answer 401 to any other")
    parser.add_argument("--model", action="append", default=[], help="answer 404 to any other; may be repeated")
    parser.add_argument("--fault", action="append", default=[], metavar="NAME=P", help=", ".join(get_args(Fault)))
    parser.add_argument("--faulty-attempts", type=int, default=1_000_000, help="answer later attempts of a body")
    parser.add_argument("--refuse", action="append", default=[], choices=get_args(Format), help="answer 400 to it")
    options = parser.parse_args()
    faults: dict[Fault, float] = {}
    for option in options.fault:
        name, _, probability = option.partition("=")
        if name not in get_args(Fault):
            parser.error(f"no fault {name!r}; there are: {', '.join(get_args(Fault))}")
        faults[name] = float(probability or 1)
    script = Script(
        models=tuple(options.model),
        key=options.key,
        latency_s=options.latency_ms / 1000,
        slow_s=options.slow_ms / 1000,
        retry_after=options.retry_after,
        faults=faults,
        faulty_attempts=options.faulty_attempts,
        refused=tuple(options.refuse),
    )
    asyncio.run(_run(ScriptedServer(script, port=options.port)))


if __name__ == "__main__":
    main()
