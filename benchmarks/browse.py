"""The pair browser on a million pairs: time to the first picture and to filter, in a real headless Chromium.

    python -m benchmarks.browse --pairs 1000000

makes a synthetic run by the project's own writers, indexes it, serves it by ``rpo browse`` in a process of its own and
opens the page. Times are the page's own, from the navigation or the choice of a filter until the pair is drawn; the
median of five counts, every filter with values that were not asked before. Exit code 1: one is over the limit of 1 s.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from benchmarks.pairs import CONSTRAINTS, SAMPLES, TURNS, make_run, refs
from models.arrow import arrow_schema
from models.base import digest
from models.records import DATASETS, PartRef
from models.settings import Pairs
from storage.manifests import Manifest, save
from storage.pairs import build_pairs
from storage.parts import PartStore

LIMIT_S = 1.0
REPEATS = 5
PAIRS_OF_A_TURN = 16.5
"""About so many directed pairs five responses of the synthetic run make."""
WORDS = 150
ROLES, KINDS = 69, 24

_SYSTEMS = """
SELECT 's' || d AS system_id, 'role_' || d % {roles} AS role_id, 'en' AS language, 'Guide ' || d % {roles} AS name,
       'Helps people with what they ask, in plain words and without haste.' AS description, ['patience'] AS skills,
       CAST([] AS VARCHAR[]) AS questions,
       list_transform(range({constraints}), lambda k: {{
           constraint_id: substr(sha256('c' || d || '-' || k), 1, 16), text: 'Keep to demand ' || k || '.',
           kind: 'kind_' || hash(d || ':' || k) % {kinds}, trigger: NULL::VARCHAR, "check": NULL::VARCHAR
       }}) AS constraints, 'catalogue' AS author
