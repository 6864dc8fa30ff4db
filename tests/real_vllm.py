"""The real vLLM, where there is one: `make install-vllm` makes an environment with a build for CPUs."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

# not RPO_...: those are settings
VARIABLE = "TEST_VLLM_PYTHON"


def find_vllm_python() -> str:
    """The interpreter that has it; skips the test where there is none."""
    given = os.environ.get(VARIABLE)
    if given:
        return os.path.abspath(given)
    if importlib.util.find_spec("vllm") is None:
        pytest.skip(f"vLLM is not installed here (make install-vllm; {VARIABLE} names the Python that has it)")
    return sys.executable


def write_folder(gguf: str, folder: Path) -> Path:
    """A GGUF (or `embedded`) as a Hugging Face folder, which vLLM takes; needs the extra ``train``."""
    model = pytest.importorskip("tasks.training.model", reason="needs the extra `train`")
    source = model.find_source(gguf)
    model.load_policy(source, bf16=False).save_pretrained(folder)
    model.load_tokenizer(source).save_pretrained(folder)
    return folder
