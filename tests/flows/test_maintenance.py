"""A data folder over its life: freed, compacted and checked by the commands, between and during real runs."""

from __future__ import annotations

import time
from pathlib import Path

from storage.catalog import query
from storage.garbage import look_for_garbage
from storage.usage import is_in_use
from tests.flows.conftest import Rpo, Scripted, one_message, settings_file


def test_a_folder_is_freed_compacted_and_checked(rpo: Rpo, scripted: Scripted, tmp_path: Path) -> None:
    data, config = tmp_path / "data", str(settings_file(tmp_path, scripted.base_url))
    here = ("--data", str(data))
    small = ("run", "--config", config, "--set", "samples=2", "--set", "seeds.max_roles=2")
    first = rpo.json(*small)

    # other settings under the same name: the samples of before are in no manifest any more
    second = rpo.start(*small, "--set", "samples=3", "--json")
    while not is_in_use(data):
        assert second.poll() is None
        time.sleep(0.05)
    refused = one_message(rpo("gc", "--delete", "--grace", "0", "--unfinished", *here, code=1))
    assert "A run is under way" in refused
    _, err = second.communicate(timeout=300)
    assert second.returncode == 0, err

    looked = rpo.json("gc", "--grace", "0", *here)
    freed = {total["what"]: total["files"] for total in looked["freed"]}
    assert {"responses", "judgments", "pairs", "audits", "llm_calls", "exclusions", "prefect results"} <= set(freed)
    assert not {"roles", "personas", "systems", "users", "turns", "reversals"} & set(freed)
    assert looked["left_alone"] == []
    assert f"{looked['files']} files" in rpo("gc", "--grace", "0", "--delete", *here)
    assert look_for_garbage(data, grace_hours=0).files == 0

    asked = "select verdict, count(*) from judgments join responses using (response_id) group by 1 order by 1"
    before = query(data, asked)
    compacted = {item["dataset"] for item in rpo.json("compact", "--above", "1", *here)}
    assert {"turns", "responses", "judgments", "llm_calls"} <= compacted
    assert query(data, asked) == before
    findings = rpo.json("doctor", "--store", *here)
    assert [finding for finding in findings if not finding["ok"] or "not compared" in finding["what"]] == []

    # what was freed is made anew, and nothing is asked again
    calls = scripted.counts()
    again = rpo.json(*small)
    assert (again["pairs"], again["calls_made"]) == (first["pairs"], 0)
    assert scripted.counts() == calls

    part = next((data / "responses").glob("[0-9a-f]*.parquet"))
    whole = part.read_bytes()
    part.write_bytes(whole[:300] + b"\xff" + whole[301:])
    doctor = rpo.start("doctor", "--store", *here)
    out, err = doctor.communicate(timeout=120)
    assert doctor.returncode == 1, err
    assert "is damaged" in out and f"rm '{part}', then type" in out
