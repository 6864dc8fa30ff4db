"""Runs: one for each (arm, seed), kept as a line of JSON when it has finished.

The folder of results holds ``sweep.jsonl``, ``rates.json`` and ``results.jsonl``; beside them ``seeds/<seed>`` holds a
seed's base model and its responses, made once. A finished run is not run again. A process that is killed loses the run
it was in: a line is appended whole, in one write, and a line cut short by a full disk is left out when read.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.rpo_vs_dpo import arms
from benchmarks.rpo_vs_dpo.arms import Arm
from benchmarks.rpo_vs_dpo.language import CONSTRAINTS, Prompt, draw_example, judge, render_prompt
from benchmarks.rpo_vs_dpo.pairs import count_cases, judge_all

Line = dict[str, Any]
DIGITS = "0123456789abcdefghijklmnopqrstuv"
"""One character for the verdict vector of a held-out prompt: its position in base two, the first constraint lowest."""


@dataclass(frozen=True)
class Size:
    """How much of everything; ``Size()`` is the protocol, anything less is for looking and for tests."""

    steps: int | None = None
    prompts: int = arms.PROMPTS
    held_out: int = arms.HELD_OUT


@dataclass(frozen=True)
class Run:
    """One arm on one seed, with a learning rate, evaluated on the prompts of a split."""

    arm: Arm
    seed: int
    rate: float
    split: str


def draw_prompts(split: str, seed: int, number: int) -> list[Prompt]:
    """Prompts of a split and seed, none of them among the training prompts of that seed."""
    rng = random.Random(f"{split} {seed}")
    taken = set() if split == "train" else set(draw_prompts("train", seed, arms.PROMPTS))
    prompts: dict[Prompt, None] = {}
    while len(prompts) < number:
        prompt, _ = draw_example(rng)
        if prompt not in taken:
            prompts[prompt] = None
    return list(prompts)


def read_lines(path: Path) -> list[Line]:
    """The finished runs of a file."""
    lines = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


def append_line(path: Path, line: Line) -> None:
    """Add a finished run, in one write."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(text, "utf-8")
    temporary.replace(path)


def prepare_seed(folder: Path, seed: int, size: Size) -> tuple[Any, Any, list[list[str]]]:
    """The base model of a seed, its tokenizer, and its responses to the training prompts; made if they are missing."""
    import torch

    from benchmarks.rpo_vs_dpo.base import STEPS, make_model, make_tokenizer, pretrain, sample

    home, tokenizer = folder / "seeds" / str(seed), make_tokenizer()
    home.mkdir(parents=True, exist_ok=True)
    weights, responses = home / "base.pt", home / "responses.json"
    # the responses are written last: where they are, the weights are whole
    if responses.exists():
        model = make_model(tokenizer)
        model.load_state_dict(torch.load(weights, weights_only=True))
        return model.eval(), tokenizer, json.loads(responses.read_text("utf-8"))
    model = pretrain(tokenizer, seed, size.steps or STEPS)
    prompts = [render_prompt(prompt) for prompt in draw_prompts("train", seed, size.prompts)]
    sampled = sample(model, tokenizer, prompts, seed, times=arms.SAMPLES)
    torch.save(model.state_dict(), weights)
    _write_whole(responses, json.dumps(sampled))
    return model, tokenizer, sampled


