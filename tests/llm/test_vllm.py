"""The real vLLM server, started, asked and ended by the factory (`make install-vllm test-vllm`).

One server with the embedded model's weights and an adapter serves all tests but those of its life and death.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.endpoints import Endpoint, Role, Roles, Serve
from models.errors import AdapterError, ModelServerError
from models.prompting import ChatMessage
from models.settings import FactorySettings
from storage.call_cache import CallCache
from tasks.batch import Batch
from tasks.llm.adapters import require_listed
from tasks.llm.calls import ChatRequest
from tasks.llm.engines import PROJECT_ROOT
from tasks.llm.gateway import Gateway
from tasks.llm.gateways import close_gateway
from tasks.llm.prompts import judge
from tasks.llm.servers import ManagedServer
from tasks.llm.structured import MAX_ROUNDS, Question, ask_structured
from tests.flows.test_evaluation import write_adapter
from tests.real_vllm import find_vllm_python, write_folder
from tests.tasks.judged import make_system

pytestmark = [pytest.mark.slow, pytest.mark.model]

STORY: list[ChatMessage] = [{"role": "user", "content": "Tell me about a cat."}]


@pytest.fixture(scope="module")
def python() -> str:
    return find_vllm_python()


@pytest.fixture(scope="module")
def weights(python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the embedded model, as vLLM takes it, and an adapter of it in ``adapter``."""
    folder = write_folder("embedded", tmp_path_factory.mktemp("smollm2"))
    (folder / "adapter").mkdir()
    write_adapter(folder / "adapter")
    return folder


def served(python: str, weights: Path, *options: str) -> Serve:
    return Serve(
        engine="vllm",
        python=python,
        model_path=str(weights),
        slots=8,
        context=2048,
        options=["--enforce-eager", *options],
    )


