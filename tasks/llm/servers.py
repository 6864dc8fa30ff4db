"""Model servers that the factory starts, watches and stops itself."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from models.endpoints import Endpoint
from models.errors import ModelServerError
from tasks.llm.engines import ENGINES, PROJECT_ROOT, start_command, start_environment, start_timeout_s

MAX_RESTARTS = 2
_LOG_LINES = 8
_CAUSE = re.compile(r"(?:\bERROR\b.*?|^)\b(\w*(?:Error|Exception): .*)")
"""A line of a log that says why: vLLM writes a hundred more after it."""


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
        command = start_command(self._serve, self._name, self._alias)
        self._logs.mkdir(parents=True, exist_ok=True)
        kind = self._serve.engine.partition(".")[0]
        log = self._logs / f"{kind}-{uuid.uuid4().hex[:8]}.log"
        with log.open("wb") as stderr:
            self._child = subprocess.Popen(
                command,
                # a foreign program finds none of our packages (models, tasks, ...) where it begins to look
                cwd=self._logs if self._serve.engine == "vllm" else PROJECT_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=start_environment(self._serve),
                # Ctrl-C in the terminal is for us: answers on the way are still stored before the server is stopped
                start_new_session=True,
            )
        self._log = log.rename(self._logs / f"{kind}-{self._child.pid}.log")
        deadline = time.monotonic() + start_timeout_s(self._serve)
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
                raise self._start_error(f"was not healthy after {start_timeout_s(self._serve):g} s (start_timeout_s)")
            chunk = os.read(child.stdout.fileno(), 4096)
            if not chunk:
                child.wait(ENGINES[self._serve.engine].stop_timeout_s)
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
            written = self._log.read_text("utf-8", "replace").strip().splitlines()
            causes = [found[1] for line in written[:-_LOG_LINES] if (found := _CAUSE.search(line))]
            lines = [*causes[:1], *written[-_LOG_LINES:]]
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
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(ENGINES[self._serve.engine].stop_timeout_s)
        # It leads a group of its own: whatever it started goes with it, even if it was killed itself. While one of them
        # lives the group's number is not given to another.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
