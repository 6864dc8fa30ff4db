"""Which rows are trained on."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from models.training import PairFilter
from storage.exports import select_rows

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "dialogue_id": st.sampled_from("abc"),
            "turn": st.integers(1, 2),
            "margin": st.integers(1, 4).map(float),
            "refined": st.booleans(),
        }
    ),
    max_size=40,
).map(lambda rows: [{**row, "pair_id": f"p{number}"} for number, row in enumerate(rows)])

RULES = st.builds(
    PairFilter,
    min_margin=st.integers(1, 4),
    max_per_turn=st.none() | st.integers(1, 5),
    max_per_dialogue=st.none() | st.integers(1, 8),
    refined_share=st.floats(0, 1),
    max_rows=st.none() | st.integers(1, 20),
)


def select(folder: Path, rows: list[dict[str, Any]], rules: PairFilter) -> tuple[list[dict[str, Any]], dict[str, int]]:
    (folder / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    selection = select_rows(folder / "all.jsonl", folder / "chosen.jsonl", rules)
    chosen = [json.loads(line) for line in (folder / "chosen.jsonl").read_text().splitlines()]
    assert selection.rows == len(chosen)
    return chosen, selection.left_out


@given(rows=ROWS, rules=RULES)
def test_every_rule_holds_and_everything_is_counted(
    tmp_path_factory: Any, rows: list[dict[str, Any]], rules: PairFilter
) -> None:
    chosen, left_out = select(tmp_path_factory.mktemp("rows"), rows, rules)
    assert len(chosen) + sum(left_out.values()) == len(rows)
    assert [row for row in rows if row in chosen] == chosen  # the order of the file
    assert all(row["margin"] >= rules.min_margin for row in chosen)
    turns = Counter((row["dialogue_id"], row["turn"]) for row in chosen)
    dialogues = Counter(row["dialogue_id"] for row in chosen)
    assert max(turns.values(), default=0) <= (rules.max_per_turn or len(rows))
    assert max(dialogues.values(), default=0) <= (rules.max_per_dialogue or len(rows))
    assert len(chosen) <= (rules.max_rows or len(rows))
    assert sum(row["refined"] for row in chosen) <= rules.refined_share * len(chosen) + 1e-9


def test_without_rules_all_rows_stay(tmp_path: Path) -> None:
    rows = [{"dialogue_id": "a", "turn": 1, "refined": True, "response_id": str(n)} for n in range(5)]
    assert select(tmp_path, rows, PairFilter()) == (rows, {})
