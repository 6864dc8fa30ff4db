"""Which rows of an export are trained on: by margin, with caps, counted."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from models.base import Strict, digest
from models.training import PairFilter
from storage.files import atomic_file


class Selection(Strict):
    """What was chosen of a file, and what was left out by which rule."""

    rows: int
    left_out: dict[str, int]


@dataclass(frozen=True)
class _Key:
    line: int
    order: str
    dialogue: str
    turn: tuple[str, int]
    margin: float | None
    refined: bool


def select_rows(source: Path, target: Path, rules: PairFilter) -> Selection:
    """Copy the rows of an export that the rules allow; the order of the file stays.

    Where a cap chooses, it chooses by a hash of the row: the same rows every time, from everywhere in the file.

    Raises:
        StorageError: The target cannot be written.
    """
    left_out: Counter[str] = Counter()
    chosen: list[_Key] = []
    per_turn: Counter[tuple[str, int]] = Counter()
    per_dialogue: Counter[str] = Counter()
    for key in sorted(_read_keys(source), key=lambda key: key.order):
        if key.margin is not None and key.margin < rules.min_margin:
            left_out["min_margin"] += 1
        elif rules.max_per_turn is not None and per_turn[key.turn] >= rules.max_per_turn:
            left_out["max_per_turn"] += 1
        elif rules.max_per_dialogue is not None and per_dialogue[key.dialogue] >= rules.max_per_dialogue:
            left_out["max_per_dialogue"] += 1
        elif rules.max_rows is not None and len(chosen) >= rules.max_rows:
            left_out["max_rows"] += 1
        else:
            chosen.append(key)
            per_turn[key.turn] += 1
            per_dialogue[key.dialogue] += 1
    kept = _limit_refined(chosen, rules.refined_share)
    if len(kept) < len(chosen):
        left_out["refined_share"] = len(chosen) - len(kept)
    lines_kept = {key.line for key in kept}
    with source.open("rb") as lines, atomic_file(target, "Training rows") as file:
        file.writelines(text for line, text in enumerate(lines) if line in lines_kept)
    return Selection(rows=len(kept), left_out=dict(left_out))


def _read_keys(source: Path) -> list[_Key]:
    keys = []
    with source.open(encoding="utf-8") as lines:
        for line, text in enumerate(lines):
            row = json.loads(text)
            keys.append(
                _Key(
                    line=line,
                    order=digest([row.get("pair_id") or row["response_id"]]),
                    dialogue=row["dialogue_id"],
                    turn=(row["dialogue_id"], row["turn"]),
                    margin=row.get("margin"),
                    refined=row["refined"],
                )
            )
    return keys


def _limit_refined(chosen: list[_Key], share: float) -> list[_Key]:
    """All rows that are as sampled, and refined ones up to their share of the whole."""
    if share >= 1:
        return chosen
    allowed = int(share / (1 - share) * sum(not key.refined for key in chosen))
    kept = []
    for key in chosen:
        if key.refined:
            if not allowed:
                continue
            allowed -= 1
        kept.append(key)
    return kept
