"""SysBench's sessions: read from files, answered after either history, judged criterion by criterion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.benchmarks import BenchmarkTurn, Score
from models.records import PartRef, Response
from models.settings import FactorySettings
from storage.imports.rows import Refused
from storage.parts import PartStore
from tasks.benchmarks.answering import answer_benchmark
from tasks.benchmarks.sysbench import score_sysbench, tally_sysbench
from tasks.benchmarks.sysbench_sessions import read_sysbench
from tasks.llm.structured import MAX_ROUNDS
from tasks.measures import mean
from tests.scripted_server import ScriptedServer
from tests.tasks.judged import judge_that_says, say, settings_of
from tests.tasks.sysbench_sessions import make_session, write_sessions
from tests.tasks.test_sysbench_files import tidy_rows, write_evaluation, write_sheet
from tests.tasks.test_sysbench_scores import REAL


def read(path: Path) -> list[BenchmarkTurn]:
    return [turn for turn in read_sysbench(path) if isinstance(turn, BenchmarkTurn)]


def refused(path: Path) -> list[str]:
    return [turn.what for turn in read_sysbench(path) if isinstance(turn, Refused)]


def test_the_dataset_file(tmp_path: Path) -> None:
    turns = read(write_sessions(tmp_path / "data.json", [make_session(7, alignment="misalign"), make_session(8)]))
    assert [(turn.dialogue_id, turn.turn) for turn in turns] == [(key, n) for key in ("7", "8") for n in (1, 2, 3)]
    first = turns[0]
    assert (first.query, first.given) == ("How do I make dish 7-1?", "Hello! The truth of 7-1.")
    assert first.system == "You are cook number 7. Greet first. Answer in one sentence."
    assert first.labels == ["domain/cooking", "alignment/misalign", "relation/dependent"]
    assert [(item.kind, item.text) for item in first.instructions] == [
        ("action", "Greets the user first"), ("format", "Answers in one sentence")
    ]  # fmt: skip
    assert turns[3].labels == ["domain/law", "alignment/align", "relation/parallel"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"messages": []}, "messages: List should have at least 2 items"),
        ({"messages": [{"role": "user", "content": "?"}] * 2}, "messages are not a system prompt"),
        ({"messages": [{"role": "system", "content": "s"}, {"role": "assistant", "content": "?"}]}, "in turn"),
        ({"messages": [{"role": "tool", "content": "s"}] * 2}, "messages.0.role"),
        ({"prompt_infos": {}}, "no entry for the query 'How do I make dish 1-1?'"),
        ({"prompt_infos": {"a": {"criteria": {"1": {"criteria_type": "x"}}}}}, "criteria_content: Field required"),
        ({"system_id": None}, "system_id"),
    ],
)
def test_a_session_that_is_none_is_refused_whole(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    file = write_sessions(tmp_path / "data.json", [make_session(1, **changes), make_session(2)])
    assert [why in what for what in refused(file)] == [True]
    assert {turn.dialogue_id for turn in read(file)} == {"2"}


def test_sessions_from_results(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "m_eval.json", ground_truth=True)
    turns = read(tmp_path / "m_eval.json")
    assert [turn.given for turn in turns] == ["答1", "答2"]
    assert turns[0].language == "zh"
    write_sheet(tmp_path / "m_analysis.xlsx")
    # beside turn n the sheet has message n of the session: no answer of the ground truth
    assert read(tmp_path / "m_analysis.xlsx") == [turn.model_copy(update={"given": None}) for turn in turns]

    texts = {"system_prompt": "你是医生", "criterion_text": "x"}
    rows = [row | texts | {"user_query": f"问{row['turn']}"} for row in tidy_rows()]
    bad = [rows[0] | {"criterion_text": "y"}, rows[0] | {"user_query": ""}, rows[0] | {"turn": -1}]
    pq.write_table(pa.Table.from_pylist([*rows, *rows, *bad]), tmp_path / "tidy.parquet")
    assert [turn.labels for turn in read(tmp_path / "tidy.parquet")] == [turn.labels for turn in turns]
    assert refused(tmp_path / "tidy.parquet") == [
        "another criterion_text than in a row before", "there is no user_query", "turn is no number from 1 to 1000"
    ]  # fmt: skip


def test_sessions_of_the_real_table() -> None:
    if not REAL.exists():
        pytest.skip(f"{REAL.name} is not there")
    turns = read(REAL)
    assert len(turns) == 500 and {turn.turn for turn in turns} == {1, 2, 3, 4, 5}
    table = pq.read_table(REAL, columns=["system_id", "turn", "criterion_text", "criterion_type"]).to_pylist()
    expected = {(str(r["system_id"]), r["turn"], r["criterion_type"], r["criterion_text"]) for r in table}
    assert {(t.dialogue_id, t.turn, i.kind, i.text) for t in turns for i in t.instructions} == expected
    assert sum(len(turn.instructions) for turn in turns) == 1211
    assert not any(turn.given for turn in turns) and {turn.language for turn in turns} == {"zh"}


def store_turns(settings: FactorySettings, turns: list[BenchmarkTurn]) -> PartRef:
    store = PartStore(settings.data_dir)
    store.ensure_schemas()
    return store.write("benchmark_turns", f"{1:032x}", turns)


def ask(tmp_path: Path, server: ScriptedServer, turns: list[BenchmarkTurn]) -> list[Response]:
    settings = settings_of(tmp_path, judge=server.base_url)
    endpoints = {
        name: item.model_copy(update={"base_url": server.base_url}) for name, item in settings.endpoints.items()
    }
    settings = settings.model_copy(update={"endpoints": endpoints})
    return PartStore(tmp_path).read(answer_benchmark.fn(settings, store_turns(settings, turns)), Response)


@pytest.mark.parametrize("history", ["own", "gt"])
def test_the_history_is_the_models_own_or_the_ground_truth(tmp_path: Path, history: str) -> None:
    turns = read(write_sessions(tmp_path / "data.json", [make_session(1)]))
    if history == "own":
        turns = [turn.model_copy(update={"given": None}) for turn in turns]
    with judge_that_says("one", "two", "three") as server:
        answers = ask(tmp_path, server, turns)
        assert [answer.text for answer in answers] == ["one", "two", "three"]
        sent = [message["content"] for message in server.bodies[2]["messages"]]
    said = ["one", "two"] if history == "own" else ["Hello! The truth of 1-1.", "Hello! The truth of 1-2."]
    assert sent == [turns[0].system, turns[0].query, said[0], turns[1].query, said[1], turns[2].query]


def store_answers(settings: FactorySettings, turns: list[BenchmarkTurn], texts: dict[int, str]) -> PartRef:
    played = store_turns(settings, turns)
    rows = [
        Response(
            response_id=f"r{turn.turn}", dialogue_id=turn.dialogue_id, turn=turn.turn, sample=0, text=texts[turn.turn],
            model="m", finish_reason="stop", prompt_tokens=1, completion_tokens=1, origin="sampled",
        )
        for turn in turns
        if turn.turn in texts
    ]  # fmt: skip
    return PartStore(settings.data_dir).write("responses", f"{2:032x}", rows, inputs=[played])


def score(tmp_path: Path, turns: list[BenchmarkTurn], texts: dict[int, str], server: ScriptedServer) -> list[Score]:
    settings = settings_of(tmp_path, judge=server.base_url)
    answers = store_answers(settings, turns, texts)
    return PartStore(tmp_path).read(score_sysbench.fn(settings, answers), Score)


def values(scores: list[Score]) -> dict[str, float]:
    return {metric: round(mean(totals), 4) for metric, totals in tally_sysbench(scores).items() if "/" not in metric}


def test_one_call_an_answer_and_one_verdict_a_criterion(tmp_path: Path) -> None:
    turns = read(write_sessions(tmp_path / "data.json", [make_session(1)]))
    with judge_that_says(say("f", "f"), say("f", "v"), say("f", "n")) as server:
        scores = score(tmp_path, turns, {1: "a1", 2: "a2", 3: "a3"}, server)
        assert server.requests == 3
        prompt = server.bodies[2]["messages"][-1]["content"]
    # the judge sees the system prompt, what came before, the answer and the criteria by their ids
    for text in (turns[2].system, "The truth of 1-1", "The truth of 1-2", turns[2].query, "a3", "c2: Answers in one"):
        assert text is not None and text in prompt
    assert "a1" not in prompt and "earlier turns of the dialogue" in prompt
    assert [score.verdict for score in scores] == [
        "followed", "followed", "followed", "violated", "followed", "not_applicable"
    ]  # fmt: skip
    assert {(row.judge, row.loose) for row in scores} == {("referee", None)}
    assert (scores[3].response_id, scores[3].kind, scores[3].reason) == ("r2", "format", "because v")
    # not_applicable is not satisfied in csr and not failed in isr, as SysBench counts
    assert values(scores) == {"csr": round(4 / 6, 4), "isr": round(2 / 3, 4), "ssr": round(1 / 3, 4)}
    found = tally_sysbench(scores)
    assert mean(found["csr/kind/format"]) == pytest.approx(1 / 3)
    assert [mean(found[f"ssr/turn/{turn}"]) for turn in (1, 2, 3)] == [1, 0, 0]
    assert {"csr/domain/cooking", "isr/alignment/align", "ssr/relation/dependent", "isr/turn/2"} <= set(found)


def test_what_the_judge_does_not_decide_is_unscored(tmp_path: Path) -> None:
    turns = read(write_sessions(tmp_path / "data.json", [make_session(1)]))
    with judge_that_says("no JSON", say("f", "f"), say("f", "f"), *["no JSON"] * (MAX_ROUNDS - 1)) as server:
        scores = score(tmp_path, turns, {1: "a1", 2: "a2", 3: "a3"}, server)
    assert [row.verdict for row in scores] == ["unscored"] * 2 + ["followed"] * 4
    assert "unreadable" in scores[0].reason
    assert values(scores) == {"csr": 1, "isr": 1}


def test_a_turn_without_an_answer_leaves_its_session_without_ssr(tmp_path: Path) -> None:
    turns = read(write_sessions(tmp_path / "data.json", [make_session(1)]))
    with judge_that_says(say("f", "f"), say("f", "f")) as server:
        scores = score(tmp_path, turns, {1: "a1", 2: "a2"}, server)
        assert server.requests == 2
    assert [(row.verdict, row.reason, row.response_id) for row in scores[4:]] == [
        ("unscored", "there is no response", "")
    ] * 2
    assert values(scores) == {"csr": 1, "isr": 1}
