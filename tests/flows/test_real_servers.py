"""A short run with every role on a real model server that the factory starts: llama.cpp, and vLLM where there is one.

Two layers of the embedded model write nonsense. What is tested is that a real server takes every prompt and schema,
and that all that cannot be used is accounted for.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.flows.conftest import ROOT, Rpo
from tests.real_vllm import find_vllm_python, write_folder
from tests.tiny_model import write_first_layers

pytest.importorskip("gguf", reason="needs the extra `train`")
pytestmark = [pytest.mark.slow, pytest.mark.model]

SAMPLES = 2


def served(engine: str, folder: Path) -> str:
    """The endpoint's table ``serve``."""
    if engine == "llama.cpp":
        gguf = write_first_layers(folder / "small.gguf", 2)
        return f'serve = {{engine = "llama.cpp", slots = 4, context = 4096, model_path = {json.dumps(str(gguf))}}}'
    python = find_vllm_python()
    model = write_folder(str(write_first_layers(folder / "small.gguf", 2)), folder / "weights")
    return (
        f'serve = {{engine = "vllm", slots = 4, context = 4096, python = {json.dumps(python)}, '
        f'model_path = {json.dumps(str(model))}, options = ["--enforce-eager"]}}'
    )


@pytest.mark.parametrize("engine", ["llama.cpp", "vllm"])
def test_a_run_on_a_real_server_accounts_for_everything(rpo: Rpo, tmp_path: Path, engine: str) -> None:
    roles = "\n".join(
        f'[roles.{name}]\nendpoint = "real"\nmax_tokens = {tokens}'
        for name, tokens in (("author", 64), ("user", 24), ("judge", 64), ("policy", 24))
    )
    config, data = tmp_path / "factory.toml", tmp_path / "data"
    config.write_text(
        f"""
run = "real"
data = {json.dumps(str(data))}
samples = {SAMPLES}
[seeds]
roles = {json.dumps(str(ROOT / "seeds/roles.jsonl"))}
personas = {json.dumps(str(ROOT / "seeds/personas.jsonl"))}
max_roles = 1
max_personas = 1
languages = ["en"]
[dialogues]
turns = 2
reference_samples = 1
min_score = 0
[endpoints.real]
model = "smollm2"
timeout_s = 600
{served(engine, tmp_path)}
{roles}
"""
    )
    made = rpo.json("run", "--config", str(config))
    assert made["systems"] == 1
    assert made["responses"] == made["turns"] * SAMPLES
    # one row for every response and triggered constraint, whatever the judge made of it
    [counted] = rpo.sql(
        data,
        """select
            (select count(*) from judgments) as judgments,
            (select count(distinct (response_id, constraint_id)) from judgments) as different,
            (select coalesce(sum(len(triggered_ids)), 0)::bigint from responses join turns using (dialogue_id, turn))
                as wanted,
            (select count(*) from judgments where verdict = 'unscored' and reason = '') as unexplained,
            (select count(*) from llm_calls) as calls,
            (select count(*) from llm_calls where error is not null) as failed,
            (select count(*) from llm_calls where prompt_tokens + completion_tokens = 0) as free""",
    )
    assert counted["judgments"] == counted["different"] == counted["wanted"]
    assert (counted["unexplained"], counted["failed"], counted["free"]) == (0, 0, 0)
    assert counted["calls"] == made["calls_made"] + made["calls_cached"] > 0
    assert {row["role"] for row in rpo.sql(data, "select distinct role from llm_calls")} >= {"author", "user", "policy"}
    # the server took the schemas: it was asked for nothing less
    logs = list((data / "logs").glob("*.log"))
    assert logs and not any("400 Bad Request" in log.read_text("utf-8", "replace") for log in logs)
    assert not left_behind(data)
    # the same again asks nobody, and starts no server
    assert rpo.json("run", "--config", str(config))["calls_made"] == 0
    assert list((data / "logs").glob("*.log")) == logs


def left_behind(data: Path) -> list[str]:
    """Commands of processes that a server of this data folder has left; its log is one of their open files."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            logs = [link for link in (process / "fd").iterdir() if str(link.readlink()).startswith(f"{data}/logs/")]
            if logs:
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found
