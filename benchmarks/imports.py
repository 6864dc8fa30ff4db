"""A large file of roles with broken lines through ``rpo import``: memory, speed, and every broken line in the report.

    python -m benchmarks.imports             # 100,000 and 1,000,000 rows
    python -m benchmarks.imports --rows 1000

One line in a hundred is broken, in one of ten ways, and one in a hundred is an earlier one again, half of those with
one word changed. Each size is a process of its own: the command as a person types it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.records import RoleSeed
from tasks.seeds import ROOT, read_seeds

SEEDS = read_seeds(ROOT / "seeds/roles.jsonl", RoleSeed, ["en"])

TIMES = 10
MAX_RATIO = 1.1
# of the shipped roles: words of real sentences, so that the language is told as it is in real files
WORDS = re.findall("[a-z]+", " ".join(seed.description for seed in SEEDS).lower())
FRENCH = "Tu es un guide pour les touristes le long de la côte et tu réponds à leurs questions."
BROKEN = (
    b'{"name": "cut", "description": "a line that ends in the midd',
    b"no JSON at all",
    b'["a", "list"]',
    b'{"name": "x", "description": "\xff\xfe no UTF-8, and long enough to be a description"}',
    b'{"name": "x", "description": "half a character \\ud800 in a text of sufficient length"}',
    b'{"name": "x", "description": "a number that is none, in a text of sufficient length", "stars": NaN}',
    b'{"name": "x", "name": "y", "description": "a field that stands there twice, and a long text"}',
    b'{"name": "x", "description": "too short"}',
    b'{"name": "x", "description": 12}',
    b'{"name": "x"}',
)


@dataclass
class Written:
    """What a file holds."""

    broken: list[int] = field(default_factory=list)
    """Numbers of its broken lines."""
    same: int = 0
    alike: int = 0


def write_rows(path: Path, rows: int) -> Written:
    """A file of roles."""
    rng, written = random.Random(rows), Written()
    kept: list[list[str]] = []
    with path.open("wb") as file:
        # what telling a language loads at first use (70 MB) is there in both sizes
        file.write(json.dumps({"role_id": "1", "name": "Guide", "description": FRENCH}).encode() + b"\n")
        for number in range(2, rows + 1):
            draw = rng.random()
            if draw < 0.01:
                written.broken.append(number)
                file.write(BROKEN[number % len(BROKEN)] + b"\n")
                continue
            words = rng.choices(WORDS, k=rng.randint(40, 60))
            if draw < 0.02 and kept:
                words = list(rng.choice(kept))
                if number % 2:
                    words[-1] = "else"
                    written.alike += 1
                else:
                    written.same += 1
            elif len(kept) < 1000:
                kept.append(words)
            row = {"role_id": str(number), "name": f"Role {number}", "description": " ".join(words)}
            file.write(json.dumps(row).encode() + b"\n")
    return written


def measure(folder: Path, rows: int) -> tuple[dict[str, Any], list[str]]:
    """One import in a process of its own; its summary, and what is wrong with it."""
    file = folder / f"{rows}.jsonl"
    written = write_rows(file, rows)
    to = folder / f"{rows}.seeds.jsonl"
    command = [sys.executable, "rpo.py", "import", "roles", str(file), "--to", str(to), "--json"]
    # looked for, but kept: a copy of what a filter takes would be no duplicate
    command += ["--keep-media", "image", "--keep-media", "video", "--keep-media", "audio"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    report = [json.loads(line) for line in Path(summary["report"]).read_text().splitlines()]
    found = {name: summary["duplicates"].get(name, 0) for name in ("exact", "near")}
    whole = {
        "every broken line is in the report, and no other": written.broken
        == [row["line"] for row in report if row["outcome"] == "refused"],
        "all rows are accounted for": summary["accepted"] + len(report) == rows,
        "every copy is found, 95 % of the nearly equal texts, and no other": found["exact"] >= written.same
        and 0.95 * written.alike <= found["exact"] + found["near"] - written.same <= written.alike,
    }
    print(
        f"{rows:9,d} {file.stat().st_size / 1e6:7.0f} {summary['accepted']:9,d} {len(written.broken):7,d} "
        f"{found['exact']:6,d} {found['near']:6,d} {summary['seconds']:8.1f} {rows / summary['seconds']:8,.0f} "
        f"{summary['peak_mb']:8.0f}",
        flush=True,
    )
    file.unlink()
    to.unlink()
    return summary, [what for what, holds in whole.items() if not holds]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", type=int, default=100_000, help=f"rows of the smaller file; the other has {TIMES} times"
    )
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}")
    print("     rows      MB  accepted refused  exact   near  seconds   rows/s  peak MB")
    with tempfile.TemporaryDirectory() as name:
        small, wrong = measure(Path(name), given.rows)
        large, more = measure(Path(name), given.rows * TIMES)
    ratio = large["peak_mb"] / small["peak_mb"]
    print(f"{TIMES} times the rows, {ratio:.2f} times the memory (limit {MAX_RATIO})")
    for what in (*wrong, *more):
        print(f"does not hold: {what}")
    raise SystemExit(ratio > MAX_RATIO or bool(wrong or more))


if __name__ == "__main__":
    main()
