"""Measuring models on a public benchmark, as a person does it: evaluate, with another model, compare."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.comparison import compare_files
from models.errors import ImportFileError, SeedError, SettingsError
from models.evaluation import BenchmarkSettings
from tasks.benchmarks.answered import read_labelled
from tasks.benchmarks.dialogues import read_turns
from tasks.benchmarks.file_scores import score_file
from tasks.benchmarks.ifeval import IFEVAL
from tasks.benchmarks.multi_if import MULTI_IF
from tests.flows.conftest import Rpo, Scripted, settings_file
from tests.flows.test_evaluation import other_endpoint
from tests.tasks.test_benchmarks import ROWS, labelled, write_csv, write_lines

PROMPTS = 6
TURNS = 6


def test_ifeval_another_model_and_compare(rpo: Rpo, scripted: Scripted, tmp_path: Path) -> None:
    data = tmp_path / "data"
    config = settings_file(tmp_path, scripted.base_url, extra=other_endpoint(scripted.base_url))
    args = ("evaluate", "--benchmark", "ifeval", "--limit", str(PROMPTS), "--data", str(data), "--config", str(config))
    first = rpo.json(*args)
    assert (first["dialogues"], first["calls_made"], first["evaluation"]) == (PROMPTS, PROMPTS, "ifeval")
    metrics = {item["metric"]: item for item in first["metrics"]}
    assert list(metrics)[:4] == ["prompt_strict", "instruction_strict", "prompt_loose", "instruction_loose"]
    assert metrics["prompt_strict"]["n"] == PROMPTS <= metrics["instruction_strict"]["n"]
    assert metrics["prompt_strict"]["value"] <= metrics["prompt_loose"]["value"]

    # the answers are kept: with another model only its own are asked for
    both = rpo.json(*args, "--model", "base", "--model", "mine=endpoint:other")
    assert (both["calls_made"], [model["label"] for model in both["models"]]) == (PROMPTS, ["base", "mine"])
    assert [item for item in both["metrics"] if item["model"] == "base"] == first["metrics"]
    compared = rpo.json("compare", "mine", "base", "--benchmark", "ifeval", "--data", str(data))
    assert {item["metric"]: -item["value"] for item in compared} == pytest.approx(
        {item["metric"]: item["value"] for item in both["differences"]}
    )
    assert all(item["p"] is None or 0 < item["p"] <= 1 for item in compared)

    # in SQL: without a factory run, `main` is the evaluation
    counts = """select (select count(*) from responses) responses, (select count(distinct response_id) from scores)
        scored, (select list(distinct benchmark) from metrics) benchmarks,
        (select count(*) from benchmark_turns) turns"""
    expected = {"responses": 2 * PROMPTS, "scored": 2 * PROMPTS, "benchmarks": ["ifeval"], "turns": PROMPTS}
    assert rpo.sql(data, counts) == [expected]
    assert scripted.counts()["requests"] == 2 * PROMPTS


def test_multi_if_by_its_file_and_what_is_refused(rpo: Rpo, scripted: Scripted, tmp_path: Path) -> None:
    config = settings_file(tmp_path, scripted.base_url)
    file = write_csv(tmp_path / "multi.csv", [*ROWS, ROWS[0] | {"key": "d", "turn_1_prompt": "no JSON"}])
    args = ("evaluate", "--benchmark", "multi-if", "--data", str(tmp_path / "data"), "--config", str(config))
    text = rpo(*args, "--file", str(file))
    for words in ("average/step/1/language/Chinese", "3 dialogues, 6 turns", "line 5", "6 made now"):
        assert words in text
    found = rpo.json(*args, "--file", str(file))
    assert found["calls_made"] == 0
    assert [item["metric"] for item in found["metrics"]][:2] == ["average", "average/step/1"]
    assert scripted.counts()["requests"] == TURNS


def test_what_is_no_data_of_a_benchmark(tmp_path: Path) -> None:
    asked = BenchmarkSettings(benchmark="multi-if")
    with pytest.raises(SettingsError, match="may not be shipped"):
        read_turns(MULTI_IF, asked)
    empty = tmp_path / "empty.jsonl"
    empty.write_text(json.dumps({"key": 1}) + "\n", "utf-8")
    with pytest.raises(SeedError, match=r"no dialogue of multi-if: 1 rows were refused, the first \(line 1\)"):
        read_turns(MULTI_IF, asked.model_copy(update={"file": str(empty)}))
    twice = write_csv(tmp_path / "twice.csv", [ROWS[0], ROWS[0]])
    with pytest.raises(SeedError, match=r"'a' .* has the turns \[1, 2, 1, 2\]"):
        read_turns(MULTI_IF, asked.model_copy(update={"file": str(twice)}))
    turns, refused = read_turns(IFEVAL, BenchmarkSettings(benchmark="ifeval", limit=7))
    assert (len(turns), refused) == (7, [])
    assert len(read_turns(IFEVAL, BenchmarkSettings(benchmark="ifeval"))[0]) == 541


def test_scored_files_are_compared_on_the_keys_that_all_have(tmp_path: Path) -> None:
    def scored(name: str, responses: dict[int, str]) -> Path:
        rows = [labelled(key=key, response=text) for key, text in responses.items()]
        file, out = write_lines(tmp_path / f"{name}.jsonl", *rows), tmp_path / f"{name}.parquet"
        score_file("ifeval", file, read_labelled(file), rows=out, resamples=100)
        return out

    # of keys 0 to 11 the second follows 8 and the first 2; key 99 is the first one's own
    first = scored("first", {key: "Yes" if key < 2 else "Yes, no" for key in range(12)} | {99: "Yes"})
    second = scored("second", {key: "Yes" if 2 <= key < 10 else "Yes, no" for key in range(12)})
    differences, common, left_out = compare_files([first, second])
    assert (common, left_out) == (12, 1)
    [strict] = [item for item in differences if item.metric == "prompt_strict"]
    assert (strict.model, strict.against, strict.n) == ("second", "first", 12)
    assert (strict.before, strict.after) == pytest.approx((2 / 12, 8 / 12))
    # McNemar's exact test of 8 against 2
    assert strict.p == pytest.approx(2 * (1 + 10 + 45) / 2**10)
    with pytest.raises(SettingsError, match="Two files are called 'first'"):
        compare_files([first, first])
    with pytest.raises(SettingsError, match="no dialogue in common"):
        compare_files([first, scored("third", {7000: "Yes"})])
    with pytest.raises(ImportFileError, match="was not written by `rpo score"):
        compare_files([first, tmp_path / "second.jsonl"])


@pytest.mark.slow
@pytest.mark.model
def test_the_embedded_model_on_ifeval(rpo: Rpo, tmp_path: Path) -> None:
    args = ("evaluate", "--benchmark", "ifeval", "--data", str(tmp_path / "data"), "--limit", "6", "--max-tokens", "48")
    first = rpo.json(*args)
    assert first["calls_made"] == 6 and not first["unanswered"]
    assert {item["model"] for item in first["metrics"]} == {"base"}
    said = rpo.sql(tmp_path / "data", "select model, count(*) n, min(length(text)) > 0 spoke from responses group by 1")
    assert said == [{"model": "smollm2-135m-instruct-q4_1", "n": 6, "spoke": True}]
    assert rpo.json(*args)["calls_made"] == 0
