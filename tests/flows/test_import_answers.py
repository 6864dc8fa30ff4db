"""Importing answers, by the real command; what comes out is computed again here, in plain Python, from the file."""

from __future__ import annotations

import json
import re
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from storage.catalog import query
from storage.checking import check_store
from storage.garbage import look_for_garbage
from storage.manifests import load
from tests.flows.conftest import ROOT, Rpo

FILE = ROOT.parent / "shared" / "data" / "sysbench" / "dev100_tidy.parquet"
needs_file = pytest.mark.skipif(not FILE.is_file(), reason="SysBench's answers are not in ../shared/data")

Verdicts = tuple[str, ...]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return [row for row in pq.read_table(FILE).to_pylist() if row["history_kind"] == "gt"]


@pytest.fixture(scope="module")
def imported(prefect_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Rpo, Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("imported")
    rpo = Rpo(prefect_env, folder)
    return rpo, folder / "data", import_gt(rpo, folder / "data")


def import_gt(rpo: Rpo, data: Path, file: Path = FILE) -> dict[str, Any]:
    options = ("--layout", "sysbench", "--history", "gt", "--data", str(data), "--run", "sysbench_gt")
    found: dict[str, Any] = rpo.json("import", "verdicts", str(file), *options)
    return found


def responses_of(rows: Sequence[dict[str, Any]]) -> dict[tuple[int, int], list[tuple[str, Verdicts]]]:
    """Text and verdicts of every response to a turn, in the order of the file."""
    given: dict[tuple[int, int], dict[str, tuple[str, dict[int, str]]]] = defaultdict(dict)
    for row in rows:
        of_turn = given[row["system_id"], row["turn"]]
        of_turn.setdefault(row["model"], (row["response"], {}))[1][row["criterion_id"]] = row["verdict_raw"]
    return {
        turn: [(text, tuple(said[place] for place in sorted(said))) for text, said in models.values()]
        for turn, models in given.items()
    }


def expected_pairs(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[int, int]]:
    """Margin and noise case of every pair that the paper's rules make."""
    for responses in responses_of(rows).values():
        decided = [(text, said) for text, said in responses if set(said) <= {"是", "否"}]
        texts = dict(reversed(decided))  # of equal texts the first
        for chosen, rejected in permutations(set(texts.values()), 2):
            yield sum(a != b for a, b in zip(chosen, rejected, strict=True)), noise_case(chosen, rejected)


def noise_case(first: Verdicts, second: Verdicts) -> int:
    a, b = ({place for place, said in enumerate(vector) if said == "是"} for vector in (first, second))
    if len(a) == len(b):
        return 2 if a & b else 1
    if a > b or b > a:
        return 6 if max(len(a), len(b)) == len(first) else 5
    return 4 if a & b else 3


@needs_file
def test_pairs_by_margin_and_noise_case(imported: tuple[Rpo, Path, dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    rpo, data, found = imported
    pairs = list(expected_pairs(rows))
    margins, cases = Counter(margin for margin, _ in pairs), Counter(case for _, case in pairs)
    summary = found["summary"]
    assert {int(key): n for key, n in summary["margins"].items()} == margins
    assert {int(key): n for key, n in summary["noise_cases"].items()} == cases
    assert (found["rows"], found["refused"], found["alone"]) == (25431, {}, 0)
    assert summary["unscored"] == sum(row["verdict_raw"] not in "是否" for row in rows)
    # a script asks so
    asked = json.loads(rpo("sql", "--data", str(data), "--json", "select margin, count(*) from pairs group by 1"))
    assert {row["margin"]: row["count_star()"] for row in asked} == margins
    assert all(set(row) == {"margin", "count_star()"} for row in asked)


@needs_file
def test_the_exported_file_proves_itself(
    imported: tuple[Rpo, Path, dict[str, Any]], rows: list[dict[str, Any]]
) -> None:
    _, data, found = imported
    verdicts: dict[tuple[str, str, str], list[dict[str, str]]] = defaultdict(list)
    answers: dict[tuple[str, str, str, str], dict[str, str]] = {}
    for row in rows:
        answer = answers.setdefault((row["system_prompt"], row["user_query"], row["response"], row["model"]), {})
        if not answer:
            verdicts[row["system_prompt"], row["user_query"], row["response"]].append(answer)
        answer[row["criterion_text"]] = row["verdict_raw"]
    lines = [
        json.loads(line)
        for split in ("train", "validation")
        for line in (data / f"exports/sysbench_gt/trl/{split}.jsonl").read_text("utf-8").splitlines()
    ]
    assert len(lines) == found["summary"]["pairs"] == found["summary"]["audited"] > 2000
    assert found["summary"]["audit_failed"] == 0
    card = (data / "exports/sysbench_gt/README.md").read_text("utf-8")
    assert "imported responses with verdicts" in card and "3,500 used" in card
    # of the settings nothing that had no part in it: the policy is the demo's
    report = (data / "reports/sysbench_gt.html").read_text("utf-8")
    assert "Imported responses with verdicts: dev100_tidy.parquet, layout sysbench, history gt" in report
    assert "every one of them proven from its verdicts" in report and "No model was asked" in report
    assert "Who played which role" not in report and "role seeds" not in report
    assert "smollm" not in card.lower() and '"dialogues"' not in card
    assert "pairs were proven from the imported verdicts" in card and "Every verdict was imported" in card
    for line in lines:
        assert line["chosen"] != line["rejected"]
        system, demands = line["prompt"][0]["content"].rsplit("\n\n以下要求必须遵守", 1)
        assert all(item["text"] in demands and item["triggered"] for item in line["constraints"])
        wanted = {}
        for item in line["constraints"]:
            original = re.search("“(.*)”", item["text"], re.DOTALL) if item["reversed"] else None
            wanted[original[1] if original else item["text"]] = "否" if item["reversed"] else "是"
        query = line["prompt"][-1]["content"]
        chosen, rejected = (verdicts[system, query, line[side][0]["content"]] for side in ("chosen", "rejected"))
        # equal texts of several models may be judged differently: one of them is meant
        assert wanted in chosen
        broken = {sum(said[text] != verdict for text, verdict in wanted.items()) for said in rejected}
        assert line["margin"] in broken
        assert all(set(said) == set(wanted) for said in (*chosen, *rejected))


@needs_file
def test_prompts_hold_the_history_that_the_file_gives(
    imported: tuple[Rpo, Path, dict[str, Any]], rows: list[dict[str, Any]]
) -> None:
    _, data, found = imported
    messages = {(row["system_id"], row["turn"]): row["reference_answer"] for row in rows}
    queries = {(row["system_id"], row["turn"]): row["user_query"] for row in rows}
    result = query(
        data, "select role_id, turn, query, reference, reference_model from turns join systems using (system_id)"
    )
    turns = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
    assert len(turns) == 500
    texts = defaultdict(set)
    for row in rows:
        texts[row["system_id"], row["turn"]].add(row["response"])
    for turn in turns:
        system, number = int(turn["role_id"].removeprefix("sysbench-")), turn["turn"]
        assert turn["query"] == queries[system, number]
        # message 2 of the dialogue is the first answer, message 4 the second; the file has no others
        if number <= 2:
            assert (turn["reference"], turn["reference_model"]) == (messages[system, 2 * number], "SysBench")
        else:
            assert turn["reference"] in texts[system, number]
    assert found["stand_ins"] == 200


@needs_file
def test_again_makes_nothing_twice_and_the_store_is_whole(imported: tuple[Rpo, Path, dict[str, Any]]) -> None:
    rpo, data, _ = imported
    before = {path: path.stat().st_mtime_ns for path in data.glob("*/*.parquet")}
    first, exported = load(data, "sysbench_gt"), (data / "exports/sysbench_gt/trl/train.jsonl").read_bytes()
    import_gt(rpo, data)
    assert {path: path.stat().st_mtime_ns for path in data.glob("*/*.parquet")} == before
    second = load(data, "sysbench_gt")
    assert (second.parts, second.status) == (first.parts, "complete")
    assert (data / "exports/sysbench_gt/trl/train.jsonl").read_bytes() == exported
    assert look_for_garbage(data).files == 0
    assert all(finding.ok for finding in check_store(data))
    # Prefect's UI shows both
    body = json.dumps({"flows": {"name": {"any_": ["import-verdicts"]}}}).encode()
    request = urllib.request.Request(
        f"{rpo.env['PREFECT_API_URL']}/flow_runs/filter", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert [run["name"] for run in json.load(reply)].count("import-verdicts sysbench_gt") == 2
    # the name is taken by an import, and a factory run must not replace it
    assert "import verdicts dev100_tidy.parquet" in rpo("run", "--run", "sysbench_gt", "--data", str(data), code=2)
