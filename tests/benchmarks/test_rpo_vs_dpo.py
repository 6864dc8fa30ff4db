# ruff: noqa: E402  (the skip stands before the imports that need what it asks for)
"""The mechanism benchmark: its language, its pairs, its bootstrap, and its smallest end-to-end piece."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

for library in ("torch", "trl", "matplotlib"):
    pytest.importorskip(library, reason="the benchmark needs the extra `train`")

import numpy as np

from benchmarks.rpo_vs_dpo import arms, pairs
from benchmarks.rpo_vs_dpo.bootstrap import CSR, ISR, Results, estimate
from benchmarks.rpo_vs_dpo.experiment import Run, Size, draw_prompts, read_lines, run_all
from benchmarks.rpo_vs_dpo.language import KINDS, draw_example, draw_text, judge, render_prompt


def judged(errors: float = 0.0) -> list[pairs.Judged]:
    rng = random.Random(1)
    prompts = [draw_example(rng)[0] for _ in range(80)]
    responses = [[" ".join(draw_text(rng)) for _ in range(arms.SAMPLES)] for _ in prompts]
    return pairs.judge_all(prompts, responses, errors, seed=1)


def test_language_complements_and_satisfiable_prompts() -> None:
    rng = random.Random(0)
    seen = set()
    for _ in range(400):
        prompt, response = draw_example(rng)
        assert all(judge(prompt, response))
        text = draw_text(rng)
        for constraint in prompt:
            seen.add((constraint.kind, constraint.wanted))
            assert constraint.follows(text) != constraint.reverse().follows(text)
            assert constraint.render() != constraint.reverse().render()
    assert seen == {(kind, wanted) for kind in KINDS for wanted in (True, False)}


def test_rpo_rows_are_mirrored_and_their_chosen_follow_everything() -> None:
    everything = judged()
    by_text = {render_prompt(each.prompt): each for each in everything}
    rows = pairs.rpo_rows(everything, 10_000, 1, seed=3)
    assert len(rows) % 2 == 0
    for one, other in zip(rows[::2], rows[1::2], strict=True):
        assert (one["chosen"], one["rejected"], one["margin"]) == (other["rejected"], other["chosen"], other["margin"])
        assert one["prompt"] != other["prompt"]
    for row in pairs.rpo_rows(everything, 10_000, 1, seed=3, only="original"):
        each = by_text[row["prompt"]]
        assert all(judge(each.prompt, row["chosen"].removesuffix("</s>")))
    for row in pairs.dpo_rows(everything, 10_000, 2, seed=3):
        each = by_text[row["prompt"]]
        chosen, rejected = (sum(judge(each.prompt, row[side].removesuffix("</s>"))) for side in ("chosen", "rejected"))
        assert chosen - rejected >= 2
    better, plain = pairs.rpo_rows(everything, 50, 1, 3, only="better"), pairs.dpo_rows(everything, 50, 1, 3)
    assert [(row["chosen"], row["rejected"]) for row in better] == [(row["chosen"], row["rejected"]) for row in plain]


def test_judge_errors_are_as_many_as_asked_and_nested() -> None:
    right, few, many = (np.array([each.verdicts for each in judged(errors)]) for errors in (0.0, 0.1, 0.2))
    assert abs((right != few).mean() - 0.1) < 0.03
    assert abs((right != many).mean() - 0.2) < 0.03
    assert ((right != few) <= (right != many)).all()


def test_bootstrap_covers_what_it_should() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(40):
        values = {seed: rng.normal(rng.normal(0.5, 0.1), 1.0, size=100) for seed in range(10)}
        found = estimate(values, draws=400)
        assert found.low < found.mean < found.high
        covered += found.low < 0.5 < found.high
    assert covered >= 32


@pytest.mark.long
def test_smallest_run_end_to_end(tmp_path: Path) -> None:
    size = Size(steps=10, prompts=60, held_out=20)
    small = {arm.name: replace(arm, rows=min(arm.rows, 32)) for arm in arms.QUICK}
    runs = [Run(arm, 0, 1e-3, "test") for arm in small.values()]
    lines = sorted(run_all(tmp_path, "results.jsonl", runs, size, jobs=1), key=lambda line: line["arm"])
    assert [(line["arm"], len(line["sampled"])) for line in lines] == [("base", 20), ("dpo", 20), ("rpo", 20)]
    assert [line["rows"] for line in lines] == [0, 32, 32]

    # a killed process leaves half a line at worst: that run alone is made again
    path = tmp_path / "results.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines[:2]) + '{"arm": "rp', "utf-8")
    assert len(read_lines(path)) == 2
    again = run_all(tmp_path, "results.jsonl", runs, size, jobs=1)
    assert again[2] == lines[2] | {"seconds": again[2]["seconds"]}

    results = Results(again)
    for metric in (CSR, ISR):
        mean = results.contrast({"rpo": 1}, metric)
        assert mean is not None and abs(mean.mean - again[2][f"sampled_{metric}"]) < 1e-4
    assert not set(draw_prompts("test", 0, 500)) & set(draw_prompts("train", 0, arms.PROMPTS))
