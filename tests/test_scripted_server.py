"""The scripted server answers a schema as a model would."""

import asyncio
import json
import random
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from models.base import Strict
from models.settings import FactorySettings
from tasks.llm.answers import UnreadableAnswerError, read_answer, schema_text
from tests.flows.conftest import ROOT, free_port, wait_until
from tests.scripted_answers import write_answer
from tests.scripted_chat import Chat
from tests.scripted_faults import spoil_answer
from tests.scripted_server import Script, ScriptedServer
from tests.scripted_tool import main

KINDS = ["sloppy_json", "malformed_json", "missing_ids", "extra_ids", "wrong_value_types"]


class Row(Strict):
    constraint_id: str
    verdict: Literal["yes", "no"]
    score: int = Field(ge=1, le=5)


class Everything(Strict):
    rows: list[Row]
    chosen_ids: list[str]
    name: str = Field(min_length=3, max_length=12)
    pair: tuple[Literal["a"], ...] | None
    weight: float
    sure: bool
    tones: list[str] = Field(min_length=2, max_length=2)


SCHEMA = json.loads(schema_text(Everything))
PROMPT = "Look:\n- c1: one\n- c2: two\nNot x9."


def ask(prompt: str, *, chinese: bool = False) -> Chat:
    messages = [{"role": "system", "content": "请回答。"}] if chinese else []
    return Chat([*messages, {"role": "user", "content": prompt}])


def answer(seed: int, *, chinese: bool = False) -> str:
    return json.dumps(write_answer(random.Random(seed), SCHEMA, ask(PROMPT, chinese=chinese)), ensure_ascii=False)


@settings(deadline=None)  # the machine may be busy
@given(st.integers(), st.booleans())
def test_answers_are_valid(seed: int, chinese: bool) -> None:
    read = read_answer(answer(seed, chinese=chinese), Everything)
    assert [row.constraint_id for row in read.rows] == ["c1", "c2"]
    assert set(read.chosen_ids) <= {"c1", "c2"}
    assert len(read.tones) == 2
    assert answer(seed, chinese=chinese) == answer(seed, chinese=chinese)


@settings(deadline=None)  # the machine may be busy
@given(st.integers())
def test_faults_are_faults(seed: int) -> None:
    for kind in KINDS:
        said = spoil_answer(random.Random(seed), answer(seed), kind)
        try:
            ids = [row.constraint_id for row in read_answer(said, Everything).rows]
        except UnreadableAnswerError:
            assert kind in ("malformed_json", "wrong_value_types")
        else:
            expected: dict[str, Any] = {"sloppy_json": 2, "missing_ids": 1, "extra_ids": 3}
            assert len(ids) == expected[kind], (kind, said)


@pytest.mark.parametrize(
    ("prompt", "ids"),
    [
        (PROMPT, ["c1", "c2"]),
        ("[k10] a\n[k11] b", ["k10", "k11"]),
        ("judge 0123456789abcdef and fedcba9876543210.", ["0123456789abcdef", "fedcba9876543210"]),
        ("nothing of the kind, 12 or abc", []),
    ],
)
def test_ids_in_a_prompt(prompt: str, ids: list[str]) -> None:
    assert ask(prompt).ids == ids


def test_the_schema_in_a_prompt() -> None:
    assert ask(f"Like\n{{broken\n{schema_text(Everything)}\n{{}}").schema == SCHEMA
    assert ask('{"a": 1}').schema is None


class Unkeyed(Strict):
    name: str


async def see(session: aiohttp.ClientSession, address: str, model: type[BaseModel], number: int) -> str:
    """What a client sees of an answer: the fault's name, or ok."""
    form = {"type": "json_schema", "json_schema": {"schema": json.loads(schema_text(model))}}
    body = {"model": "m", "messages": [{"role": "user", "content": f"{number} {PROMPT}"}], "response_format": form}
    try:
        async with asyncio.timeout(4), session.post(f"{address}/chat/completions", json=body) as reply:
            if reply.status != 200:
                return {429: "rate_limit", 500: "internal"}[reply.status]
            content = (await reply.json())["choices"][0]["message"]["content"]
    except aiohttp.ServerDisconnectedError:
        return "drop"
    except TimeoutError:
        return "slow"
    except ValueError:
        return "not_json"
    try:
        read = read_answer(content, model)
    except UnreadableAnswerError:
        return "malformed_json"
    rows = len(read.rows) if isinstance(read, Everything) else 2
    return {1: "missing_ids", 2: "ok", 3: "extra_ids"}[rows]


@pytest.mark.parametrize("model", [Everything, Unkeyed])
def test_faults_are_counted_where_they_had_an_effect(model: type[BaseModel]) -> None:
    kinds: list[Any] = [
        "rate_limit",
        "internal",
        "drop",
        "slow",
        "not_json",
        "malformed_json",
        "missing_ids",
        "extra_ids",
    ]

    async def ask_all(address: str) -> Counter[str]:
        async with aiohttp.ClientSession() as session:
            return Counter(await asyncio.gather(*(see(session, address, model, number) for number in range(200))))

    with ScriptedServer(Script(faults=dict.fromkeys(kinds, 0.1), slow_s=600)) as server:
        seen = asyncio.run(ask_all(server.base_url))
        wait_for(lambda: server.in_flight == 0)
        counted = server.count()
    ok = seen.pop("ok")
    assert +counted["faults"] == seen
    assert counted["given_up"] == 0
    assert sum(counted["completed_calls"].values()) == ok + sum(
        seen[kind] for kind in ("malformed_json", "missing_ids", "extra_ids")
    )
    assert set(seen) == set(kinds if model is Everything else kinds[:6])


def test_a_client_that_goes_away_completes_no_call() -> None:
    with ScriptedServer(Script(latency_s=600)) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            body = b'{"messages": [{"role": "user", "content": "hi"}]}'
            client.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
            wait_for(lambda: server.in_flight == 1)
        wait_for(lambda: server.in_flight == 0)
        assert (server.given_up, server.completed.total(), server.attempts.total()) == (1, 0, 1)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


def test_the_tool_prints_settings_and_what_was_asked() -> None:
    port = free_port()
    command = [sys.executable, str(ROOT / "rpo.py"), "scripted-server", "--port", str(port), "--fault", "internal"]
    tool = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(f"http://127.0.0.1:{port}/health", 60)
    with pytest.raises(urllib.error.HTTPError, match="500"):
        urllib.request.urlopen(
            f"http://127.0.0.1:{port}/v1/chat/completions", b'{"messages": [{"role": "user", "content": "hi"}]}'
        )
    tool.send_signal(signal.SIGINT)
    out, err = tool.communicate(timeout=60)
    assert tool.returncode == 0
    settings = FactorySettings.model_validate(tomllib.loads(out))
    assert settings.endpoints["scripted"].base_url == f"http://127.0.0.1:{port}/v1"
    assert {name for name, role in settings.roles if role is not None} == {
        "author",
        "user",
        "responder",
        "judge",
        "policy",
    }
    assert "1 requests" in err and "faults with an effect: 1 internal" in err


@pytest.mark.parametrize("option", ["nope", "drop=2", "drop=much"])
def test_the_tool_refuses_what_is_no_fault(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--fault", option])
    assert "NAME=P" in capsys.readouterr().err
