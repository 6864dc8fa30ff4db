"""The pictures of the page, from results alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from benchmarks.rpo_vs_dpo import arms
from benchmarks.rpo_vs_dpo.bootstrap import CSR, ISR, Estimate, Results
from benchmarks.rpo_vs_dpo.claims import BY_ERRORS, BY_ERRORS_ROBUST, BY_GAP, BY_PAIRS
from benchmarks.rpo_vs_dpo.experiment import draw_prompts
from benchmarks.rpo_vs_dpo.language import KINDS

mpl.use("Agg")
from matplotlib import pyplot as plt

BLUE, ORANGE, GREEN, GREY = "#3b6fb6", "#d9822b", "#3a9a5b", "#888888"
TITLES = {CSR: "CSR: constraints followed, %", ISR: "ISR: prompts with all constraints followed, %"}
GAP_TITLES = {CSR: "CSR, points", ISR: "ISR, points"}


def set_style() -> None:
    """Sizes and colours of all pictures, and the same bytes for the same results."""
    plt.rcParams.update(
        {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "rpo", "figure.dpi": 110}
    )


def _save(figure: Any, path: Path) -> None:
    # no date inside: the same results give the same file
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)


def _bars(found: Estimate) -> list[list[float]]:
    return [[100 * (found.mean - found.low)], [100 * (found.high - found.mean)]]


def draw_methods(results: Results, path: Path) -> None:
    """Every method, sampled and greedy, with intervals."""
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.0), sharey=True, layout="constrained")
    names = [arm.name for arm in arms.MAIN]
    for axis, metric in zip(axes, (CSR, ISR), strict=True):
        for offset, (decoding, colour) in zip((0.13, -0.13), (("sampled", BLUE), ("greedy", GREY)), strict=True):
            for place, name in enumerate(reversed(names)):
                found = results.contrast({name: 1}, metric, decoding)
                if found:
                    label = {"sampled": "sampled, temperature 1", "greedy": "greedy"}[decoding] if not place else None
                    axis.errorbar(
                        100 * found.mean,
                        place + offset,
                        xerr=_bars(found),
                        fmt="o",
                        color=colour,
                        capsize=2,
                        label=label,
                    )
        axis.set_yticks(range(len(names)), [name.upper() if name != "base" else name for name in reversed(names)])
        axis.set_xlabel(TITLES[metric])
        axis.grid(axis="x", alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=2)
    figure.suptitle(f"Methods on held-out prompts, {len(results.seeds(*names))} seeds, 95 % intervals")
    _save(figure, path)


def draw_seeds(results: Results, path: Path) -> None:
    """RPO - DPO, seed by seed, and its mean."""
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 2.9), layout="constrained")
    for axis, metric in zip(axes, (CSR, ISR), strict=True):
        found = results.contrast({"rpo": 1, "dpo": -1}, metric)
        if found is None:
            continue
        axis.axhspan(100 * found.low, 100 * found.high, color=BLUE, alpha=0.15, label="95 % interval of the mean")
        axis.axhline(100 * found.mean, color=BLUE, label=f"mean {100 * found.mean:+.1f}")
        axis.axhline(0, color="black", linewidth=0.8)
        axis.plot(list(found.by_seed), [100 * value for value in found.by_seed.values()], "o", color=ORANGE)
        axis.set_xticks(list(found.by_seed))
        axis.set_xlabel("seed")
        axis.set_ylabel(GAP_TITLES[metric])
        axis.set_title(f"RPO - DPO, above 0 in {found.positive} of {len(found.by_seed)} seeds", fontsize=9)
        axis.set_ylim(min(0.0, axis.get_ylim()[0]), 1.35 * axis.get_ylim()[1])
        axis.legend(frameon=False, fontsize=8, loc="upper center", ncols=2)
    _save(figure, path)


def _lines(axis: Any, results: Results, names: Sequence[str], metric: str, label: str, colour: str) -> None:
    found = [results.contrast({name: 1}, metric) for name in names]
    known = [(place, each) for place, each in enumerate(found) if each]
    if known:
        places = [place for place, _ in known]
        errors = np.hstack([_bars(each) for _, each in known])
        heights = [100 * each.mean for _, each in known]
        axis.errorbar(places, heights, yerr=errors, fmt="o-", color=colour, capsize=2, label=label)


def draw_settings(results: Results, path: Path) -> None:
    """RPO and DPO along the number of pairs, the gap and the judge errors."""
    figure, axes = plt.subplots(2, 3, figsize=(9.6, 5.4), layout="constrained")
    panels = (
        ("training pairs", BY_PAIRS),
        ("least gap (DPO: scores, RPO: verdicts)", BY_GAP),
        ("verdicts turned round", BY_ERRORS),
    )
    for row, metric in enumerate((CSR, ISR)):
        for axis, (title, duels) in zip(axes[row], panels, strict=True):
            _lines(axis, results, [rpo for rpo, _ in duels.values()], metric, "RPO", BLUE)
            _lines(axis, results, [dpo for _, dpo in duels.values()], metric, "DPO", ORANGE)
            if duels is BY_ERRORS:
                robust = [rpo for rpo, _ in BY_ERRORS_ROBUST.values()]
                _lines(axis, results, robust, metric, "RPO, robust loss", GREEN)
            base = results.contrast({"base": 1}, metric)
            if base:
                axis.axhline(100 * base.mean, color=GREY, linestyle=":", label="base")
            axis.set_xticks(range(len(duels)), list(duels))
            axis.set_xlabel(title)
            axis.grid(axis="y", alpha=0.3)
        axes[row][0].set_ylabel(f"{metric.upper()}, %")
    figure.legend(*axes[0][2].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=4)
    figure.suptitle("What changes with the pairs (means over seeds, 95 % intervals, sampled at temperature 1)")
    _save(figure, path)


def draw_ablations(results: Results, path: Path) -> None:
    """What is left of RPO when one thing is changed: the difference to RPO of each arm."""
    names = [arm.name for arm in (*arms.MARGINS, *arms.DIRECTIONS)]
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.2), sharey=True, layout="constrained")
    for axis, metric in zip(axes, (CSR, ISR), strict=True):
        for place, name in enumerate(reversed(names)):
            found = results.contrast({name: 1, "rpo": -1}, metric)
            if found:
                axis.errorbar(100 * found.mean, place, xerr=_bars(found), fmt="o", color=BLUE, capsize=2)
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_yticks(range(len(names)), list(reversed(names)))
        axis.set_xlabel(f"difference to RPO, {GAP_TITLES[metric]}")
        axis.grid(axis="x", alpha=0.3)
    figure.suptitle("RPO (gamma 0.05, paper's scale, mirrored pairs) with one thing changed, 95 % intervals")
    _save(figure, path)


def draw_rates(sweep: list[dict[str, Any]], chosen: dict[str, float], path: Path) -> None:
    """The sweep: each method's mean CSR over the learning rates, the chosen one marked."""
    figure, axis = plt.subplots(figsize=(5.6, 3.2), layout="constrained")
    for arm, colour in zip(arms.TUNED, (GREEN, ORANGE, GREY, BLUE, "#8e5ea2"), strict=True):
        rates = sorted({line["rate"] for line in sweep if line["arm"] == arm.name})
        means = [
            100 * float(np.mean([x["sampled_csr"] for x in sweep if (x["arm"], x["rate"]) == (arm.name, rate)]))
            for rate in rates
        ]
        axis.plot(rates, means, "o-", color=colour, label=arm.name, markersize=3)
        rate = chosen[arm.tuned_as]
        axis.plot(rate, means[rates.index(rate)], "o", color=colour, markersize=8)
    axis.set_xscale("log")
    axis.set_xticks(list(arms.RATES), [f"{rate:g}" for rate in arms.RATES])
    axis.minorticks_off()
    axis.set_xlabel("learning rate (large dot: chosen)")
    axis.set_ylabel("CSR on validation prompts, %")
    axis.set_title(f"The sweep, {len(arms.TUNING_SEEDS)} tuning seeds", fontsize=9)
    axis.legend(frameon=False, fontsize=7)
    _save(figure, path)


