"""A trained adapter on llama.cpp says what it says in transformers."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models.endpoints import Endpoint, Serve
from models.errors import AdapterError, ModelServerError
from tasks.llm.servers import ManagedServer
from tasks.training.gguf_lora import ADAPTER_CONFIG, ADAPTER_WEIGHTS, adapter_identity, convert_lora
from tests.tiny_model import write_first_layers

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
gguf = pytest.importorskip("gguf")

PROMPTS = ("The capital of France is", "To bake bread you need", "Once upon a time there was a")
LEADING = 5
LAYERS = 2


@pytest.fixture(scope="module")
def base_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first layers of the embedded model in float32: llama.cpp rounds nothing away, so the two must agree."""
    return write_first_layers(tmp_path_factory.mktemp("base") / "base.gguf", LAYERS)


@pytest.fixture(scope="module")
def tokenizer(base_file: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(base_file.parent, gguf_file=base_file.name)


@pytest.fixture(scope="module")
def base(base_file: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(
        base_file.parent, gguf_file=base_file.name, dtype=torch.float32
    )


Serving = Callable[..., str]


@pytest.fixture
def serve(base_file: Path, tmp_path: Path) -> Iterator[Serving]:
    servers = []

    def start(lora: Path | None = None) -> str:
        serve = Serve(slots=1, context=512, model_path=str(base_file), lora_path=str(lora) if lora else None)
        servers.append(ManagedServer("demo", Endpoint(model="a", identity="b", serve=serve), str(tmp_path)))
        return servers[-1].ensure_running()

    yield start
    for server in servers:
        server.stop()


def leading(address: str, prompt: str) -> dict[str, float]:
    """The log-probabilities of the likeliest next tokens, as llama.cpp has them."""
    body = {"prompt": prompt, "n_predict": 1, "n_probs": LEADING, "temperature": 0, "post_sampling_probs": False}
    request = urllib.request.Request(
        f"{address.removesuffix('/v1')}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        found = json.load(answer)["completion_probabilities"][0]["top_logprobs"]
    return {item["id"]: item["logprob"] for item in found}


def make_adapter(base: Any, folder: Path, **options: Any) -> Any:
    """A random adapter, saved; the model with it."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear", "init_lora_weights": False}
    model = peft.get_peft_model(base, peft.LoraConfig(**settings | options))
    model.save_pretrained(folder)
    return model


@pytest.mark.model
@pytest.mark.parametrize(
    "options", [{}, {"use_rslora": True, "rank_pattern": {"q_proj": 4}, "alpha_pattern": {"v_proj": 5}}]
)
def test_llama_cpp_and_transformers_agree(
    base: Any, base_file: Path, tokenizer: Any, serve: Serving, tmp_path: Path, options: dict[str, Any]
) -> None:
    model = make_adapter(base, tmp_path / "adapter", **options)
    convert_lora(tmp_path / "adapter", base_file, tmp_path / "adapter.gguf")
    plain, adapted = serve(), serve(tmp_path / "adapter.gguf")
    try:
        for prompt in PROMPTS:
            tokens = tokenizer(prompt, return_tensors="pt").input_ids
            with torch.no_grad():
                wanted = model(tokens).logits[0, -1].log_softmax(-1)
                with model.disable_adapter():
                    unadapted = model(tokens).logits[0, -1].log_softmax(-1)
            for address, logprobs in ((adapted, wanted), (plain, unadapted)):
                got = leading(address, prompt)
                assert got == pytest.approx({index: float(logprobs[index]) for index in got}, abs=0.01), prompt
            assert float((wanted - unadapted).abs().max()) > 1
    finally:
        model.unload()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"target_modules": ["embed_tokens", "q_proj"]}, "no LoRA of a linear layer"),
        ({"target_modules": ["lm_head"]}, "no layer lm_head"),
    ],
)
def test_what_a_gguf_lora_cannot_say(
    base: Any, base_file: Path, tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    make_adapter(base, tmp_path / "adapter", **change).unload()
    with pytest.raises(AdapterError, match=why) as caught:
        convert_lora(tmp_path / "adapter", base_file, tmp_path / "adapter.gguf")
    assert "endpoint:" in caught.value.next_step
    assert not (tmp_path / "adapter.gguf").exists()


def test_an_adapter_of_another_model(tiny_model: Callable[..., Any], base_file: Path, tmp_path: Path) -> None:
    make_adapter(tiny_model(), tmp_path / "adapter")
    with pytest.raises(AdapterError, match="trained on another model"):
        convert_lora(tmp_path / "adapter", base_file, tmp_path / "adapter.gguf")


def test_damaged_adapters(base: Any, base_file: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "adapter", tmp_path / "adapter.gguf"
    with pytest.raises(AdapterError, match=ADAPTER_CONFIG):
        convert_lora(folder, base_file, out)
    make_adapter(base, folder).unload()
    weights = folder / ADAPTER_WEIGHTS
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(AdapterError, match="cannot be read"):
        convert_lora(folder, base_file, out)
    weights.unlink()
    with pytest.raises(AdapterError, match=f"no {ADAPTER_WEIGHTS}"):
        adapter_identity(folder)


def test_without_the_extra(base_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(AdapterError, match="the package gguf") as caught:
        convert_lora(tmp_path / "adapter", base_file, tmp_path / "adapter.gguf")
    assert ".[train]" in caught.value.next_step


def test_identity_is_that_of_the_weights(base: Any, tmp_path: Path) -> None:
    make_adapter(base, tmp_path / "a").unload()
    make_adapter(base, tmp_path / "b").unload()
    make_adapter(base, tmp_path / "c", lora_alpha=8).unload()
    identities = [adapter_identity(tmp_path / name) for name in "abc"]
    assert identities[0] == identities[1] != identities[2]


@pytest.mark.model
def test_a_lora_that_does_not_fit_is_one_error(serve: Serving, tmp_path: Path) -> None:
    with pytest.raises(ModelServerError, match=r"serve\.lora_path: there is no file"):
        serve(tmp_path / "none.gguf")
    (tmp_path / "bad.gguf").write_bytes(b"not a LoRA")
    with pytest.raises(ModelServerError, match="ended at start") as caught:
        serve(tmp_path / "bad.gguf")
    assert "lora_path" in caught.value.next_step
