"""The page ``docs/rpo-vs-dpo.md`` and its pictures, from the results alone."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.rpo_vs_dpo import arms, figures
from benchmarks.rpo_vs_dpo.bootstrap import CSR, ISR, Estimate, Results
from benchmarks.rpo_vs_dpo.claims import (
    BY_COUPLES,
    BY_ERRORS,
    BY_ERRORS_ROBUST,
    BY_GAP,
    BY_PAIRS,
    CLAIMS,
    arms_table,
    claims_table,
    duel_table,
    points,
)
from benchmarks.rpo_vs_dpo.experiment import draw_prompts, read_lines
from benchmarks.rpo_vs_dpo.language import render_prompt

FILES = ("sweep.jsonl", "rates.json", "results.jsonl")
PAGE = Path(__file__).with_name("page.md")
"""The page with its numbers left out: everything that a person wrote stands there."""


def write_report(results: Path, docs: Path) -> Path:
    """Write the page; results found in ``results`` are copied beside it first."""
    home = docs / "rpo-vs-dpo"
    home.mkdir(parents=True, exist_ok=True)
    if (results / "results.jsonl").exists():
        for name in FILES:
            shutil.copyfile(results / name, home / name)
    lines, sweep = read_lines(home / "results.jsonl"), read_lines(home / "sweep.jsonl")
    if not lines or not sweep:
        raise SystemExit(f"no results in {results} or {home}: type python -m benchmarks.rpo_vs_dpo all")
    rates: dict[str, float] = json.loads((home / "rates.json").read_text("utf-8"))
    found = Results(lines)
    figures.set_style()
    figures.draw_seeds(found, home / "seeds.svg")
    figures.draw_methods(found, home / "methods.svg")
    figures.draw_kinds(found, home / "kinds.svg")
    figures.draw_settings(found, home / "settings.svg")
    figures.draw_ablations(found, home / "ablations.svg")
    figures.draw_rates(sweep, rates, home / "rates.svg")
    page = docs / "rpo-vs-dpo.md"
    page.write_text(PAGE.read_text("utf-8").format(**_facts(found), **_setting(rates), **_cost(lines, sweep)), "utf-8")
    return page


def _facts(results: Results) -> dict[str, Any]:
    main, rpo, dpo = [], {"rpo": 1.0, "dpo": -1.0}, "dpo"
    for name, metric, decoding in (
        ("CSR, share of constraints", CSR, "sampled"),
        ("ISR, share of prompts", ISR, "sampled"),
        ("CSR, greedy decoding", CSR, "greedy"),
        ("ISR, greedy decoding", ISR, "greedy"),
    ):
        found = results.contrast(rpo, metric, decoding)
        assert found is not None
        main.append(f"| {name} | **{points(found)}** | {found.positive} of {len(found.by_seed)} |")
    seeds = results.seeds("rpo", "dpo")
    by_dpo = [arm for arm in arms.ARMS if arm.name == dpo]
    rpo_arm = [arm for arm in arms.ARMS if arm.name == "rpo"]
    return {
        "main": "\n".join(main),
        "seeds": len(seeds),
        "seed_list": ", ".join(map(str, seeds)),
        "claims": len(CLAIMS) + 1,
        "claims_table": claims_table(results),
        "methods": arms_table(results, arms.MAIN, dpo),
        "margins": arms_table(results, (*rpo_arm, *arms.MARGINS), "rpo"),
        "directions": arms_table(results, (*by_dpo, *rpo_arm, *arms.DIRECTIONS), "rpo"),
        "by_pairs": duel_table(results, "rows", BY_PAIRS | BY_COUPLES),
        "by_gap": duel_table(results, "least gap", BY_GAP),
        "by_errors": duel_table(results, "errors", BY_ERRORS),
        "by_robust": duel_table(results, "errors, RPO with `robust`", BY_ERRORS_ROBUST),
        "filtered": _filtered(results),
        "cases": _cases(results),
        "greedy": _greedy(results.contrast(rpo, CSR, "greedy"), results.contrast(rpo, CSR)),
    }


def _greedy(greedy: Estimate | None, sampled: Estimate | None) -> str:
    same = greedy and sampled and greedy.verdict == sampled.verdict
    return (
        "Sampling at temperature 1 rewards a method for merely sharpening the distribution; greedy decoding does not. "
        + ("RPO - DPO comes out on the same side in both." if same else "RPO - DPO does not come out the same in both.")
    )


def _filtered(results: Results) -> str:
    lines = [
        "| RPO without a filter against | CSR | ISR | CSR greedy | ISR greedy |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in ("dpo", "dpo-gap-2", "dpo-gap-3"):
        contrasts = (
            results.contrast({"rpo": 1, name: -1}, metric, how)
            for how in ("sampled", "greedy")
            for metric in (CSR, ISR)
        )
        lines.append(f"| {name} | {' | '.join(map(points, contrasts))} |")
    return "\n".join(lines)


def _cases(results: Results) -> str:
    names = {
        "0": "same verdicts",
        "1": "same score, disjoint",
        "2": "same score, overlapping",
        "3": "noisy, disjoint",
        "4": "noisy, overlapping",
        "5": "one holds the other, not perfect",
        "6": "chosen perfect",
    }
    counts = [results.lines["base", seed]["cases"] for seed in results.seeds("base")]
    total = sum(sum(each.values()) for each in counts)
    shares = {case: sum(each.get(case, 0) for each in counts) / total for case in names}
    return ", ".join(f"{name} {100 * shares[case]:.0f} %" for case, name in names.items())


def _setting(rates: dict[str, float]) -> dict[str, Any]:
    from benchmarks.rpo_vs_dpo.base import make_model, make_tokenizer

    prompt = draw_prompts("test", 0, 1)[0]
    return {
        "rows": arms.ROWS,
        "prompts": arms.HELD_OUT,
        "parameters": make_model(make_tokenizer()).num_parameters(),
        "train_prompts": arms.PROMPTS,
        "samples": arms.SAMPLES,
        "epochs": arms.EPOCHS,
        "batch": arms.BATCH,
        "beta": arms.BETA,
        "smoothing": arms.SMOOTHING,
        "example": render_prompt(prompt),
        "rates_tried": ", ".join(f"{rate:g}" for rate in arms.RATES),
        "tuned": ", ".join(f"`{arm.name}`" for arm in arms.TUNED),
        "tuning_seeds": ", ".join(map(str, arms.TUNING_SEEDS)),
        "rates": ", ".join(f"{name} {rate:g}" for name, rate in rates.items()),
        **{name: version(name) for name in ("trl", "transformers", "torch")},
    }


def _cost(lines: list[dict[str, Any]], sweep: list[dict[str, Any]]) -> dict[str, Any]:
    every = [*lines, *sweep]
    return {
        "runs": len(every),
        "minutes": sum(line["seconds"] for line in every) / 60,
        "bases": len({line["seed"] for line in every}),
    }
