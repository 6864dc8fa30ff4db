import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.endpoints import EMBEDDED, Endpoint, Role, Roles, Serve
from models.errors import ModelServerError
from models.settings import FactorySettings
from storage.call_cache import CallCache
from tasks.llm.calls import ChatRequest
from tasks.llm.engines import ENGINES, PROJECT_ROOT, find_embedded_model
from tasks.llm.gateway import Gateway
from tasks.llm.servers import MAX_RESTARTS, ManagedServer
from tests.llm.support import chats

STORY = [ChatRequest([{"role": "user", "content": "Tell me about a cat."}], 5)]


def managed(tmp_path: Path, **serve: object) -> ManagedServer:
    endpoint = Endpoint(model="tiny", serve=Serve.model_validate({"slots": 2, "context": 512, **serve}))
    return ManagedServer("demo", endpoint, str(tmp_path))


def test_missing_model_file(tmp_path: Path) -> None:
    with pytest.raises(ModelServerError) as caught:
        managed(tmp_path, model_path=str(tmp_path / "no.gguf")).ensure_running()
    assert all(w in str(caught.value) for w in ("endpoints.demo.serve.model_path", "no.gguf", "make install"))


def test_port_in_use(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ModelServerError) as caught:
            managed(tmp_path, model_path=str(tmp_path / "a.gguf"), port=port).ensure_running()
    assert f"endpoints.demo.serve.port = {port}" in str(caught.value)
    assert "port = 0" in str(caught.value)


def test_an_engine_by_its_name_alone() -> None:
    endpoint = Endpoint.model_validate({"model": "Qwen/Qwen3-8B", "serve": "vllm"})
    assert endpoint.serve == Serve(engine="vllm")
    assert Endpoint.model_validate({"model": "m", "serve": "llama.cpp"}).serve == Serve()
    with pytest.raises(ValueError, match="vllm"):
        Endpoint.model_validate({"model": "m", "serve": "vlm"})


@pytest.mark.parametrize("given", [{"python": "python3"}, {"tensor_parallel": 2}, {"options": ["--dtype=half"]}])
def test_what_only_vllm_has_is_refused_elsewhere(given: dict[str, object]) -> None:
    assert Serve.model_validate({"engine": "vllm", **given})
    with pytest.raises(ValueError, match="only with engine = vllm"):
        Serve.model_validate(given)


def test_an_adapter_on_vllm_needs_the_base_model() -> None:
    with pytest.raises(ValueError, match=r"give serve\.model_path"):
        Endpoint(model="mine", identity="mine", serve=Serve(engine="vllm", lora_path="adapter"))


@pytest.mark.parametrize(
    ("serve", "what", "step"),
    [
        ({"python": sys.executable}, "has no package no_vllm", "-m pip install vllm"),
        ({"python": "/no/python"}, "/no/python cannot be run", "the Python interpreter"),
        ({"model_path": "/no/model"}, "/no/model is no Hugging Face model folder", "a GGUF is served by"),
        (
            {"lora_path": "/no/adapter", "model_path": "Qwen/Qwen3-8B"},
            "there is no folder /no/adapter",
            "the adapter's",
        ),
    ],
)
def test_a_vllm_that_cannot_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve: dict[str, object], what: str, step: str
) -> None:
    # a package that no Python has, wherever the tests run
    monkeypatch.setitem(ENGINES, "vllm", ENGINES["vllm"]._replace(package="no_vllm"))
    endpoint = Endpoint.model_validate({"model": "m", "identity": "m", "serve": {"engine": "vllm", **serve}})
    with pytest.raises(ModelServerError) as caught:
        ManagedServer("demo", endpoint, str(tmp_path)).ensure_running()
    assert what in caught.value.what
    assert "endpoints.demo" in caught.value.what and step in caught.value.next_step


