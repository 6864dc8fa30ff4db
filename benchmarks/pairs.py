"""Pairs from a million judgments: SQL against a plain Python loop and against reading the same files once.

    python -m benchmarks.pairs --rows 1000000 --times 10

makes synthetic runs of so many judgments, and of ten times as many, and prints for each: the time of hashing every
column of the same Parquet files once (the least that any program that reads them all can do), the time from those
files to the finished, synced part of pairs, the time of a plain loop, the ratios, and peak memory. Every measurement
runs in a process of its own and repeats; the best time counts. The loop's pairs must be the same pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.pair_loop import loop_pairs
from models.arrow import arrow_schema
from models.base import digest
from models.records import DATASETS, PartRef
from models.settings import Pairs
from storage.pairs import build_pairs
from storage.parts import PartStore

SAMPLES, CONSTRAINTS, TURNS = 5, 5, 5
ROWS_OF_A_PART = 25_000
REPEATS = 3

_RESPONSES = """
SELECT substr(sha256('r' || t || '-' || s), 1, 16) AS response_id, substr(sha256('d' || t // {turns}), 1, 16)
       AS dialogue_id, t % {turns} + 1 AS turn, s AS sample,
       CASE WHEN hash('x' || t || '-' || s) % 50 = 0 THEN 'Sorry.' ELSE (
           SELECT string_agg(['alpha', 'beta', 'gamma', 'delta', 'epsilon', 'zeta', 'eta', 'theta']
               [(hash(t || '-' || s || '-' || i) % 8)::INT + 1], ' ' ORDER BY i) FROM range({words}) words(i)) END
       AS text,
       'policy' AS model, 'stop' AS finish_reason, 300::BIGINT AS prompt_tokens,
       60 + (hash(t || 'n' || s) % 40)::BIGINT AS completion_tokens, 'sampled' AS origin
FROM range({first}, {last}) turns(t), range({samples}) samples(s)
"""
_JUDGMENTS = """
SELECT substr(sha256('r' || t || '-' || s), 1, 16) AS response_id,
       substr(sha256('c' || t // {turns} || '-' || k), 1, 16) AS constraint_id,
       substr(sha256('d' || t // {turns}), 1, 16) AS dialogue_id, t % {turns} + 1 AS turn, k AS position,
       CASE WHEN chance < 2 THEN 'unscored' WHEN chance < 20 THEN 'not_applicable'
            WHEN chance < 600 THEN 'followed' ELSE 'violated' END AS verdict,
       'found ' || chance || ' words' AS reason, 'code' AS judge, 1::BIGINT AS votes
FROM (SELECT t, s, k, hash(t || 'a' || s || 'b' || k) % 1000 AS chance
      FROM range({first}, {last}) turns(t), range({samples}) samples(s), range({constraints}) constraints(k))
"""


def make_run(root: Path, rows: int, parts: int | None = None, *, words: int = 40) -> None:
    """Write a synthetic run of ``rows`` judgments, in so many parts (None: as many as a run of that size has).

    Responses have so many words.
    """
    store, turns = PartStore(root), rows // (SAMPLES * CONSTRAINTS)
    parts = parts or max(1, rows // ROWS_OF_A_PART)
    with duckdb.connect() as db:
        for part in range(parts):
            first, last = (turns * number // parts for number in (part, part + 1))
            numbers = {
                "turns": TURNS,
                "samples": SAMPLES,
                "constraints": CONSTRAINTS,
                "first": first,
                "last": last,
                "words": words,
            }
            for dataset, query in (("responses", _RESPONSES), ("judgments", _JUDGMENTS)):
                table = db.sql(query.format(**numbers)).to_arrow_table()
                # what code decides has no votes that could be split
                for field in list(arrow_schema(DATASETS[dataset]))[len(table.schema) :]:
                    table = table.append_column(field, pa.array([None] * table.num_rows, field.type))
                store.write_table(dataset, digest([part]), table)


def refs(store: PartStore, dataset: str) -> list[PartRef]:
    """The parts of a synthetic run."""
    files = sorted((store.root / dataset).glob("[!_]*.parquet"))
    return [PartRef(dataset=dataset, key=file.stem, rows=0) for file in files]


def run_hash(root: Path) -> dict[str, Any]:
    """Hash every column of all judgments and responses once."""
    store = PartStore(root)
    with duckdb.connect() as db:
        for dataset in ("judgments", "responses"):
            files = [str(store.path(ref)) for ref in refs(store, dataset)]
            db.execute("SELECT bit_xor(hash(COLUMNS(*))) FROM read_parquet($files)", {"files": files}).fetchall()
    return {}


def run_sql(root: Path) -> dict[str, Any]:
    """From the judgments and responses on disk to the finished part of pairs."""
    store = PartStore(root)
    built = build_pairs(
        store, digest("sql"), judgments=refs(store, "judgments"), responses=refs(store, "responses"), rules=Pairs()
    )
    return {"pairs": built.part.rows}


def run_write(root: Path) -> dict[str, Any]:
    """The last step alone: the finished pairs, from memory to a synced part (reading them is not counted)."""
    store = PartStore(root)
    table = pq.read_table(store.path(PartRef(dataset="pairs", key=digest("sql"), rows=0)))
    started = time.perf_counter()
    store.write_table("pairs", digest("write"), table)
    return {"seconds": time.perf_counter() - started}


def run_loop(root: Path) -> dict[str, Any]:
    """The same by a plain loop over the rows."""
    store = PartStore(root)

    def rows(dataset: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        for ref in refs(store, dataset):
            yield from pq.read_table(store.path(ref), columns=columns).to_pylist()

    judgments = rows("judgments", ["response_id", "constraint_id", "position", "verdict"])
    responses = rows("responses", ["response_id", "dialogue_id", "turn", "sample", "text"])
    pairs, _ = loop_pairs(judgments, responses, rules=Pairs())
    schema = store.read_table(PartRef(dataset="pairs", key=digest("sql"), rows=0)).schema
    ref = store.write_table("pairs", digest("loop"), pa.Table.from_pylist(pairs, schema=schema))
    return {"pairs": ref.rows}


MEASURED: dict[str, Callable[[Path], dict[str, Any]]] = {
    "hash": run_hash,
    "sql": run_sql,
    "write": run_write,
    "loop": run_loop,
}


def measure(name: str, root: Path, repeats: int) -> dict[str, Any]:
    """Best time and peak memory of one measurement, in this process."""
    best, result = float("inf"), {}
    for _ in range(repeats):
        started = time.perf_counter()
        result = MEASURED[name](root)
        best = min(best, result.get("seconds", time.perf_counter() - started))
    # Linux gives kilobytes
    return {**result, "seconds": best, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


def in_process(name: str, root: Path, repeats: int) -> dict[str, Any]:
    """``measure`` in a process of its own, so that peaks do not add up."""
    command = [sys.executable, "-m", "benchmarks.pairs", "--measure", name, "--root", str(root)]
    done = subprocess.run([*command, "--repeats", str(repeats)], stdout=subprocess.PIPE, check=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def report(rows: int, folder: Path, loop_rows: int) -> None:
    """Make a run, measure it, print its lines."""
    root = folder / str(rows)
    make_run(root, rows)
    hashed, sql = in_process("hash", root, REPEATS), in_process("sql", root, REPEATS)
    written = in_process("write", root, REPEATS)
    print(f"{rows:,} judgments, {rows // CONSTRAINTS:,} responses, {sql['pairs']:,} directed pairs")
    print(f"  hash every column once      {hashed['seconds']:8.3f} s  {hashed['mb']:6d} MB")
    print(f"  pairs in SQL, to a part     {sql['seconds']:8.3f} s  {sql['mb']:6d} MB", end="")
    print(f"  {sql['seconds'] / hashed['seconds']:.1f}x the hash (writing alone {written['seconds']:.3f} s)")
    if rows > loop_rows:
        print(f"  plain loop                  left out above {loop_rows:,} judgments (--loop-rows)")
        return
    loop = in_process("loop", root, 1)
    store = PartStore(root)
    one, other = (store.read_table(PartRef(dataset="pairs", key=digest(key), rows=0)) for key in ("sql", "loop"))
    same = "identical pairs" if one.equals(other) else "DIFFERENT PAIRS"
    print(f"  plain loop, to a part       {loop['seconds']:8.3f} s  {loop['mb']:6d} MB", end="")
    print(f"  {loop['seconds'] / sql['seconds']:.1f}x the SQL, {same}")
    if not one.equals(other):
        raise SystemExit(1)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="judgments (default: a million)")
    parser.add_argument("--times", type=int, default=1, help="measure so many times as many rows as well")
    parser.add_argument(
        "--loop-rows", type=int, default=10_000_000, help="no plain loop above so many judgments: 0.9 kB of memory each"
    )
    parser.add_argument("--measure", choices=MEASURED, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=REPEATS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given.root, given.repeats)))
        return
    print(f"best of {REPEATS}, {os.cpu_count()} cores, duckdb {duckdb.__version__}, pyarrow {pa.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        for rows in dict.fromkeys((given.rows, given.rows * given.times)):
            report(rows, Path(folder), given.loop_rows)


if __name__ == "__main__":
    main()
