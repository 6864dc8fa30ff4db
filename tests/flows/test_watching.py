"""What the Prefect UI shows of a run, asked from its API."""

from __future__ import annotations

import json
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from flows.watching import tabulate_stage
from models.records import CallFailure, Judgment, LlmCall, PartRef
from storage.parts import PartStore
from storage.stage_counts import StageCounts, count_stage
from tasks.work import Calls, add_calls, describe_work, read_calls
from tests.flows.conftest import Rpo, Scripted, settings_file

STAGES = {
    "expand_systems": 4,
    "expand_users": 22,
    "play_dialogues": 4,
    "sample_responses": 4,
    "judge_responses": 4,
    "reverse_constraints": 4,
    "build_pairs": 1,
    "audit_pairs": 4,
}


def ask(env: dict[str, str], what: str, **body: Any) -> list[dict[str, Any]]:
    request = urllib.request.Request(
        f"{env['PREFECT_API_URL']}/{what}/filter",
        data=json.dumps({"limit": 200, **body}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as reply:
        found: list[dict[str, Any]] = json.load(reply)
    return found


def test_the_ui_reads_as_the_stages(rpo: Rpo, prefect_env: dict[str, str], scripted: Scripted, tmp_path: Path) -> None:
    done = rpo.json("run", "--config", str(settings_file(tmp_path, scripted.base_url)), "--run", "watched")
    [flow_run] = ask(prefect_env, "flow_runs", flow_runs={"name": {"any_": ["factory watched"]}})
    mine = {"flow_runs": {"id": {"any_": [flow_run["id"]]}}}

    time.sleep(3)  # the server records task runs a little later
    names = Counter(run["name"] for run in ask(prefect_env, "task_runs", **mine))
    for stage, batches in STAGES.items():
        assert all(names[f"{stage} {place}/{batches}"] == 1 for place in range(1, batches + 1)), (stage, names)
    assert sum(names.values()) == sum(STAGES.values())

    artifacts = {item["key"]: item for item in ask(prefect_env, "artifacts", **mine)}
    for stage in STAGES:
        named = f"{stage}-watched".replace("_", "-")
        assert artifacts[f"progress-{named}"]["data"] == 100
        assert artifacts[f"stage-{named}"]["type"] == "table"
    table = {row["what"]: row["how many"] for row in json.loads(artifacts["stage-sample-responses-watched"]["data"])}
    assert table["batches finished"] == 4 and table["rows"] == done["responses"]
    assert table["calls"] == table["calls made now"] == done["responses"]
    verdicts = {row["what"]: row["how many"] for row in json.loads(artifacts["stage-judge-responses-watched"]["data"])}
    assert sum(count for what, count in verdicts.items() if what.startswith("verdict ")) == done["judgments"]
    summary = artifacts["summary-watched"]["data"]
    assert (tmp_path / "data/exports/watched").as_uri() in summary

    lines = [line["message"] for line in ask(prefect_env, "logs", logs={"flow_run_id": {"any_": [flow_run["id"]]}})]
    for stage, batches in STAGES.items():
        assert lines.count(f"{stage}: {batches} batches") == 1
        assert sum(line.startswith(f"{stage}: {batches} of {batches} batches, ") for line in lines) == 1
    # the stages twice, and Prefect's own begin and end
    assert len(lines) <= 2 * len(STAGES) + 3, lines


def call(**values: Any) -> LlmCall:
    return LlmCall(
        **{
            "request_hash": "h", "stage": "s", "role": "judge", "model": "m", "prompt_tokens": 1,
            "completion_tokens": 1, "seconds": 1.0, "tries": 1, "cost": 0.5, "cached": False, "error": None,
        }
        | values
    )  # fmt: skip


def verdict(number: int, verdict: Any) -> Judgment:
    return Judgment(
        response_id=str(number), constraint_id="c", dialogue_id="d", turn=1, position=0, verdict=verdict, reason="",
        judge="code", votes=1,
    )  # fmt: skip


def test_a_batch_says_its_calls() -> None:
    said = describe_work(7, [call(), call(cached=True), call(error="lost")])
    assert said == "7 rows; 2 calls made, 1 from the call cache"
    assert read_calls(said) == Calls(made=2, cached=1)
    # Prefect's own message, or none: the part was there
    assert read_calls(None) == read_calls("All states completed.") == Calls()
    assert add_calls([Calls(1, 2), Calls(), Calls(3, 4)]) == Calls(4, 6)


def test_a_stage_is_counted_part_by_part(tmp_path: Path) -> None:
    store, keys = PartStore(tmp_path), ["1" * 32, "2" * 32, "3" * 32]
    refs = [
        store.write("judgments", keys[0], [verdict(1, "followed"), verdict(2, "violated")]),
        store.write("judgments", keys[1], [verdict(3, "followed")]),
        store.write("judgments", keys[2], []),
    ]
    store.write("llm_calls", keys[0], [call(), call(cost=0.25, error="no answer")])
    lost = {"stage": "s", "role": "judge", "model": "m", "kind": "timeout", "count": 3, "lost": 1, "example": "e"}
    store.write("failures", keys[0], [CallFailure.model_validate(lost)])
    counts = count_stage(store, refs)
    assert counts == StageCounts(
        parts=3,
        rows=3,
        verdicts=Counter(followed=2, violated=1),
        calls=2,
        lost=1,
        cost=0.75,
        failures=Counter(timeout=3),
    )
    table = {row["what"]: row["how many"] for row in tabulate_stage(counts, Calls(1, 1), failed=2)}
    assert table == {
        "batches finished": 3, "batches failed": 2, "rows": 3, "verdict followed": 2, "verdict violated": 1, "calls": 2,
        "calls made now": 1, "calls from the call cache now": 1, "calls lost": 1, "cost": 0.75, "failure timeout": 3,
    }  # fmt: skip
    store.write("llm_calls", keys[1], [call(cost=None)])
    assert count_stage(store, refs).cost is None
    assert count_stage(store, [PartRef(dataset="judgments", key=keys[2], rows=0)]) == StageCounts(parts=1)