def test_embedded_model_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.llm.engines.EMBEDDED_MODEL", ("no-such-package", "a.gguf"))
    with pytest.raises(ModelServerError, match="make install"):
        find_embedded_model()


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    (tmp_path / "bad.gguf").write_bytes(b"not a model")
    server = managed(tmp_path, model_path=str(tmp_path / "bad.gguf"))
    with pytest.raises(ModelServerError, match="ended at start") as caught:
        server.ensure_running()
    assert "bad.gguf" in str(caught.value)
    assert f"{tmp_path}/logs/llama-" in str(caught.value)
    # waiting batches get the same answer, without a start for each
    with pytest.raises(ModelServerError) as again:
        server.ensure_running()
    assert again.value is caught.value


def test_a_server_that_is_too_slow_to_start(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"")
    with pytest.raises(ModelServerError, match="start_timeout_s"):
        managed(tmp_path, model_path=str(tmp_path / "a.gguf"), start_timeout_s=0.01).ensure_running()


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Gateway]:
    settings = FactorySettings(
        data=str(tmp_path),
        endpoints={"demo": EMBEDDED.model_copy(update={"serve": Serve(slots=4, context=512)})},
        roles=Roles(policy=Role(endpoint="demo", max_tokens=16)),
    )
    gateway = Gateway(settings, CallCache(tmp_path / "calls.sqlite"))
    yield gateway
    gateway.close()


@pytest.mark.model
def test_the_embedded_model_answers(demo: Gateway, tmp_path: Path) -> None:
    [samples] = demo.complete("policy", STORY, stage="test")
    assert [s.error for s in samples] == [None] * 5  # more samples than slots
    assert len({s.text for s in samples}) == 5
    assert [s.prompt_tokens > 0 for s in samples] == [True, False, False, False, True]
    assert all(0 < s.completion_tokens <= 16 for s in samples)
    pid = demo.server_pids()["demo"]
    assert (tmp_path / "logs" / f"llama-{pid}.log").exists()
    again = demo.complete("policy", STORY, stage="test")
    assert [s.text for s in again[0]] == [s.text for s in samples]
    demo.close()
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.model
def test_a_server_that_dies_is_restarted_until_it_dies_too_often(demo: Gateway) -> None:
    pids = set()
    for number in range(MAX_RESTARTS + 1):
        [[sample]] = demo.complete("policy", chats(1, start=number), stage="test")
        assert sample.error is None
        pids.add(pid := demo.server_pids()["demo"])
        os.kill(pid, signal.SIGKILL)
        while demo.server_pids():
            time.sleep(0.01)
    assert len(pids) == MAX_RESTARTS + 1
    with pytest.raises(ModelServerError, match=f"died {MAX_RESTARTS + 1} times"):
        demo.complete("policy", chats(1, start=100), stage="test")


@pytest.mark.model
def test_a_server_that_dies_in_the_middle_is_replaced(demo: Gateway) -> None:
    pids: list[int] = []

    def kill_once(_: object) -> None:
        if not pids:
            pids.extend(demo.server_pids().values())
            os.kill(pids[0], signal.SIGKILL)

    demo.on_progress = kill_once
    answers = demo.complete("policy", chats(12), stage="test")
    assert [s.error for g in answers for s in g] == [None] * 12
    assert list(demo.server_pids().values()) != pids


@pytest.mark.model
def test_nothing_is_started_for_what_is_stored(demo: Gateway, tmp_path: Path) -> None:
    demo.complete("policy", chats(2), stage="test")
    second = Gateway(demo._settings, CallCache(tmp_path / "calls.sqlite"))
    assert all(s.cached for g in second.complete("policy", chats(2), stage="test") for s in g)
    assert second.server_pids() == {}
    second.close()


PARENT = """
import sys, time
from models.endpoints import Endpoint, Serve
from tasks.llm.servers import ManagedServer
server = ManagedServer("demo", Endpoint(model="tiny", serve=Serve(slots=1, context=512)), sys.argv[1])
print(server.ensure_running(), server.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.model
def test_the_server_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    address, pid = parent.stdout.readline().split()
    assert address.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(f"{address}/models", timeout=10) as answer:
        assert json.load(answer)["data"][0]["id"] == "tiny"
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while _runs(int(pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(int(pid))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False
