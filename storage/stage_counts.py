"""What the parts of a stage hold, counted part by part: without DuckDB, in memory that does not grow with the stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from models.records import PartRef
from storage.parts import PartStore


@dataclass
class StageCounts:
    """The rows of a stage, and what the calls behind them came to."""

    parts: int = 0
    rows: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    lost: int = 0
    cost: float | None = 0.0
    """None: the price of some call is not known."""
    failures: Counter[str] = field(default_factory=Counter)


def count_stage(store: PartStore, refs: Iterable[PartRef]) -> StageCounts:
    """Count the parts of a stage and the accounts that stand beside them.

    Raises:
        StorageError: A part is missing or damaged.
    """
    counts = StageCounts()
    for ref in refs:
        counts.parts += 1
        counts.rows += ref.rows
        if ref.dataset == "judgments":
            counts.verdicts.update(store.read_table(ref).column("verdict").to_pylist())
        if (calls := store.find("llm_calls", ref.key)) is not None:
            _count_calls(counts, store, calls)
        if (failures := store.find("failures", ref.key)) is not None:
            table = store.read_table(failures)
            for kind, count in zip(table.column("kind").to_pylist(), table.column("count").to_pylist(), strict=True):
                counts.failures[kind] += count
    return counts


def _count_calls(counts: StageCounts, store: PartStore, calls: PartRef) -> None:
    table = store.read_table(calls)
    errors, costs = table.column("error"), table.column("cost")
    counts.calls += table.num_rows
    counts.lost += table.num_rows - errors.null_count
    # one call without a price makes the sum unknown, never guessed
    if costs.null_count:
        counts.cost = None
    elif counts.cost is not None:
        counts.cost += sum(costs.to_pylist())
