"""The scripted server as a tool: its options, the settings for it, and what it has to say at the end."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from typing import get_args

from tests.scripted_faults import Fault
from tests.scripted_server import Format, Script, ScriptedServer

_ROLES = {"author": 4096, "user": 128, "responder": 512, "critic": 1024, "judge": 2048, "policy": 512}
"""Who can be sent here, and the tokens of an answer that are enough."""


def read_fault(option: str) -> tuple[Fault, float]:
    """A fault and its share in all answers: ``internal=0.05``; without a share: all."""
    name, _, share = option.partition("=")
    for fault in get_args(Fault):
        if fault == name and 0 <= float(share or 1) <= 1:
            return fault, float(share or 1)
    raise argparse.ArgumentTypeError(
        f"{option!r}: NAME=P is wanted, P from 0 to 1, NAME of {', '.join(get_args(Fault))}"
    )


async def _run(server: ScriptedServer, shown: str) -> None:
    await server.start()
    print(shown.format(base_url=server.base_url), flush=True)
    stopped = asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, stopped.set)
    await stopped.wait()


def render_settings(model: str, key: bool) -> str:
    """The settings that send every role to the server, as TOML; ``{base_url}`` is left to be filled in."""
    lines = ["[endpoints.scripted]", 'base_url = "{base_url}"', f"model = {json.dumps(model)}"]
    if key:
        lines.append('api_key_env = "SCRIPTED_KEY"  # type: export SCRIPTED_KEY=...')
    for role, max_tokens in _ROLES.items():
        lines += ["", f"[roles.{role}]", 'endpoint = "scripted"', f"max_tokens = {max_tokens}"]
    return "\n".join(lines)


def render_summary(server: ScriptedServer) -> str:
    """What was asked and done wrong, in words."""
    repeated = sum(count > 1 for count in server.completed.values())
    lines = [
        f"{server.requests} requests, at most {server.peak} at the same time",
        f"{len(+server.completed)} calls completed, {repeated} of them more than once",
        f"{server.given_up} given up by the client before they were answered",
    ]
    faults = [f"{count} {fault}" for fault, count in sorted((+server.faults).items())]
    return "\n".join([*lines, f"faults with an effect: {', '.join(faults) or 'none'}"])


def main(arguments: Sequence[str] | None = None, name: str | None = None) -> None:
    """Serve until Ctrl-C: the settings for it on standard output, what was asked on standard error at the end."""
    parser = argparse.ArgumentParser(name, description="A scripted OpenAI-compatible server on the loopback address.")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--latency-ms", type=float, default=0, help="before every answer")
    parser.add_argument("--slow-ms", type=float, default=5000, help="more latency of the fault slow")
    parser.add_argument("--retry-after", default="1", help="header of rate_limit and unavailable")
    parser.add_argument("--key", default="", help="answer 401 to any other")
    parser.add_argument("--model", action="append", default=[], help="answer 404 to any other; may be repeated")
    parser.add_argument("--context", type=int, default=0, help="answer 400 to longer chats, in tokens; 0: to none")
    parser.add_argument(
        "--fault", action="append", default=[], type=read_fault, metavar="NAME=P", help=", ".join(get_args(Fault))
    )
    parser.add_argument("--faulty-attempts", type=int, default=1_000_000, help="answer later attempts of a body")
    parser.add_argument("--refuse", action="append", default=[], choices=get_args(Format), help="answer 400 to it")
    options = parser.parse_args(arguments)
    faults: dict[Fault, float] = dict(options.fault)
    if sum(faults.values()) > 1:
        parser.error("the shares of --fault are more than 1 together")
    script = Script(
        models=tuple(options.model),
        key=options.key,
        context=options.context,
        latency_s=options.latency_ms / 1000,
        slow_s=options.slow_ms / 1000,
        retry_after=options.retry_after,
        faults=faults,
        faulty_attempts=options.faulty_attempts,
        refused=tuple(options.refuse),
    )
    server = ScriptedServer(script, port=options.port)
    try:
        asyncio.run(_run(server, render_settings((*script.models, "scripted")[0], bool(script.key))))
    except BrokenPipeError:
        raise  # who reads the output is gone
    except OSError as error:
        parser.error(f"cannot listen on port {options.port}: {error.strerror}; --port 0 takes any free one")
    print(f"\n{render_summary(server)}", file=sys.stderr)
