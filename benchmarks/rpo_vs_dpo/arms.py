"""The protocol, fixed before the final seeds were run: what is compared, on which seeds, tuned how.

Tuning: every learning rate of ``RATES`` for every method of ``TUNED``, on the seeds ``TUNING_SEEDS`` and their
validation prompts; the rate with the highest mean CSR wins (``CRITERION``). Every other setting is the same for all
methods and was not tuned. Final: every arm on ``FINAL_SEEDS`` and their test prompts, once.

A seed changes everything: the base model's weights and its pretraining examples, the prompts, the sampled responses,
the pairs, the order of training, and the held-out prompts.
"""

from __future__ import annotations

from dataclasses import dataclass

TUNING_SEEDS = (100, 101, 102)
FINAL_SEEDS = tuple(range(10))
RATES = (2.5e-4, 5e-4, 1e-3, 2e-3)
CRITERION = "sampled"
"""The decoding by which the rate is chosen and which the main number is about: one response at temperature 1."""

PROMPTS, SAMPLES = 800, 5
"""Prompts whose responses are judged, for all arms of a seed, and responses for each (the paper samples 5)."""
HELD_OUT = 500
ROWS = 400
EPOCHS, BATCH, BETA = 3, 16, 0.1
SMOOTHING = 0.1
"""Share of wrong labels that TRL's ``robust`` loss is told to expect, whatever the true one is."""


@dataclass(frozen=True)
class Arm:
    """One thing to train.

    Attributes:
        name: How results and tables call it.
        method: ``base``, ``sft``, ``dpo``, ``kto`` or ``rpo``.
        tuned_as: The key of the swept learning rate it takes.
        rows: Pairs (SFT: responses; KTO: pairs, taken apart).
        gap: Least difference of a pair.
        gamma: Margin a differing constraint.
        scale: ``margin_scale`` of ``RPOConfig``.
        only: Which RPO rows, see ``pairs.rpo_rows``.
        errors: Share of verdicts turned round before the pairs are made.
        loss: TRL's loss type.
    """

    name: str
    method: str
    tuned_as: str
    rows: int = ROWS
    gap: int = 1
    gamma: float = 0.05
    scale: str = "paper"
    only: str = "all"
    errors: float = 0.0
    loss: str = "sigmoid"


def _dpo(name: str, rows: int = ROWS, gap: int = 1, errors: float = 0.0) -> Arm:
    return Arm(name, "dpo", "dpo", rows=rows, gap=gap, errors=errors)


MAIN = (
    Arm("base", "base", "", rows=0),
    Arm("sft", "sft", "sft"),
    _dpo("dpo"),
    Arm("kto", "kto", "kto"),
    Arm("rpo", "rpo", "rpo"),
)
TUNED = (
    *MAIN[1:],
    Arm("rpo-gamma-0.5", "rpo", "rpo-gamma-0.5", gamma=0.5),
)
"""One learning rate each. The other arms take that of their loss, so that one thing changes at a time."""
MARGINS = (
    Arm("rpo-gamma-0", "rpo", "rpo", gamma=0.0),
    Arm("rpo-gamma-0.2", "rpo", "rpo", gamma=0.2),
    Arm("rpo-gamma-0.5", "rpo", "rpo-gamma-0.5", gamma=0.5),
    Arm("rpo-released-0.05", "rpo", "rpo", scale="released"),
    Arm("rpo-released-0.5", "rpo", "rpo", scale="released", gamma=0.5),
)
DIRECTIONS = tuple(Arm(f"rpo-{only}", "rpo", "rpo", only=only) for only in ("original", "reversed", "better"))
GAPS = tuple(
    arm for gap in (2, 3) for arm in (_dpo(f"dpo-gap-{gap}", gap=gap), Arm(f"rpo-gap-{gap}", "rpo", "rpo", gap=gap))
)
NUMBERS = tuple(
    arm
    for rows in (100, 200, 800)
    for arm in (_dpo(f"dpo-{rows}-pairs", rows=rows), Arm(f"rpo-{rows}-pairs", "rpo", "rpo", rows=rows))
)
ERRORS = (
    Arm("rpo-robust", "rpo", "rpo", loss="robust"),
    *(
        arm
        for errors in (0.05, 0.1, 0.2)
        for arm in (
            _dpo(f"dpo-errors-{errors}", errors=errors),
            Arm(f"rpo-errors-{errors}", "rpo", "rpo", errors=errors),
            Arm(f"rpo-robust-errors-{errors}", "rpo", "rpo", errors=errors, loss="robust"),
        )
    ),
)
ARMS = (*MAIN, *MARGINS, *DIRECTIONS, *GAPS, *NUMBERS, *ERRORS)
QUICK = (*MAIN[:1], *MAIN[2:3], *MAIN[4:])
