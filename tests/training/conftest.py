"""A tiny random Llama and its tokenizer: no download, a training step in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

WORDS = [f"w{number}" for number in range(40)]


@pytest.fixture(autouse=True)
def quiet_single_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread (more are slower on a busy machine), no progress bars, nothing asked of the network."""
    torch = pytest.importorskip("torch")
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TQDM_DISABLE", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    """A word is a token: ``<pad>`` 0, ``<eos>`` 1, ``<unk>`` 2, then ``WORDS``."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    vocabulary = {word: number for number, word in enumerate(["<pad>", "<eos>", "<unk>", *WORDS])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., Any]:
    """Makes a Llama of 2 layers and width 32; the same ``seed`` gives the same weights."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")

    def make(seed: int = 0) -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return transformers.LlamaForCausalLM(
                transformers.LlamaConfig(
                    vocab_size=3 + len(WORDS),
                    hidden_size=32,
                    intermediate_size=64,
                    num_hidden_layers=2,
                    num_attention_heads=2,
                    pad_token_id=0,
                    bos_token_id=1,
                    eos_token_id=1,
                )
            )

    return make
