"""What a public benchmark is to the factory: turns to ask, a way to score responses, and metrics to count."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect import Task

from models.benchmarks import BenchmarkTurn, Score
from models.records import PartRef
from storage.imports.rows import Refused, Row, excerpt_of
from tasks.measures import Tally

Averages = Mapping[str, Sequence[str]]
"""Metrics that are the mean of other metrics."""


@dataclass(frozen=True)
class Benchmark:
    """A public benchmark.

    Attributes:
        name: Its name on the command line and in the table ``metrics``.
        read: The turns of a file in its published layout, dialogue by dialogue, and the rows that are refused.
        score: The stage that scores the responses of a part: ``responses`` in, ``scores`` out.
        tally: Totals a metric and dialogue: a dialogue is what intervals and tests draw from.
        averages: Of the metrics there are, those that are to be averaged, by the name of the average.
        main: The metrics that come first, in this order; a terminal shows them and their parts, no others.
        shipped: The file that is taken where none is given; None: one has to be.
        asks_judge: Whether ``score`` asks the judge model.
    """

    name: str
    read: Callable[[Path], Iterator[BenchmarkTurn | Refused]]
    score: Task[..., PartRef]
    tally: Callable[[Iterable[Score]], Tally]
    averages: Callable[[Collection[str]], Averages]
    main: tuple[str, ...]
    shipped: str | None = None
    asks_judge: bool = False


def refuse_row(row: Row, reason: str, what: str, field: str = "") -> Refused:
    """A row that a benchmark does not take."""
    return Refused(row.line, reason, field, " ".join(what.split())[:300], excerpt_of(str(row.values)))
