"""The Python that has vLLM, for tests that talk to the real server."""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest

VARIABLE = "RPO_TEST_VLLM_PYTHON"


def find_vllm_python() -> str:
    """The interpreter; skips the test where there is none."""
    given = os.environ.get(VARIABLE)
    if given:
        return given
    if importlib.util.find_spec("vllm") is None:
        pytest.skip(f"vLLM is not installed here; {VARIABLE} may name the Python of an environment that has it")
    return sys.executable