@pytest.fixture(scope="module")
def server(python: str, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManagedServer]:
    serve = served(python, weights).model_copy(update={"lora_path": str(weights / "adapter")})
    endpoint = Endpoint(model="mine", identity="adapter", serve=serve)
    running = ManagedServer("mine", endpoint, str(tmp_path_factory.mktemp("served")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "True")
        yield running
    running.stop()


@pytest.fixture
def settings(server: ManagedServer, tmp_path: Path) -> FactorySettings:
    """The base model as policy and judge, the adapter as responder, both on the one server."""
    address = server.ensure_running()
    base = Endpoint(base_url=address, model="mine-base", max_concurrency=8)
    return FactorySettings(
        data=str(tmp_path),
        endpoints={"base": base, "mine": base.model_copy(update={"model": "mine", "identity": "adapter"})},
        roles=Roles(
            policy=Role(endpoint="base", max_tokens=16),
            responder=Role(endpoint="mine", max_tokens=16),
            judge=Role(endpoint="base", max_tokens=400, temperature=0),
        ),
    )


@pytest.fixture
def gateway(settings: FactorySettings, tmp_path: Path) -> Iterator[Gateway]:
    opened = Gateway(settings, CallCache(tmp_path / "calls.sqlite"))
    yield opened
    opened.close()


def test_five_samples_in_one_request_and_their_tokens(gateway: Gateway) -> None:
    [samples] = gateway.complete("policy", [ChatRequest(STORY, 5)], stage="test")
    assert [s.error for s in samples] == [None] * 5
    assert len({s.text for s in samples}) == 5
    # the prompt was read once; llama.cpp counts otherwise
    assert [s.prompt_tokens > 0 for s in samples] == [True, False, False, False, False]
    assert 5 <= sum(s.completion_tokens for s in samples) <= 5 * 16


def test_an_adapters_answers_are_its_own(gateway: Gateway) -> None:
    requests = [ChatRequest(STORY, 2)]
    [base], [adapted] = (gateway.complete(role, requests, stage="test") for role in ("policy", "responder"))
    assert not {s.request_hash for s in base} & {s.request_hash for s in adapted}
    assert not {s.text for s in base} & {s.text for s in adapted}
    [again] = gateway.complete("responder", requests, stage="test")
    assert [(s.text, s.cached) for s in again] == [(s.text, True) for s in adapted]


def test_an_adapter_is_loaded_into_a_server_that_runs(server: ManagedServer, weights: Path, tmp_path: Path) -> None:
    endpoint = Endpoint(base_url=server.ensure_running(), model="mine-base")
    with pytest.raises(AdapterError, match="answers 404 when it is asked to load it") as caught:
        require_listed("mine", endpoint, "nothing", tmp_path / "nothing", adapter=True)
    assert "--enable-lora --lora-modules nothing=" in caught.value.next_step
    require_listed("mine", endpoint, "another", weights / "adapter", adapter=True)
    settings = FactorySettings(
        data=str(tmp_path),
        endpoints={"mine": endpoint.model_copy(update={"model": "another", "identity": "another"})},
        roles=Roles(policy=Role(endpoint="mine", max_tokens=4)),
    )
    opened = Gateway(settings, CallCache(tmp_path / "calls.sqlite"))
    [[sample]] = opened.complete("policy", [ChatRequest(STORY)], stage="test")
    opened.close()
    assert sample.error is None


def test_the_judges_schema_is_kept(settings: FactorySettings) -> None:
    system = make_system(["style", "content"])
    question = Question(
        judge.messages(system, "Where is it?", "Over there, on the left.", system.constraints),
        judge.GivenVerdicts,
        judge.complain_unless(2, "en"),
    )
    try:
        [[reply]] = ask_structured(Batch("judge_responses", settings), "judge", [question])
    finally:
        close_gateway()
    assert reply.mode == "schema"
    # a model as small as this leaves an id out, on some processors: then it is asked again, and nothing is made up
    assert reply.kind in (None, "unusable"), reply.why
    if reply.value is None:
        assert "needs exactly one verdict" in reply.why and reply.rounds == MAX_ROUNDS
    else:
        assert [given.id for given in reply.value.verdicts] == ["c1", "c2"]


def test_a_server_that_is_killed_is_started_again_and_leaves_nothing(server: ManagedServer) -> None:
    server.ensure_running()
    before = server.pid
    assert before is not None
    # its engine and worker are more processes than it and vLLM's front
    assert len(alive(before)) > 2
    os.kill(before, signal.SIGKILL)
    wait_until_gone([before])
    server.ensure_running()
    assert server.pid != before and server.starts == 2
    wait_until_gone(alive(before))


PARENT = """
import sys, time
from models.endpoints import Endpoint
from tasks.llm.servers import ManagedServer
server = ManagedServer("demo", Endpoint.model_validate_json(sys.argv[1]), sys.argv[2])
print(server.ensure_running(), server.pid, flush=True)
time.sleep(600)
"""


def test_nothing_is_left_when_the_parent_is_killed(python: str, weights: Path, tmp_path: Path) -> None:
    endpoint = Endpoint(model="smol", serve=served(python, weights))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, endpoint.model_dump_json(), str(tmp_path)],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    _, pid = parent.stdout.readline().split()
    group = alive(int(pid))
    assert len(group) > 2
    parent.kill()
    parent.wait()
    wait_until_gone(group)
    assert not alive(int(pid))


def test_what_vllm_refuses_is_said(python: str, weights: Path, tmp_path: Path) -> None:
    endpoint = Endpoint(model="smol", serve=served(python, weights, "--no-such-option"))
    with pytest.raises(ModelServerError, match="ended at start") as caught:
        ManagedServer("demo", endpoint, str(tmp_path)).ensure_running()
    assert "--no-such-option" in str(caught.value)
    assert f"{tmp_path}/logs/vllm-" in str(caught.value)


def alive(group: int) -> list[int]:
    """The processes of a group that run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(entry.parent.name))
    return found


def wait_until_gone(pids: list[int], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while (left := [pid for pid in pids if runs(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