FROM range({dialogues}) dialogues(d)
"""
_TURNS = """
SELECT substr(sha256('d' || t // {turns}), 1, 16) AS dialogue_id, t % {turns} + 1 AS turn,
       's' || t // {turns} AS system_id, 'u' AS user_id, 'What about number ' || t || ', please?' AS query,
       [substr(sha256('c' || t // {turns} || '-' || k), 1, 16) FOR k IN range({constraints})] AS triggered_ids,
       'There is much to say about it.' AS reference, 1.0 AS reference_score, 'responder' AS reference_model,
       'sampled' AS reference_origin, NULL::BOOLEAN AS repeats_opening
FROM range({all_turns}) turns(t)
"""
_REVERSALS = """
SELECT c.constraint_id, system_id, 'Never ' || c.text AS text, NULL::VARCHAR AS "check", 'author' AS method,
       true AS verified
FROM (SELECT system_id, unnest(constraints) AS c FROM systems)
"""
_AUDITS = """
SELECT pair_id, true AS passed, 0::BIGINT AS chosen_violated, margin AS rejected_violated, 0::BIGINT AS undecided
FROM pairs
"""

WATCH = """
(() => {
  const watch = () => new MutationObserver(() => requestAnimationFrame(() => { window.drawnAt = performance.now(); }))
    .observe(document.getElementById("pair"), { attributes: true, attributeFilter: ["data-answer"] });
  document.addEventListener("DOMContentLoaded", watch);
})();
"""
# a promise, not a condition to poll: the page's policy lets nobody evaluate text in it
DRAWN = """
new Promise((done) => {
  const look = () => window.drawnAt ? done(window.drawnAt) : requestAnimationFrame(look);
  look();
})
"""
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
CHOOSE = """
([name, value]) => {
  const field = document.getElementById("filters").elements[name];
  window.drawnAt = undefined;
  window.chosenAt = performance.now();
  field.value = value;
  field.dispatchEvent(new Event(name === "text" ? "input" : "change", { bubbles: true }));
}
"""


def make_browsable(root: Path, pairs: int) -> int:
    """Write a run of about so many pairs; returns how many."""
    store, turns = PartStore(root), int(pairs / PAIRS_OF_A_TURN / TURNS + 1) * TURNS
    make_run(root, turns * SAMPLES * CONSTRAINTS, words=WORDS)
    numbers = {
        "turns": TURNS, "all_turns": turns, "dialogues": turns // TURNS, "constraints": CONSTRAINTS,
        "roles": ROLES, "kinds": KINDS,
    }  # fmt: skip
    responses, judgments = refs(store, "responses"), refs(store, "judgments")
    with duckdb.connect() as db:
        made = {}
        for dataset, sql in (("systems", _SYSTEMS), ("turns", _TURNS), ("reversals", _REVERSALS)):
            db.execute(f"CREATE TABLE {dataset} AS {sql.format(**numbers) if dataset != 'reversals' else sql}")
            made[dataset] = _write(db, store, dataset, f"FROM {dataset}")
        built = build_pairs(
            store, digest("pairs"), judgments=judgments, responses=responses, reversals=[made["reversals"]],
            rules=Pairs(),
        ).part  # fmt: skip
        db.read_parquet(str(store.path(built))).create_view("pairs")
        made["audits"] = _write(db, store, "audits", _AUDITS)
    parts = [*made.values(), *responses, *judgments, built]
    save(root, Manifest(run="big", settings_hash="h", settings={}, started_at=datetime.now(UTC), parts=parts))
    return built.rows


def _write(db: duckdb.DuckDBPyConnection, store: PartStore, dataset: str, sql: str) -> PartRef:
    schema: pa.Schema = arrow_schema(DATASETS[dataset])
    return store.write_table(dataset, digest([dataset]), db.sql(sql).to_arrow_table().cast(schema))


@contextmanager
def served(root: Path) -> Iterator[tuple[str, int]]:
    """The address and the process id of ``rpo browse`` while it runs."""
    command = [sys.executable, "rpo.py", "browse", "--run", "big", "--data", str(root), "--port", "0", "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            address = next(line.split()[2] for line in process.stdout if line.startswith("Pairs at "))
            yield address, process.pid
        finally:
            process.terminate()


def measure(address: str) -> dict[str, list[float]]:
    """Seconds by what was done."""
    from playwright.sync_api import sync_playwright

    from tests.browser import QUIET

    with urllib.request.urlopen(f"{address}api/run") as reply:
        choices = json.load(reply)["choices"]
    # the first values of every filter, and texts that many, few and no responses hold
    asked = [(name, choice["value"]) for name in choices for choice in choices[name][:REPEATS]]
    asked += [("text", text) for text in ("alpha beta gamma", "sorry", "number 4711", "zeta zeta zeta zeta", "nowhere")]
    seconds: dict[str, list[float]] = {"first paint": [], "first pair": []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(QUIET))
        for _ in range(REPEATS):
            with browser.new_context() as context:
                page = context.new_page()
                page.add_init_script(WATCH)
                page.goto(address)
                seconds["first pair"].append(page.evaluate(DRAWN) / 1000)
                seconds["first paint"].append(page.evaluate(PAINTED) / 1000)
        page = browser.new_page()
        page.add_init_script(WATCH)
        page.goto(address)
        page.evaluate(DRAWN)
        for name, value in asked:
            page.evaluate(CHOOSE, [name, value])
            took = page.evaluate(DRAWN) - page.evaluate("window.chosenAt")
            seconds.setdefault(f"filter by {name}", []).append(took / 1000)
            page.evaluate("window.drawnAt = undefined; document.getElementById('filters').reset()")
            page.evaluate(DRAWN)
        browser.close()
    return seconds


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1_000_000, help="pairs (default: a million)")
    parser.add_argument("--keep", type=Path, help="folder to make the run in, or to find it in, and to keep")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = given.keep or Path(temporary)
        if not (root / "runs" / "big.json").is_file():
            make_browsable(root, given.pairs)
        pairs = report(root)
    sys.exit(0 if pairs else 1)


def report(root: Path) -> bool:
    """Measure a run, print it; whether everything is within the limit."""
    shutil.rmtree(root / "browse", ignore_errors=True)
    started = time.perf_counter()
    with served(root) as (address, pid):
        indexed = time.perf_counter() - started
        seconds = measure(address)
        peak = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    (index,) = (root / "browse").glob("*.duckdb")
    with duckdb.connect(str(index), read_only=True) as db:
        counts: Any = db.execute("SELECT (SELECT count(*) FROM pairs), (SELECT count(*) FROM responses)").fetchone()
    print(
        f"{counts[0]:,} pairs of {counts[1]:,} responses; {os.cpu_count()} cores, duckdb {duckdb.__version__},", end=" "
    )
    print(f"python {platform.python_version()}, load {os.getloadavg()[0]:.1f}")
    sizes = f"{index.stat().st_size / 1e6:.0f} MB on disk, peak {int(peak.split()[1]) // 1024} MB"
    print(f"started and indexed, once   {indexed:6.1f} s   {sizes}")
    within = True
    for what, times in seconds.items():
        median = statistics.median(times)
        within &= median <= LIMIT_S
        note = "" if median <= LIMIT_S else f"   OVER {LIMIT_S} s"
        print(f"{what:<25} {median:8.3f} s   slowest of {len(times)} {max(times):.3f} s{note}")
    return within


if __name__ == "__main__":
    main()
