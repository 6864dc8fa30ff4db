"""Verdicts of a file that is larger than what an import may hold."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.flows.conftest import ROOT

SESSIONS, TURNS, MODELS, CRITERIA = 15, 5, 7, 3
TEXT_CHARS = 100_000

PROGRAM = r"""
import re, sys
from pathlib import Path
from models.answers import AnswersFile
from storage.imports.dialogue_rows import RowCounts
from storage.imports.sysbench import read_sysbench
counts, dialogues = RowCounts(print), 0
file = AnswersFile(path=sys.argv[1], layout="sysbench", history="gt")
for found in read_sysbench(file, Path(sys.argv[2]), counts):
    dialogues += 1
# ru_maxrss would be that of the process that started this one, where it is larger
peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]
print(counts.rows, dialogues, int(peak) // 1024)
"""


def test_memory_is_that_of_a_session_and_not_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    with file.open("w", encoding="utf-8") as out:
        # as in SysBench's tables, the rows of a session are far from each other
        for model in range(MODELS):
            for session in range(SESSIONS):
                for turn in range(1, TURNS + 1):
                    text = f"{model} {session} {turn} ".ljust(TEXT_CHARS, "x")
                    for criterion in range(CRITERIA):
                        row = {
                            "model": f"m{model}", "history_kind": "gt", "system_id": session, "turn": turn,
                            "system_prompt": "p", "user_query": f"q{turn}", "reference_answer": "a", "response": text,
                            "criterion_id": criterion, "criterion_text": f"c{criterion}", "criterion_type": "style",
                            "verdict_raw": "是",
                        }  # fmt: skip
                        out.write(json.dumps(row) + "\n")
    command = [sys.executable, "-c", PROGRAM, str(file), str(tmp_path / "scratch")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows, dialogues, peak_mb = map(int, done.stdout.split())
    assert (rows, dialogues) == (SESSIONS * TURNS * MODELS * CRITERIA, SESSIONS)
    assert file.stat().st_size > 150e6 and peak_mb < 150
    assert not list((tmp_path / "scratch").iterdir())
