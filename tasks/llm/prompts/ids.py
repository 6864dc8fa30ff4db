"""Short ids: what a prompt calls constraints by, and what is wrong with an answer that does not use each once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from models.base import Language
from tasks.llm.prompts.fence import on_one_line

_SHOWN, _MOST_SHOWN = 20, 63
"""Characters of an id, and how many ids, that a complaint repeats."""

FAULTS: dict[Language, dict[str, str]] = {
    "en": {"missing": "Missing", "unknown": "not asked for", "repeated": "given more than once"},
    "zh": {"missing": "缺少", "unknown": "未要求", "repeated": "重复"},
}


def short_ids(count: int) -> list[str]:
    """The ids that constraints have in a prompt: c1, c2, ... A model copies these without a slip."""
    return [f"c{number}" for number in range(1, count + 1)]


def find_faults(given: Sequence[str], count: int, language: Language) -> str | None:
    """What keeps the ids of an answer from being each of ``count`` short ids, once; None: nothing."""
    asked, times = short_ids(count), Counter(given)
    found = {
        "missing": [short for short in asked if short not in times],
        "unknown": [short for short in times if short not in asked],
        "repeated": [short for short, number in times.items() if number > 1],
    }
    faults = [f"{FAULTS[language][what]}: {_show(ids)}" for what, ids in found.items() if ids]
    return "; ".join(faults) or None


def _show(ids: Sequence[str]) -> str:
    """Some ids, short: those that were not asked for are the model's own text, and go into its next prompt."""
    return ", ".join(on_one_line(short)[:_SHOWN] for short in ids[:_MOST_SHOWN])
