"""Any Hugging Face model, served by the factory itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models.endpoints import Endpoint, Role, Roles, Serve
from models.errors import EndpointError, ModelServerError
from models.settings import FactorySettings
from storage.call_cache import CallCache
from tasks.llm.calls import ChatRequest
from tasks.llm.gateway import Gateway
from tests.llm.support import chats

peft = pytest.importorskip("peft")

TEMPLATE = "{% for m in messages %}{{ m['content'] }} {% endfor %}"


@pytest.fixture
def model_folder(tiny_model: Callable[..., Any], tiny_tokenizer: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    tiny_model().save_pretrained(folder)
    tiny_tokenizer.chat_template = TEMPLATE
    tiny_tokenizer.save_pretrained(folder)
    return folder


def settings(folder: Path, data: Path, lora: Path | None = None, **policy: Any) -> FactorySettings:
    serve = Serve(
        engine="transformers", model_path=str(folder), lora_path=str(lora) if lora else None, slots=4, context=256,
        threads=1,
    )  # fmt: skip
    endpoint = Endpoint(model="tiny", identity=str(lora), serve=serve)
    return FactorySettings(
        data=str(data),
        endpoints={"demo": endpoint},
        roles=Roles(policy=Role.model_validate({"endpoint": "demo", "max_tokens": 12, **policy})),
    )


Opener = Callable[..., Gateway]


@pytest.fixture
def open_gateway(model_folder: Path, tmp_path: Path) -> Iterator[Opener]:
    opened: list[Gateway] = []

    def start(**options: Any) -> Gateway:
        chosen = settings(model_folder, tmp_path / f"data{len(opened)}", **options)
        opened.append(Gateway(chosen, CallCache(chosen.data_dir / "calls.sqlite")))
        return opened[-1]

    yield start
    for gateway in opened:
        gateway.close()


def words(gateway: Gateway, content: str = "w1 w2 w3", samples: int = 1) -> list[str]:
    request = ChatRequest([{"role": "user", "content": content}], samples)
    return [sample.text for sample in gateway.complete("policy", [request], stage="test")[0]]


@pytest.mark.slow
def test_samples_many_at_once(open_gateway: Opener) -> None:
    gateway = open_gateway()
    answers = gateway.complete("policy", [*chats(9), ChatRequest([{"role": "user", "content": "w1"}], 6)], stage="test")
    samples = [sample for group in answers for sample in group]
    assert [sample.error for sample in samples] == [None] * 15
    assert all(0 < sample.completion_tokens <= 12 for sample in samples if sample.finish_reason == "length")
    assert {sample.finish_reason for sample in samples} <= {"stop", "length"}
    assert len({sample.text for sample in answers[-1]}) == 6
    [pid] = gateway.server_pids().values()
    gateway.close()
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.slow
def test_greedy_is_what_the_model_says_and_an_adapter_changes_it(
    open_gateway: Opener, tiny_model: Callable[..., Any], tiny_tokenizer: Any, tmp_path: Path
) -> None:
    model = tiny_model()
    config = peft.LoraConfig(
        r=4, lora_alpha=64, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"
    )
    adapted = peft.get_peft_model(tiny_model(), config)
    adapted.save_pretrained(tmp_path / "adapter")
    prompt = tiny_tokenizer("w1 w2 w3", return_tensors="pt").input_ids

    def greedy(source: Any) -> str:
        made = source.generate(input_ids=prompt, max_new_tokens=12, do_sample=False)
        return str(tiny_tokenizer.decode(made[0, prompt.shape[1] :], skip_special_tokens=True))

    plain, changed = open_gateway(temperature=0), open_gateway(temperature=0, lora=tmp_path / "adapter")
    # a longer prompt beside it: padding must not matter
    both = [ChatRequest([{"role": "user", "content": text}]) for text in ("w1 w2 w3", "w1 w2 w3 w4 w5 w6 w7 w8")]
    assert plain.complete("policy", both, stage="test")[0][0].text == greedy(model)
    assert words(changed) == [greedy(adapted)] != [greedy(model)]


@pytest.mark.slow
def test_what_it_refuses(open_gateway: Opener, model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match="exceed the context 256"):
        words(open_gateway(), "w1 " * 300)
    (model_folder / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((model_folder / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (model_folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelServerError, match="no chat template"):
        words(open_gateway())
    with pytest.raises(ModelServerError, match=r"serve\.model_path: there is no folder"):
        words(Gateway(settings(tmp_path / "nothing", tmp_path), CallCache(tmp_path / "calls.sqlite")))
