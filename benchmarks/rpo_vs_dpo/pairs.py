"""Training rows of every method, from the same responses and the same verdicts.

For two responses with different verdict vectors to one prompt:

- DPO takes the prompt as it is and prefers the one that follows more constraints; its gap is the difference of scores.
  Equal scores make no pair.
- RPO makes two rows, each response chosen once. The constraints that the chosen one violates are reversed in the
  prompt; its margin is the number of constraints on which the two differ (paper, section 3.3).
- KTO takes DPO's pairs apart; SFT takes the best response of a prompt.

Every method draws its rows at random, without replacement, in an order that depends on the seed alone: fewer rows are
the first of more, and two methods' rows differ by what they are, not by how many there are.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from benchmarks.rpo_vs_dpo.language import Prompt, judge, render_prompt

Row = dict[str, Any]
ONLY = ("all", "original", "reversed", "better")


@dataclass(frozen=True)
class Judged:
    """A prompt and its responses, each with its verdict vector, as a judge saw it."""

    prompt: Prompt
    responses: tuple[str, ...]
    verdicts: tuple[tuple[bool, ...], ...]


def judge_all(prompts: Sequence[Prompt], responses: Sequence[Sequence[str]], errors: float, seed: int) -> list[Judged]:
    """Verdicts by code, each turned round with the probability ``errors``.

    A verdict that is wrong at one rate is wrong at every higher rate too.
    """
    rng = random.Random(f"judge {seed}")
    judged = []
    for prompt, texts in zip(prompts, responses, strict=True):
        seen = tuple(tuple(v != (rng.random() < errors) for v in judge(prompt, text)) for text in texts)
        judged.append(Judged(prompt, tuple(texts), seen))
    return judged


def _couples(judged: Sequence[Judged], seed: int) -> list[tuple[Judged, int, int]]:
    """Every two responses to a prompt whose verdict vectors differ, in the seed's order."""
    couples = [
        (each, one, other)
        for each in judged
        for one, other in combinations(range(len(each.responses)), 2)
        if each.verdicts[one] != each.verdicts[other]
    ]
    random.Random(f"pairs {seed}").shuffle(couples)
    return couples


def _ordered(couple: tuple[Judged, int, int]) -> tuple[Judged, int, int]:
    """The couple with the response of the higher score first."""
    each, one, other = couple
    if sum(each.verdicts[other]) > sum(each.verdicts[one]):
        return each, other, one
    return couple


def _gap(couple: tuple[Judged, int, int]) -> int:
    each, one, other = couple
    return abs(sum(each.verdicts[one]) - sum(each.verdicts[other]))


def _direct(each: Judged, chosen: int, rejected: int) -> Row:
    """The RPO row in which ``chosen`` is chosen."""
    prompt = tuple(
        constraint if followed else constraint.reverse()
        for constraint, followed in zip(each.prompt, each.verdicts[chosen], strict=True)
    )
    margin = sum(a != b for a, b in zip(each.verdicts[chosen], each.verdicts[rejected], strict=True))
    reversals = each.verdicts[chosen].count(False)
    return _row(prompt, each.responses[chosen], each.responses[rejected]) | {"margin": margin, "reversals": reversals}


def _row(prompt: Prompt, chosen: str, rejected: str) -> Row:
    # the end is part of the completion; the space keeps it a token of its own
    return {"prompt": render_prompt(prompt), "chosen": f" {chosen} </s>", "rejected": f" {rejected} </s>"}


def dpo_rows(judged: Sequence[Judged], rows: int, gap: int, seed: int) -> list[Row]:
    """Pairs by score: the original prompt, ``gap`` the least difference of scores."""
    ordered = (_ordered(couple) for couple in _couples(judged, seed) if _gap(couple) >= max(1, gap))
    return [
        _row(each.prompt, each.responses[chosen], each.responses[rejected]) | {"margin": 0}
        for each, chosen, rejected in ordered
    ][:rows]


def rpo_rows(judged: Sequence[Judged], rows: int, gap: int, seed: int, only: str = "all") -> list[Row]:
    """Pairs by reversal.

    Args:
        judged: Prompts and responses.
        rows: At most so many.
        gap: The least number of differing verdicts.
        seed: Order of the rows.
        only: ``all`` mirrored rows; ``original``, those whose chosen response violates nothing, so that the prompt
            stays as it was; ``reversed``, those with a reversal; ``better``, DPO's own pairs (one direction, the
            higher score chosen, equal scores left out) with the prompt rewritten and nothing else changed.
    """
    if only == "better":
        usable = [_ordered(couple) for couple in _couples(judged, seed) if _gap(couple) >= 1]
        made = [_direct(*couple) for couple in usable]
    else:
        both = ((couple, (couple[0], couple[2], couple[1])) for couple in _couples(judged, seed))
        made = [_direct(*couple) for mirrored in both for couple in mirrored]
    unwanted = {"original": True, "reversed": False}.get(only)
    return [row for row in made if row["margin"] >= gap and bool(row["reversals"]) is not unwanted][:rows]


def kto_rows(judged: Sequence[Judged], rows: int, seed: int) -> list[Row]:
    """DPO's pairs taken apart: two rows, one desirable and one not, for each."""
    halves = [
        {"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen"}
        for pair in dpo_rows(judged, rows, 1, seed)
        for side in ("chosen", "rejected")
    ]
    # TRL estimates KTO's reference point with the completion of the row before, which must belong to another prompt
    random.Random(f"halves {seed}").shuffle(halves)
    return halves


def sft_rows(judged: Sequence[Judged], rows: int, seed: int) -> list[Row]:
    """The best response of each prompt, the first of several."""
    order = list(judged)
    random.Random(f"pairs {seed}").shuffle(order)
    best = ((each, max(range(len(each.responses)), key=lambda n: sum(each.verdicts[n]))) for each in order)
    return [
        {"prompt": render_prompt(each.prompt), "completion": f" {each.responses[number]} </s>"} for each, number in best
    ][:rows]


def count_cases(judged: Sequence[Judged]) -> dict[str, int]:
    """How many couples of responses fall into each of the six cases of the paper's Figure 1, and into none.

    1, 2: same score, the sets of followed constraints disjoint or overlapping. 3, 4: other scores, neither set holds
    the other, disjoint or overlapping. 5: one holds the other, which is not perfect. 6: the chosen is perfect. 0: the
    vectors are the same.
    """
    cases: Counter[str] = Counter()
    for each in judged:
        sets = [{n for n, followed in enumerate(vector) if followed} for vector in each.verdicts]
        for low, high in (sorted(couple, key=len) for couple in combinations(sets, 2)):
            if low == high:
                case = 0
            elif len(low) == len(high):
                case = 2 if low & high else 1
            elif len(high) == len(each.prompt):
                case = 6
            elif low < high:
                case = 5
            else:
                case = 4 if low & high else 3
            cases[str(case)] += 1
    return dict(sorted(cases.items()))
