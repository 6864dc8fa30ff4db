"""The whole factory over a scripted model server, as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.constraints import parse_check
from tests.flows.conftest import Rpo, Scripted, settings_file

FORMATS = ("trl", "llamafactory", "sft", "kto", "dpo", "parquet")


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def violated(row: dict[str, Any], query: str, text: str) -> int:
    """How many triggered constraints of an exported row a text violates, from the row alone."""
    checks = [parse_check(item["check"]) for item in row["constraints"] if item["triggered"]]
    return sum(not check.follows(text, query) for check in checks)


def audit_trl(folder: Path) -> int:
    """Prove every pair of a TRL export from the file alone; returns their number."""
    rows = read_lines(folder / "train.jsonl") + read_lines(folder / "validation.jsonl")
    for row in rows:
        query = row["prompt"][-1]["content"]
        assert row["prompt"][-1]["role"] == "user"
        assert violated(row, query, row["chosen"][0]["content"]) == 0
        assert violated(row, query, row["rejected"][0]["content"]) == row["margin"]
        for item in row["constraints"]:
            assert item["text"] in row["prompt"][0]["content"]
    return len(rows)


def test_run_makes_proven_pairs_and_pays_once(rpo: Rpo, scripted: Scripted, tmp_path: Path) -> None:
    config = settings_file(tmp_path, scripted.base_url)
    first = rpo.json("run", "--config", str(config))
    calls = scripted.counts()["requests"]
    assert first["responses"] == 5 * 2 * 2 * 4
    assert first["pairs"] > 50
    assert first["audit_failed"] == 0
    assert first["audited"] == first["pairs"]
    assert first["calls_made"] == 5 * 2 * 2 * (4 + 2)

    exports = tmp_path / "data/exports/test"
    assert audit_trl(exports / "trl") == first["pairs"]
    for name in FORMATS:
        assert sum(first["exported"][name].values()) > 0
    before = {path.name: path.read_bytes() for path in sorted(exports.rglob("*.jsonl"))}

    second = rpo.json("run", "--config", str(config))
    assert second["calls_made"] == 0
    assert scripted.counts()["requests"] == calls
    assert {path.name: path.read_bytes() for path in sorted(exports.rglob("*.jsonl"))} == before

    # another cut into batches makes other parts, but no other call
    third = rpo.json("run", "--config", str(config), "--set", "batch_size=2", "--run", "recut")
    assert third["calls_made"] == 0
    assert scripted.counts()["requests"] == calls
    data = tmp_path / "data"
    same = rpo.sql(data, "select count(*) n from (from test.pairs except from recut.pairs)")
    assert same == [{"n": 0}]

    # a part that is gone is made again, from the call cache
    for part in (data / "responses").glob("[0-9a-f]*.parquet"):
        part.unlink()
    fourth = rpo.json("run", "--config", str(config))
    assert fourth["calls_made"] == 0
    assert fourth["pairs"] == first["pairs"]


def test_runs_with_different_settings_do_not_mix(rpo: Rpo, scripted: Scripted, tmp_path: Path) -> None:
    config = settings_file(tmp_path, scripted.base_url)
    data = tmp_path / "data"
    rpo.json("run", "--config", str(config), "--run", "warm")
    rpo.json("run", "--config", str(config), "--run", "cold", "--set", "roles.policy.temperature=0.3")
    for run in ("warm", "cold"):
        strangers = rpo.sql(
            data,
            f"select count(*) n from {run}.pairs where chosen_id not in (select response_id from {run}.responses) "
            f"or rejected_id not in (select response_id from {run}.responses)",
        )
        assert strangers == [{"n": 0}]
    shared = rpo.sql(data, "select count(*) n from warm.pairs join cold.pairs using (pair_id)")
    assert shared == [{"n": 0}]
    counts = rpo.sql(data, "select (select count(*) from warm.pairs) w, (select count(*) from cold.pairs) c")[0]
    assert counts["w"] > 0 and counts["c"] > 0
    assert rpo.sql(data, "select count(*) n from main.pairs") == [{"n": counts["c"]}]


def test_status_export_and_terminal(rpo: Rpo, scripted: Scripted, tmp_path: Path) -> None:
    config = settings_file(tmp_path, scripted.base_url)
    data = str(tmp_path / "data")
    assert "No runs" in rpo("status", "--data", data)
    text = rpo("run", "--config", str(config))
    for words in ("Satisfaction by constraint kind", "Pairs by margin", "case 6", "Audit", "Next"):
        assert words in text
    assert "complete" in rpo("status", "--data", data)
    runs = rpo.json("status", "--data", data)
    assert runs[0]["run"] == "test"
    assert runs[0]["datasets"]["pairs"]["rows"] > 0
    made = rpo.json("export", "--data", data, "--format", "trl", "--validation-share", "0.5")
    assert made["rows"]["trl"]["validation"] > 0
    train = {row["dialogue_id"] for row in read_lines(Path(made["folder"]) / "trl/train.jsonl")}
    held_out = {row["dialogue_id"] for row in read_lines(Path(made["folder"]) / "trl/validation.jsonl")}
    assert train and held_out and not train & held_out


@pytest.mark.parametrize(
    "statement",
    ["create table x(a int)", "copy (select 1) to 'out.csv'", "select * from read_text('/etc/passwd')"],
)
def test_sql_is_read_only(rpo: Rpo, tmp_path: Path, statement: str) -> None:
    assert "error:" in rpo("sql", statement, "--data", str(tmp_path / "data"), code=1)


def test_readme_sql_examples(rpo: Rpo, scripted: Scripted, tmp_path: Path) -> None:
    from tests.test_docs import readme_sql

    rpo.json("run", "--config", str(settings_file(tmp_path, scripted.base_url)))
    for statement in readme_sql():
        rows = rpo.sql(tmp_path / "data", statement)
        # filled by evaluations, by a judge, by a person, and where something goes wrong
        others = ("metrics", "benchmark_turns", "scores", "calibrations", "flags", "failures")
        assert rows or any(f"from {name}" in statement for name in others), statement


def test_a_model_plays_the_user(rpo: Rpo, scripted: Scripted, tmp_path: Path) -> None:
    config = settings_file(tmp_path, scripted.base_url)
    done = rpo.json("run", "--config", str(config), "--set", 'roles.user={"endpoint": "scripted", "max_tokens": 40}')
    assert done["audit_failed"] == 0
    data = tmp_path / "data"
    [asked] = rpo.sql(data, "select count(*) n from llm_calls where role = 'user' and stage = 'play_dialogues'")
    # once a turn, and again where a query begins like an earlier one
    assert done["turns"] <= asked["n"] <= 4 * done["turns"]
    [varied] = rpo.sql(data, "select count(*) filter (repeats_opening) n, count(repeats_opening) of from turns")
    assert varied["n"] < varied["of"] == done["turns"]
    # what the model said is asked, one line of it, and not the question of the seed
    queries = {row["query"] for row in rpo.sql(data, "select query from turns")}
    seeds = {row["q"] for row in rpo.sql(data, "select unnest(questions) q from roles")}
    assert not queries & seeds
    assert all(query and "\n" not in query for query in queries)


def test_a_run_in_which_no_dialogue_goes_on_says_so(rpo: Rpo, scripted: Scripted, tmp_path: Path) -> None:
    config = settings_file(tmp_path, scripted.base_url)
    config.write_text(config.read_text().replace("min_score = 0", "min_score = 1.0"))
    # ten constraints at a time are more than the server's chance texts ever follow
    many = ("--set", "constraints.min_per_system=10", "--set", "constraints.max_per_system=10")
    args = ("run", "--config", str(config), *many, "--set", "seeds.max_roles=2", "--set", "batch_size=1")
    assert "Ended early  4 dialogues: below_min_score 4" in rpo(*args)
    again = rpo.json(*args)
    assert (again["turns"], again["pairs"], again["calls_made"]) == (0, 0, 0)
    assert again["ended"] == {"below_min_score": 4}