def draw_kinds(results: Results, path: Path) -> None:
    """Which constraints each of base, DPO and RPO follows, both polarities apart."""
    seeds = results.seeds("base", "dpo", "rpo")
    if not seeds:
        return
    figure, axes = plt.subplots(1, 2, figsize=(9.0, 3.4), sharey=True, layout="constrained")
    kinds = list(KINDS)
    prompts = {seed: draw_prompts("test", seed, len(results.lines["base", seed]["sampled"])) for seed in seeds}
    for axis, wanted in zip(axes, (True, False), strict=True):
        for name, colour, shift in (("base", GREY, 0.2), ("dpo", ORANGE, 0.0), ("rpo", BLUE, -0.2)):
            heights = []
            for kind in kinds:
                verdicts = [
                    followed
                    for seed in seeds
                    for prompt, vector in zip(prompts[seed], results.vectors(name, seed, "sampled"), strict=True)
                    for constraint, followed in zip(prompt, vector, strict=True)
                    if constraint.kind == kind and constraint.wanted == wanted
                ]
                heights.append(100 * float(np.mean(verdicts)))
            label = name.upper() if name != "base" else name
            axis.barh(np.arange(len(kinds)) + shift, heights, height=0.2, color=colour, label=label)
        axis.set_yticks(range(len(kinds)), kinds)
        axis.set_xlabel("followed, %")
        axis.set_title(
            "as it stands ('use', 'start', ...)" if wanted else "reversed ('avoid', 'start not', ...)", fontsize=9
        )
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=3)
    figure.suptitle("Held-out constraints followed, by kind and polarity")
    _save(figure, path)
