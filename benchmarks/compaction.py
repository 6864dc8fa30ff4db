"""Queries over a run of a thousand parts a dataset, before and after `rpo compact`.

    python -m benchmarks.compaction --rows 1000000 --parts 1000

makes a synthetic run of so many judgments (and a fifth as many responses), asks the catalog the same questions before
and after, and prints the times, their ratio and what compacting took. The best of several times counts; the answers
must be the same.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from benchmarks.pairs import make_run, refs
from models.records import PartRef
from storage.catalog import build_catalog, query
from storage.compaction import compact_runs
from storage.manifests import Manifest, save
from storage.parts import PartStore

REPEATS = 3
LIMIT = 3.0
"""Compacted, the questions together must be answered so many times as fast."""

QUESTIONS = {
    "count": "select count(*) from judgments",
    "group": "select judge, verdict, count(*) from judgments group by all order by all",
    "join": "select r.sample, j.verdict, count(*) from judgments j join responses r using (response_id) "
    "group by all order by all",
}


def make_manifest(root: Path) -> None:
    """The manifest of the synthetic run, with the rows of its parts."""
    store = PartStore(root)
    found = [store.find(ref.dataset, ref.key) for name in ("responses", "judgments") for ref in refs(store, name)]
    parts: list[PartRef] = [ref for ref in found if ref is not None]
    now = datetime.now(UTC)
    save(
        root,
        Manifest(
            run="bench", settings_hash="", settings={}, started_at=now, finished_at=now, status="complete", parts=parts
        ),
    )


def best_time(work: Callable[[], object]) -> float:
    """Seconds of the fastest of several times."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def ask_all(root: Path) -> tuple[dict[str, float], list[object]]:
    """Seconds of building the catalog and of every question, and the answers."""
    seconds = {"catalog": best_time(lambda: build_catalog(root))}
    answers: list[object] = []
    for name, sql in QUESTIONS.items():
        seconds[name] = best_time(lambda sql=sql: query(root, sql))  # type: ignore[misc]
        answers.append(query(root, sql).rows)
    return seconds, answers


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="judgments (default: a million)")
    parser.add_argument("--parts", type=int, default=1_000, help="parts a dataset (default: a thousand)")
    given = parser.parse_args()
    print(f"best of {REPEATS}, {os.cpu_count()} cores, duckdb {duckdb.__version__}, pyarrow {pa.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_run(root, given.rows, given.parts)
        make_manifest(root)
        before, answers = ask_all(root)
        done = compact_runs(root, above=min(500, given.parts - 1))
        after, again = ask_all(root)
    for item in done:
        print(
            f"  {item.dataset:<10} {item.parts} parts, {item.rows:,} rows: compacted in {item.seconds:.1f} s, "
            f"{item.parts_size / 1e6:.1f} MB beside {item.size / 1e6:.1f} MB"
        )
    for name in before:
        print(
            f"  {name:<8} {before[name]:8.3f} s  {after[name]:8.3f} s  {before[name] / after[name]:6.1f} times as fast"
        )
    ratio = sum(before[name] for name in QUESTIONS) / sum(after[name] for name in QUESTIONS)
    print(f"  questions together: {ratio:.1f} times as fast (limit {LIMIT:g})")
    if answers != again:
        raise SystemExit("DIFFERENT ANSWERS")
    if ratio < LIMIT:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
