"""Judging at full speed: the real stage through Prefect, parts and call cache, against a judge of 1000 ms.

    python -m benchmarks.judging --calls 5000 --slots 64 256

For each number of slots three runs against a server in a process of its own: the factory, a bare loop of
``AsyncOpenAI`` with the same requests, and the factory again with 5 % of answers 429 (``Retry-After: 1``) or 500.

* Share of the ideal: N x latency / slots, divided by the time from the first request's arrival at the server to its
  last answer.
* CPU a call: user and system time of the whole factory process (all its threads; not Prefect's server) from before the
  flow is called until it has returned, divided by N: Prefect's engine, reading and writing parts, call cache, catalog
  and all. Imports are left out.
* Memory: the process's highest resident size (VmHWM) in all its life, imports included, of the plain install (without
  what the extra `train` brings); what imports alone take is printed beside it.

Exit code 1 if a limit is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.judge_server import CONSTRAINTS
from benchmarks.prefect_server import prefect_server
from flows.environment import prepare_environment
from models.base import digest
from models.endpoints import Endpoint, Role, Roles
from models.records import Constraint, PartRef, Response, SystemProfile, Turn
from models.settings import FactorySettings, Judging
from storage.parts import PartStore

LATENCY_S = 1.0
SAMPLES, BATCH = 5, 100
MIN_SHARE, MIN_FAULTY, MAX_CPU_MS, MAX_MB = 0.90, 0.80, 2.0, 200
FAULTS = 0.05
# this module in a plain install: where the extra `train` has brought numpy and pandas, pyarrow imports them, 60 MB
_PLAIN = """
import runpy, sys
sys.modules["numpy"] = sys.modules["pandas"] = None
runpy.run_module("benchmarks.judging", run_name="__main__")
"""
_SENTENCE = "The harbour opens at seven, and the ferry to the island leaves from the second pier every other hour. "


def settings_of(data: Path, port: int, slots: int) -> FactorySettings:
    """A judge at a port, as a user would set it."""
    endpoint = Endpoint(base_url=f"http://127.0.0.1:{port}/v1", model="judge", max_concurrency=slots, timeout_s=60)
    return FactorySettings(
        run="bench",
        data=str(data),
        batch_size=BATCH,
        endpoints={"judge": endpoint},
        roles=Roles(policy=Role(endpoint="judge"), judge=Role(endpoint="judge", temperature=0)),
        judging=Judging(calibration_share=0),
    )


def write_responses(root: Path, calls: int) -> None:
    """So many responses to judge, in batches, each of one system without checks and ten turns."""
    store = PartStore(root)
    store.ensure_schemas()
    for first in range(0, calls, BATCH):
        system_id = f"s{first}"
        constraints = [
            Constraint(constraint_id=f"{system_id}-{place}", text=f"Demand {place}: be plain.", kind="style")
            for place in range(CONSTRAINTS)
        ]
        system = SystemProfile(
            system_id=system_id, role_id="r", language="en", name="a guide", description=_SENTENCE, skills=["maps"],
            questions=[], author="author", constraints=constraints,
        )  # fmt: skip
        turns, responses = [], []
        for number in range(first, min(first + BATCH, calls)):
            turn, sample = divmod(number - first, SAMPLES)
            if sample == 0:
                turns.append(
                    Turn(
                        dialogue_id=f"d{first}",
                        turn=turn + 1,
                        system_id=system_id,
                        user_id="u",
                        query="When?",
                        triggered_ids=[constraint.constraint_id for constraint in constraints],
                        reference="Soon.",
                        reference_score=1,
                        reference_model="m",
                    )
                )
            responses.append(
                Response(
                    response_id=f"r{number}",
                    dialogue_id=f"d{first}",
                    turn=turn + 1,
                    sample=sample,
                    text=f"Answer {number}. {_SENTENCE * 8}",
                    model="policy",
                    finish_reason="stop",
                    prompt_tokens=100,
                    completion_tokens=150,
                    origin="sampled",
                )
            )
        written = store.write("systems", digest(["systems", first]), [system])
        played = store.write("turns", digest(["turns", first]), turns, inputs=[written])
        store.write("responses", digest(["responses", first]), responses, inputs=[played])


def response_parts(root: Path, calls: int) -> list[PartRef]:
    """What ``write_responses`` wrote."""
    keys = [digest(["responses", first]) for first in range(0, calls, BATCH)]
    found = [PartStore(root).find("responses", key) for key in keys]
    return [ref for ref in found if ref is not None]


def run_factory(settings: FactorySettings, calls: int) -> dict[str, float]:
    """The stage as the factory runs it, in this process."""
    from prefect import flow

    from flows.factory import RUNNER
    from flows.run import open_run
    from flows.stages import judge_responses

    @flow(name="judging", task_runner=RUNNER)
    def judging(parts: list[PartRef]) -> int:
        with open_run(settings) as run:
            [judged] = run.collect(judge_responses(run, parts))
            return sum(ref.rows for ref in judged)

    parts = response_parts(settings.data_dir, calls)
    before = os.times()
    rows = judging(parts)
    after = os.times()
    if rows != calls * CONSTRAINTS:
        raise SystemExit(f"{rows} verdicts on {calls} responses")
    return {"cpu_s": after.user - before.user + after.system - before.system, "mb": peak_mb()}


def run_bare(settings: FactorySettings, calls: int) -> dict[str, float]:
    """The same requests by the shortest program that a user would write."""
    import openai

    from tasks.batch import Batch
    from tasks.judging import read_cases
    from tasks.llm.answers import schema_text
    from tasks.llm.calls import request_body
    from tasks.llm.prompts import judge

    player, batch = settings.roles.judge or settings.roles.policy, Batch("judge_responses", settings)
    schema = {"name": "GivenVerdicts", "schema": json.loads(schema_text(judge.GivenVerdicts)), "strict": True}
    wanted, bodies = {"type": "json_schema", "json_schema": schema}, []
    for part in response_parts(settings.data_dir, calls):
        for case in read_cases(batch, part):
            constraints = [constraint for _, constraint in case.triggered]
            messages = judge.messages(case.system, case.query, case.response.text, constraints)
            bodies.append(request_body(player, settings.endpoints["judge"], messages, ["0" * 32], wanted))

    async def ask_all() -> None:
        client = openai.AsyncOpenAI(base_url=settings.endpoints["judge"].base_urls[0], api_key="none", timeout=60)
        slots = asyncio.Semaphore(settings.endpoints["judge"].max_concurrency)

        async def ask(body: dict[str, Any]) -> int:
            async with slots:
                answer = await client.chat.completions.create(**body)
                return len(judge.GivenVerdicts.model_validate_json(answer.choices[0].message.content or "").verdicts)

        assert sum(await asyncio.gather(*map(ask, bodies))) == calls * CONSTRAINTS

    before = os.times()
    asyncio.run(ask_all())
    after = os.times()
    return {"cpu_s": after.user - before.user + after.system - before.system, "mb": peak_mb()}


def run_imports(_settings: FactorySettings, _calls: int) -> dict[str, float]:
    """What the imports take, with the libraries that the stage loads when it is used."""
    import openai  # noqa: F401
    import prefect  # noqa: F401

    import flows.factory  # noqa: F401

    return {"cpu_s": 0.0, "mb": peak_mb()}


MEASURED = {"factory": run_factory, "bare": run_bare, "imports": run_imports}


def peak_mb() -> float:
    """The highest resident size of this process so far (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


@contextmanager
def judge_server(slots: int, faults: float) -> Iterator[int]:
    """The judge in a process of its own; gives its port."""
    command = [sys.executable, "-m", "benchmarks.judge_server", "--latency", str(LATENCY_S), "--slots", str(slots)]
    with subprocess.Popen([*command, "--faults", str(faults)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.terminate()


def measure(name: str, root: Path, calls: int, slots: int, faults: float = 0.0) -> dict[str, float]:
    """One run in a process of its own against a server of its own."""
    command = [sys.executable, "-c", _PLAIN, "--measure", name, "--root", str(root)]
    with judge_server(slots, faults) as port:
        options = ["--calls", str(calls), "--slots", str(slots), "--port", str(port)]
        done = subprocess.run([*command, *options], stdout=subprocess.PIPE, text=True, check=True)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/record") as reply:
            record = json.load(reply)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    seconds = record["last"] - record["first"]
    share = calls * LATENCY_S / slots / seconds if seconds else 0.0
    return {**result, "seconds": seconds, "share": share, "cpu_ms": 1000 * result["cpu_s"] / calls}


def report(calls: int, slots: int, folder: Path) -> list[str]:
    """Measure one number of slots, print its row, return what was missed."""
    roots = {name: folder / f"{name}-{slots}" for name in ("factory", "bare", "faulty")}
    for root in roots.values():
        write_responses(root, calls)
    factory = measure("factory", roots["factory"], calls, slots)
    bare = measure("bare", roots["bare"], calls, slots)
    faulty = measure("factory", roots["faulty"], calls, slots, FAULTS)
    relative = factory["seconds"] / faulty["seconds"]
    print(
        f"{slots:5d} {calls * LATENCY_S / slots:8.1f} {factory['seconds']:9.1f} {factory['share']:6.2f}"
        f" {factory['cpu_ms']:7.2f} {factory['mb']:8.0f} |{bare['share']:6.2f} {bare['cpu_ms']:7.2f}"
        f" |{faulty['seconds']:7.1f} {relative:6.2f}",
        flush=True,
    )
    limits = [
        (factory["share"] >= MIN_SHARE, f"share of the ideal {factory['share']:.2f} < {MIN_SHARE}"),
        (factory["cpu_ms"] <= MAX_CPU_MS, f"CPU {factory['cpu_ms']:.2f} ms a call > {MAX_CPU_MS}"),
        (factory["mb"] <= MAX_MB, f"peak {factory['mb']:.0f} MB > {MAX_MB}"),
        (relative >= MIN_FAULTY, f"with faults {relative:.2f} of the clean speed < {MIN_FAULTY}"),
    ]
    return [f"{slots} slots: {missed}" for held, missed in limits if not held]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=5000, help="responses to judge, one call each")
    parser.add_argument(
        "--slots", type=int, nargs="+", default=[64, 256], help="answers that the server makes at a time"
    )
    parser.add_argument("--measure", choices=MEASURED, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        prepare_environment(quiet=True)  # as the command `rpo` does
        settings = settings_of(given.root, given.port, given.slots[0])
        print(json.dumps(MEASURED[given.measure](settings, given.calls)))
        return
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{given.calls} calls of {LATENCY_S:g} s, {os.cpu_count()} cores, load before {load}")
    print("slots  ideal s factory s  share  CPU ms  peak MB |  bare  CPU ms | faulty  speed")
    missed = []
    with tempfile.TemporaryDirectory() as folder, prefect_server(Path(folder)):
        for slots in given.slots:
            missed += report(given.calls, slots, Path(folder))
        alone = measure("imports", Path(folder), 1, 1)
    print(f"the imports alone: {alone['mb']:.0f} MB; load after {os.getloadavg()[0]:.1f}")
    for line in missed:
        print(f"MISSED: {line}")
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