def execute(folder: Path, run: Run, size: Size) -> Line:
    """Train an arm and judge what it answers to the held-out prompts, sampled and greedy."""
    import torch

    from benchmarks.rpo_vs_dpo.base import sample
    from benchmarks.rpo_vs_dpo.training import make_rows, train

    torch.set_num_threads(1)
    base, tokenizer, responses = prepare_seed(folder, run.seed, size)
    judged = judge_all(draw_prompts("train", run.seed, size.prompts), responses, run.arm.errors, run.seed)
    started = time.perf_counter()
    rows = make_rows(run.arm, judged, run.seed) if run.arm.method != "base" else []
    model, log = train(run.arm, base, tokenizer, rows, run.rate, run.seed) if rows else (base, {})
    seconds = time.perf_counter() - started
    line: Line = {"arm": run.arm.name, "seed": run.seed, "rate": run.rate, "rows": len(rows), **log}
    prompts = draw_prompts(run.split, run.seed, size.held_out)
    texts = [render_prompt(prompt) for prompt in prompts]
    for decoding in ("sampled", "greedy"):
        answers = sample(model, tokenizer, texts, run.seed, greedy=decoding == "greedy")
        vectors = [judge(prompt, answer[0]) for prompt, answer in zip(prompts, answers, strict=True)]
        line[f"{decoding}_csr"] = round(sum(map(sum, vectors)) / len(vectors) / CONSTRAINTS, 4)
        line[f"{decoding}_isr"] = round(sum(map(all, vectors)) / len(vectors), 4)
        line[decoding] = "".join(DIGITS[sum(v << n for n, v in enumerate(vector))] for vector in vectors)
        line[f"{decoding}_words"] = round(statistics.fmean(len(answer[0].split()) for answer in answers), 2)
    if run.arm.method == "base":
        line["cases"] = count_cases(judged)
    return line | {"seconds": round(seconds, 2)}


def run_all(folder: Path, file: str, runs: Iterable[Run], size: Size, jobs: int) -> list[Line]:
    """Execute what is not finished yet, in the given order, and return all lines of the file."""
    path = folder / file
    folder.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        _write_whole(path, "".join(json.dumps(line) + "\n" for line in read_lines(path)))
    done = {(line["arm"], line["seed"], line["rate"]) for line in read_lines(path)}
    waiting = [run for run in runs if (run.arm.name, run.seed, run.rate) not in done]
    os.environ["OMP_NUM_THREADS"] = "1"
    unmade = sorted({run.seed for run in waiting if not (folder / f"seeds/{run.seed}/responses.json").exists()})
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        try:
            # all bases before any run: two runs of a seed would both make its base
            for made in as_completed([pool.submit(_make_base, folder, seed, size) for seed in unmade]):
                print(f"seed {made.result()}: base model and responses", flush=True)
            # as they finish, not as they were asked for: a run that is done must not wait in memory for another
            futures = [pool.submit(execute, folder, run, size) for run in waiting]
            for number, future in enumerate(as_completed(futures), start=1):
                line = future.result()
                append_line(path, line)
                print(
                    f"{file} {number}/{len(waiting)}  {line['arm']} seed {line['seed']} rate {line['rate']:g}: CSR "
                    f"{line['sampled_csr']:.3f} ISR {line['sampled_isr']:.3f}  {line['seconds']:.1f} s",
                    flush=True,
                )
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return read_lines(path)


def _make_base(folder: Path, seed: int, size: Size) -> int:
    import torch

    torch.set_num_threads(1)
    prepare_seed(folder, seed, size)
    return seed


def sweep(folder: Path, jobs: int, size: Size, seeds: Sequence[int] = arms.TUNING_SEEDS) -> dict[str, float]:
    """The learning rate of each tuned method: the best mean CSR on the validation prompts of the tuning seeds."""
    runs = [Run(arm, seed, rate, "validation") for seed in seeds for arm in arms.TUNED for rate in arms.RATES]
    lines = run_all(folder, "sweep.jsonl", runs, size, jobs)
    rates = {}
    for arm in arms.TUNED:
        means = {
            rate: statistics.fmean(
                line[f"{arms.CRITERION}_csr"] for line in lines if line["arm"] == arm.name and line["rate"] == rate
            )
            for rate in arms.RATES
        }
        rates[arm.tuned_as] = max(means, key=lambda rate: means[rate])
    _write_whole(folder / "rates.json", json.dumps(rates, indent=1) + "\n")
    return rates


def final(folder: Path, jobs: int, size: Size, rates: dict[str, float], seeds: Sequence[int]) -> list[Line]:
    """Every arm on the final seeds, the main comparison first."""
    others = [arm for arm in arms.ARMS if arm not in arms.MAIN]
    runs = [
        Run(arm, seed, rates.get(arm.tuned_as, 0.0), "test")
        for group in (arms.MAIN, others)
        for seed in seeds
        for arm in group
    ]
    return run_all(folder, "results.jsonl", runs, size, jobs)
