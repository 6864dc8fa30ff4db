"""What the paper says, as contrasts of arms; and the tables of the page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.rpo_vs_dpo import arms
from benchmarks.rpo_vs_dpo.arms import Arm
from benchmarks.rpo_vs_dpo.bootstrap import CSR, ISR, Estimate, Results


@dataclass(frozen=True)
class Claim:
    """A claim of the paper and the contrast that would be above 0 if it held here."""

    text: str
    contrast: str
    weights: dict[str, float]


def _minus(better: str, worse: str) -> dict[str, float]:
    return {better: 1.0, worse: -1.0}


def _robust(errors: str) -> dict[str, float]:
    return {f"rpo-errors-{errors}": 1.0, "rpo": -1.0, f"dpo-errors-{errors}": -1.0, "dpo": 1.0}


CLAIMS = (
    Claim("RPO is better than DPO (Table 1: CSR +2.5, ISR +4.6)", "rpo - dpo", _minus("rpo", "dpo")),
    Claim("RPO is better than KTO (Table 1)", "rpo - kto", _minus("rpo", "kto")),
    Claim("RPO is better than SFT (Table 1)", "rpo - sft", _minus("rpo", "sft")),
    Claim("SFT on the best responses is better than the base (Table 1)", "sft - base", _minus("sft", "base")),
    Claim("DPO is better than SFT (Table 1)", "dpo - sft", _minus("dpo", "sft")),
    Claim(
        "It is the reversal: the prompts of DPO's own pairs rewritten, nothing else changed, is better than DPO",
        "rpo-better - dpo",
        _minus("rpo-better", "dpo"),
    ),
    Claim(
        "Mirroring adds to it: both directions of a couple against the better one chosen, as many rows",
        "rpo - rpo-better",
        _minus("rpo", "rpo-better"),
    ),
    Claim("The margin helps: gamma 0.05 against 0 (Table 2)", "rpo - rpo-gamma-0", _minus("rpo", "rpo-gamma-0")),
    Claim(
        "Pairs of larger difference train better: RPO, 3 against 1 (Table 2)",
        "rpo-gap-3 - rpo",
        _minus("rpo-gap-3", "rpo"),
    ),
    Claim("The same for DPO's difference of scores: 3 against 1", "dpo-gap-3 - dpo", _minus("dpo-gap-3", "dpo")),
    Claim(
        "RPO is better than DPO that is filtered, too: RPO of any difference against DPO's scores 2 apart*",
        "rpo - dpo-gap-2",
        _minus("rpo", "dpo-gap-2"),
    ),
    Claim(
        "The same, both filtered: 3 verdicts against scores 3 apart",
        "rpo-gap-3 - dpo-gap-3",
        _minus("rpo-gap-3", "dpo-gap-3"),
    ),
    Claim(
        "Reversed constraints add to original ones: both against original only (Table 2)",
        "rpo - rpo-original",
        _minus("rpo", "rpo-original"),
    ),
    Claim(
        "Original constraints add to reversed ones: both against reversed only (Table 2)",
        "rpo - rpo-reversed",
        _minus("rpo", "rpo-reversed"),
    ),
    Claim(
        "RPO suffers less from judge errors: its loss at 10 % errors against DPO's loss",
        "(rpo at 10 % - rpo) - (dpo at 10 % - dpo)",
        _robust("0.1"),
    ),
    Claim("The same at 20 % errors", "(rpo at 20 % - rpo) - (dpo at 20 % - dpo)", _robust("0.2")),
)
VERDICTS = {1: "shown", 0: "not shown", -1: "the opposite"}


def points(estimate: Estimate | None, signed: bool = True) -> str:
    """An estimate in points of 100, with its interval."""
    if estimate is None:
        return "not run"
    form = "+.1f" if signed else ".1f"
    mean, low, high = (format(100 * value, form) for value in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} [{low}, {high}]"


def verdict(csr: Estimate | None, isr: Estimate | None) -> str:
    """In words: the two metrics together, or apart where they differ."""
    if csr is None or isr is None:
        return "not run"
    if csr.verdict == isr.verdict:
        return f"**{VERDICTS[csr.verdict]}**"
    return f"CSR **{VERDICTS[csr.verdict]}**, ISR **{VERDICTS[isr.verdict]}**"


def claims_table(results: Results) -> str:
    """Claim by claim."""
    lines = [
        "| what the paper claims | contrast | CSR | ISR | positive seeds (CSR) | here |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for claim in CLAIMS:
        csr, isr = (results.contrast(claim.weights, metric) for metric in (CSR, ISR))
        seeds = f"{csr.positive} of {len(csr.by_seed)}" if csr else ""
        lines.append(
            f"| {claim.text} | {claim.contrast} | {points(csr)} | {points(isr)} | {seeds} | {verdict(csr, isr)} |"
        )
    lines.append(
        "| The reward difference of chosen and rejected grows more | last epoch's mean, beta times the logratios | "
        + f"RPO {_logged(results, 'rpo')}, DPO {_logged(results, 'dpo')} | | | {_growth(results)} |"
    )
    return "\n".join(lines)


def _logged(results: Results, name: str) -> str:
    return f"{results.mean_of(name, 'rewards/margins'):.3f}"


def _growth(results: Results) -> str:
    seeds = results.seeds("rpo", "dpo")
    column = "rewards/margins"
    larger = sum(results.lines["rpo", s][column] > results.lines["dpo", s][column] for s in seeds)
    word = VERDICTS[1 if larger == len(seeds) else -1 if larger == 0 else 0]
    return f"**{word}**: RPO's is larger in {larger} of {len(seeds)} seeds"


def arms_table(results: Results, chosen: Iterable[Arm], against: str) -> str:
    """Arms with their means, and their difference to one of them."""
    lines = [
        f"| arm | rows | seeds | CSR | ISR | CSR minus {against} | ISR minus {against} | CSR greedy | ISR greedy |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for arm in chosen:
        seeds = results.seeds(arm.name)
        if not seeds:
            continue
        cells = [points(results.contrast({arm.name: 1}, metric), signed=False) for metric in (CSR, ISR)]
        cells += [
            "" if arm.name == against else points(results.contrast(_minus(arm.name, against), metric))
            for metric in (CSR, ISR)
        ]
        greedy = (results.contrast({arm.name: 1}, metric, "greedy") for metric in (CSR, ISR))
        cells += [f"{100 * found.mean:.1f}" for found in greedy if found]
        lines.append(f"| {arm.name} | {results.mean_of(arm.name, 'rows'):.0f} | {len(seeds)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def duel_table(results: Results, title: str, duels: dict[str, tuple[str, str]]) -> str:
    """RPO against DPO along one setting; label -> (RPO's arm, DPO's arm)."""
    lines = [
        f"| {title} | DPO CSR / ISR | RPO CSR / ISR | RPO - DPO, CSR | RPO - DPO, ISR | positive seeds (CSR) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for label, (rpo, dpo) in duels.items():
        csr, isr = (results.contrast(_minus(rpo, dpo), metric) for metric in (CSR, ISR))
        if csr is None:
            continue
        means = []
        for name in (dpo, rpo):
            pair = (results.contrast({name: 1}, metric) for metric in (CSR, ISR))
            means.append(" / ".join(f"{100 * found.mean:.1f}" for found in pair if found))
        seeds = f"{csr.positive} of {len(csr.by_seed)}"
        lines.append(f"| {label} | {means[0]} | {means[1]} | {points(csr)} | {points(isr)} | {seeds} |")
    return "\n".join(lines)


BY_PAIRS = {
    str(rows): ("rpo", "dpo") if rows == arms.ROWS else (f"rpo-{rows}-pairs", f"dpo-{rows}-pairs")
    for rows in (100, 200, 400, 800)
}
BY_COUPLES = {"as many couples: DPO 400 rows, RPO 800": ("rpo-800-pairs", "dpo")}
"""A couple of responses is one row for DPO and two for RPO."""
BY_GAP = {str(gap): ("rpo", "dpo") if gap == 1 else (f"rpo-gap-{gap}", f"dpo-gap-{gap}") for gap in (1, 2, 3)}
BY_ERRORS = {
    f"{100 * errors:.0f} %": (f"rpo-errors-{errors}", f"dpo-errors-{errors}") if errors else ("rpo", "dpo")
    for errors in (0, 0.05, 0.1, 0.2)
}
BY_ERRORS_ROBUST = {label: (rpo.replace("rpo", "rpo-robust", 1), dpo) for label, (rpo, dpo) in BY_ERRORS.items()}
