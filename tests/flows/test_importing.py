"""The command ``rpo import`` as a person types it, and the factory on what it writes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.importing import render_markdown
from models.imports import ImportSettings
from tasks.importing import import_seeds
from tests.flows.conftest import ROOT, Rpo, Scripted, one_message, settings_file

AWESOME = ROOT.parent / "shared/data/roles/awesome_prompts_cc0.jsonl"
HEX_NAME = re.compile(r"[0-9a-f]{32}\.parquet")


def test_what_a_person_sees(rpo: Rpo) -> None:
    rows = [
        {"act": "Sea Guide", "prompt": "Guide tourists along the coast and answer what they ask you.", "[red]x\x1b": 1},
        {"act": "Short", "prompt": "No."},
    ]
    (rpo.cwd / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    shown = rpo("import", "roles", "rows.jsonl", "--near", "0.85")
    for text in ("layout prompts: name from act, text from prompt", "not used: [red]x\ufffd", "1 of 2 rows: en 1",
                 "too_short 1", "questions 1", "data/imports/roles.jsonl", "rpo run --set seeds.roles="):  # fmt: skip
        assert text in shown, shown
    as_json = rpo.json(
        "import", "prompts", "rows.jsonl", "--map", "text=prompt", "--map", "name=act", "--to", "p.jsonl"
    )
    assert (as_json["accepted"], as_json["layout"], as_json["to"]) == (1, "prompts", "p.jsonl")
    assert "--map takes OURS=COLUMN" in one_message(rpo("import", "roles", "rows.jsonl", "--map", "prompt", code=2))


def test_stopped_in_the_middle_nothing_is_left(rpo: Rpo) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a child of a background job would ignore it
    rows = ({"act": f"Guide {n}", "prompt": f"Guide tourists along the coast of island {n}."} for n in range(200_000))
    (rpo.cwd / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    process = rpo.start("import", "roles", "rows.jsonl", "--language", "en", "--near", "0")
    imports = rpo.cwd / "data/imports"
    while not list(imports.glob(".roles.jsonl.*")):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err == "Stopped. Nothing was written; the same command begins anew.\n"
    assert list(imports.iterdir()) == []


def test_the_flow(rpo: Rpo, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text('act,prompt\nSea Guide,"Guide tourists along the coast and answer what they ask you."\nx,\n')
    program = "import sys\nfrom flows.importing import import_rows\nfrom models.imports import ImportSettings\n"
    program += "print(import_rows(ImportSettings.model_validate_json(sys.argv[1])).model_dump_json())"
    given = json.dumps({"kind": "prompts", "file": str(file), "data": str(tmp_path)})
    command = [sys.executable, "-c", program, given]
    done = subprocess.run(command, cwd=ROOT, env=dict(rpo.env), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["accepted"], summary["refused"]) == (1, {"missing": 1})
    assert (tmp_path / "imports/prompts.jsonl").is_file()


def test_texts_of_the_file_are_no_markup_in_the_ui(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    odd = "`|<img src=x onerror=alert(1)>"
    file.write_text(json.dumps({odd: "Guide tourists along the coast and answer what they ask you."}))
    summary = import_seeds(ImportSettings(file=str(file), to=str(tmp_path / "o.jsonl"), columns={"text": odd}))
    shown = render_markdown(summary)
    assert "&lt;img src=x" in shown and "<img" not in shown
    assert all(line.count("|") - line.count("\\|") in (0, 3, 4) for line in shown.splitlines())


@pytest.mark.skipif(not AWESOME.is_file(), reason="the shared data is not here")
@pytest.mark.long
def test_a_real_collection_runs_through_the_factory(rpo: Rpo, scripted: Scripted) -> None:
    data = rpo.cwd / "data"
    made = rpo.json("import", "roles", str(AWESOME), "--data", str(data))
    assert made["accepted"] == 199
    # ids that would be paths, as others may have given them
    seeds = [json.loads(line) for line in Path(made["to"]).read_text().splitlines()]
    odd = {"role_id": "../../../outside", "constraints": [{"text": "Never mention the weather."}]}
    file = rpo.cwd / "roles.jsonl"
    file.write_text("\n".join(json.dumps(seed) for seed in [{**seeds[0], **odd}, *seeds[1:4]]))
    settings = settings_file(rpo.cwd, scripted.base_url)
    summary = rpo.json(
        "run", "--config", str(settings), "--set", f"seeds.roles={file}", "--set", 'seeds.languages=["en"]'
    )
    assert (summary["systems"], summary["audited"]) == (4, summary["pairs"]) and summary["pairs"] > 0
    assert summary["audit_failed"] == 0
    systems = rpo.sql(data, "select role_id, author, len(skills) skills, constraints[1].text first from systems")
    [given] = [row for row in systems if row["author"] == "seed"]
    assert (given["role_id"], given["skills"], given["first"]) == (odd["role_id"], 0, "Never mention the weather.")
    # nothing is named after anything of the file
    assert not list(rpo.cwd.parent.glob("outside*"))
    parts = [path.name for path in (data / "systems").glob("[!_]*.parquet")]
    assert parts and all(HEX_NAME.fullmatch(name) for name in parts)
    findings = rpo.json("doctor", "--store", "--data", str(data))
    assert all(finding["ok"] for finding in findings)
