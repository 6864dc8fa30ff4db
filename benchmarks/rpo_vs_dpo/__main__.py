"""Does Reverse Preference Optimization beat DPO on a model small enough to train hundreds of times?

    python -m benchmarks.rpo_vs_dpo all       # sweep, final seeds, report; goes on where it was stopped
    python -m benchmarks.rpo_vs_dpo quick     # base, DPO and RPO on two seeds: two minutes
    python -m benchmarks.rpo_vs_dpo report    # docs/rpo-vs-dpo.md and its pictures from the results alone

The protocol stands in ``arms.py``, the steps ``sweep`` and ``final`` can be run alone. Results are lines of JSON in
``--out``; ``report`` takes those in ``docs/rpo-vs-dpo`` when ``--out`` has none.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.rpo_vs_dpo import arms
from benchmarks.rpo_vs_dpo.experiment import Run, Size, final, run_all, sweep

QUICK_RATE = 1e-3


def quick(folder: Path, jobs: int, size: Size, seeds: int) -> None:
    """Base, DPO and RPO on a few seeds, at one rate for both: a look, not a result."""
    runs = [Run(arm, seed, QUICK_RATE, "validation") for seed in range(200, 200 + seeds) for arm in arms.QUICK]
    lines = run_all(folder, "quick.jsonl", runs, size, jobs)
    for arm in arms.QUICK:
        mine = [line for line in lines if line["arm"] == arm.name]
        csr, isr = (sum(line[f"sampled_{name}"] for line in mine) / len(mine) for name in ("csr", "isr"))
        print(f"{arm.name:5s} CSR {csr:.3f}  ISR {isr:.3f}  ({len(mine)} seeds)")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("all", "sweep", "final", "report", "quick"))
    parser.add_argument("--out", type=Path, default=Path("build/rpo_vs_dpo"), help="results (default: %(default)s)")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where the report goes (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each (default: 1)")
    parser.add_argument("--seeds", type=int, help="the first so many of the final seeds (quick: default 2)")
    given = parser.parse_args()
    if given.step == "quick":
        quick(given.out, given.jobs, Size(), given.seeds or 2)
        return
    if given.step in ("all", "sweep"):
        print("learning rates:", sweep(given.out, given.jobs, Size()))
    if given.step in ("all", "final"):
        chosen = given.out / "rates.json"
        if not chosen.exists():
            raise SystemExit(f"{chosen} is missing: type python -m benchmarks.rpo_vs_dpo sweep --out {given.out}")
        final(given.out, given.jobs, Size(), json.loads(chosen.read_text("utf-8")), arms.FINAL_SEEDS[: given.seeds])
    if given.step in ("all", "report"):
        from benchmarks.rpo_vs_dpo.report import write_report

        print("written:", write_report(given.out, given.docs))


if __name__ == "__main__":
    main()
