"""The pairs as a plain Python loop: what ``storage.pairs`` must equal (tests) and beat (``benchmarks.pairs``)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import combinations
from typing import Any, NamedTuple

from models.settings import Pairs

Row = dict[str, Any]


class Judged(NamedTuple):
    """A usable response: what it follows and violates and what does not apply to it, by position."""

    response_id: str
    followed: frozenset[int]
    violated: dict[int, str]
    exempt: frozenset[int]


def loop_pairs(
    judgments: Iterable[Row], responses: Iterable[Row], *, rules: Pairs, reversible: set[str] | None = None
) -> tuple[list[Row], Counter[str]]:
    """The pairs in their order, and the counts of what was left out."""
    verdicts: dict[str, list[Row]] = defaultdict(list)
    for judgment in judgments:
        verdicts[judgment["response_id"]].append(judgment)
    turns: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for response in responses:
        turns[response["dialogue_id"], response["turn"]].append(response)
    counts: Counter[str] = Counter()
    dialogues: dict[str, list[Row]] = defaultdict(list)
    for (dialogue_id, turn), samples in sorted(turns.items()):
        usable = _usable(samples, verdicts, counts)
        directed = _directed(dialogue_id, turn, usable, rules.min_margin, reversible, counts)
        dialogues[dialogue_id] += _cap(directed, rules.max_per_turn, counts)
    pairs: list[Row] = []
    for dialogue_id in sorted(dialogues):
        kept = _cap(dialogues[dialogue_id], rules.max_per_dialogue, counts)
        pairs += sorted(kept, key=lambda pair: (pair["turn"], pair["chosen_id"], pair["rejected_id"]))
    return pairs, counts


def _usable(samples: list[Row], verdicts: dict[str, list[Row]], counts: Counter[str]) -> list[Judged]:
    texts, vectors, usable = set(), set(), []
    for sample in sorted(samples, key=lambda row: (row["sample"], row["response_id"])):
        rows = verdicts.get(sample["response_id"])
        if rows is None:
            counts["unjudged"] += 1
            continue
        if any(row["verdict"] == "unscored" for row in rows):
            counts["unscored"] += 1
            continue
        followed = frozenset(row["position"] for row in rows if row["verdict"] == "followed")
        exempt = frozenset(row["position"] for row in rows if row["verdict"] == "not_applicable")
        violated = {row["position"]: row["constraint_id"] for row in rows if row["verdict"] == "violated"}
        if followed & violated.keys():
            counts["contradicted"] += 1
            continue
        if sample["text"] in texts:
            counts["same_text"] += 1
            continue
        texts.add(sample["text"])
        vector = (followed, frozenset(violated))
        if vector in vectors:
            counts["same_verdicts"] += 1
            continue
        vectors.add(vector)
        usable.append(Judged(sample["response_id"], followed, violated, exempt))
    return usable


def _directed(
    dialogue_id: str,
    turn: int,
    usable: list[Judged],
    min_margin: int,
    reversible: set[str] | None,
    counts: Counter[str],
) -> list[Row]:
    pairs = []
    for one, other in combinations(usable, 2):
        noise_case = _noise_case(one, other)
        for chosen, rejected in ((one, other), (other, one)):
            broken = (chosen.followed | chosen.exempt) & rejected.violated.keys()
            margin = len(broken) + len(chosen.violated.keys() & rejected.followed)
            if margin == 0:
                continue
            reversed_ids = [chosen.violated[position] for position in sorted(chosen.violated)]
            if margin < min_margin:
                counts["below_margin"] += 1
            elif reversible is not None and not reversible.issuperset(reversed_ids):
                counts["irreversible"] += 1
            else:
                pairs.append(
                    {
                        "pair_id": f"{chosen.response_id}-{rejected.response_id}",
                        "dialogue_id": dialogue_id,
                        "turn": turn,
                        "chosen_id": chosen.response_id,
                        "rejected_id": rejected.response_id,
                        "reversed_ids": reversed_ids,
                        "margin": margin,
                        "noise_case": noise_case,
                    }
                )
    return pairs


def _noise_case(one: Judged, other: Judged) -> int:
    """Case 1-6 of the paper's Figure 1."""
    better, worse = (one, other) if len(one.violated) <= len(other.violated) else (other, one)
    disjoint = not (better.followed & worse.followed)
    if len(better.violated) == len(worse.violated):
        return 1 if disjoint else 2
    if better.violated.keys() <= worse.violated.keys():
        return 5 if better.violated else 6
    return 3 if disjoint else 4


def _cap(pairs: list[Row], cap: int | None, counts: Counter[str]) -> list[Row]:
    if cap is None:
        return pairs
    counts["capped"] += max(0, len(pairs) - cap)
    return sorted(pairs, key=lambda pair: (-pair["margin"], pair["pair_id"]))[:cap]
