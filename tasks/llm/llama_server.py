"""A llama.cpp server in a process of its own: ``python -m tasks.llm.llama_server --model FILE``.

It listens on 127.0.0.1, prints one JSON line with its address once it is healthy, and ends when its standard input is
closed, which the kernel does for it however its parent dies. (PR_SET_PDEATHSIG would not do: it fires when the *thread*
that started the child ends, and worker threads end early.)
"""

from __future__ import annotations

import argparse
import json
import os
import select
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import TextIO

WATCH_INTERVAL_S = 1.0


def main() -> None:
    """Serves until standard input is closed or the parent is gone."""
    options = read_options()
    out = open_standard_output()
    address, server = _start(options)
    _wait_until_healthy(address)
    print(json.dumps({"address": address, "pid": os.getpid()}), file=out, flush=True)
    out.close()
    threading.Event().wait()
    del server


def read_options() -> argparse.Namespace:
    """The options of a server, whatever its engine."""
    parser = argparse.ArgumentParser(description="model server on the loopback address")
    parser.add_argument("--model", required=True, help="GGUF file, or folder of a Hugging Face model")
    parser.add_argument("--lora", default="", help="GGUF LoRA, or folder of a PEFT adapter, applied to the model")
    parser.add_argument("--alias", default="", help="name under which the model is listed")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--slots", type=int, default=8, help="requests that are decoded together")
    parser.add_argument("--context", type=int, default=2048, help="tokens of a slot")
    parser.add_argument("--threads", type=int, default=0, help="0: one less than cores")
    return parser.parse_args()


def open_standard_output() -> TextIO:
    """Standard output, for the address only: what the server prints goes to the log. Ends with the parent from now."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    threading.Thread(target=_exit_with_parent, args=(os.getppid(),), daemon=True).start()
    return out


def _start(options: argparse.Namespace) -> tuple[str, object]:
    try:
        import xllamacpp
    except ImportError:
        sys.exit("xllamacpp is not installed: make install")

    params = xllamacpp.CommonParams()
    params.model.path = options.model
    if options.lora:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path=options.lora, scale=1.0)]
    if options.alias:
        params.model_alias = {options.alias}
    params.n_parallel = options.slots
    params.n_ctx = options.slots * options.context
    params.hostnames = ["127.0.0.1"]
    params.port = options.port
    # ggml's threads wait for each other in a busy loop: with one a core, other work on the machine stops decoding.
    # Two cores, tokens a second in each of 5 samples: two threads 37, beside other work under 3; one thread 24 and 14.
    params.cpuparams.n_threads = options.threads or max(1, len(os.sched_getaffinity(0)) - 1)
    params.use_jinja = True  # the chat template of the GGUF
    params.ui = False
    params.offline = True
    params.cache_ram_mib = 256  # the default of 8 GB is more than a laptop can spare
    params.verbosity = 2  # warnings; its default writes ten lines a request
    # no page in a browser may use the server: the default allows all origins
    params.cors_origins = "http://127.0.0.1"
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        # its log, which the parent quotes, has said why; a traceback would push that out of sight
        sys.exit(str(error))
    return str(server.listening_address), server


def _wait_until_healthy(address: str) -> None:
    # the parent bounds the time and ends this process
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            with opener.open(f"{address}/health", timeout=10) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)


def _exit_with_parent(parent: int) -> None:
    # the parent's id is watched too: a process forked by the parent would keep the pipe open
    while True:
        readable, _, _ = select.select([0], [], [], WATCH_INTERVAL_S)
        if (readable and not os.read(0, 4096)) or os.getppid() != parent:
            os._exit(0)


if __name__ == "__main__":
    main()
