"""SysBench's tables: what is comparable, and which rows are refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.answers import AnswersFile, GivenDialogue
from storage.imports.dialogue_rows import RowCounts
from storage.imports.rows import Refused
from storage.imports.sysbench import read_sysbench


def row(model: str, turn: int, response: str, *, criterion: int = 1, said: str = "是", **others: Any) -> dict[str, Any]:
    return {
        "model": model, "history_kind": "gt", "system_id": 7, "turn": turn, "domain": "其他",
        "system_prompt": "你是向导。", "user_query": f"问题{turn}",
        # message n of the dialogue: query, answer, query, ...
        "reference_answer": f"问题{turn // 2 + 1}" if turn % 2 else f"答案{turn // 2}",
        "response": response, "criterion_id": criterion, "criterion_text": f"要求{turn}-{criterion}",
        "criterion_type": "style", "verdict_raw": said, **others,
    }  # fmt: skip


def read(
    folder: Path, rows: Sequence[dict[str, Any]], history: Any = "gt", suffix: str = "jsonl"
) -> tuple[list[GivenDialogue], list[Refused], RowCounts]:
    path, refused = folder / f"rows.{suffix}", list[Refused]()
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
        return _read(path, history, folder, refused)
    with path.open("w", encoding="utf-8", newline="") as file:
        if suffix == "csv":
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(item, ensure_ascii=False) + "\n" for item in rows)
    return _read(path, history, folder, refused)


def _read(
    path: Path, history: Any, folder: Path, refused: list[Refused]
) -> tuple[list[GivenDialogue], list[Refused], RowCounts]:
    counts = RowCounts(refused.append)
    given = AnswersFile(path=str(path), layout="sysbench", history=history, judge="j")
    return [item.dialogue for item in read_sysbench(given, folder / "tmp", counts)], refused, counts


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_after_the_ground_truth_all_models_are_comparable(tmp_path: Path, suffix: str) -> None:
    rows = [row(model, turn, f"{model}{turn}") for model in "ab" for turn in (1, 2, 3)]
    [dialogue], refused, counts = read(tmp_path, rows, suffix=suffix)
    assert [[response.text for response in turn.responses] for turn in dialogue.turns] == [
        ["a1", "b1"], ["a2", "b2"], ["a3", "b3"],
    ]  # fmt: skip
    assert [(turn.reference, turn.reference_model) for turn in dialogue.turns] == [
        ("答案1", "SysBench"), ("a2", "a"), ("a3", "a"),
    ]  # fmt: skip
    assert (counts.rows, counts.stand_ins, refused) == (6, 1, [])
    assert [turn.triggered for turn in dialogue.turns] == [["c1"], ["c2"], ["c3"]]


def test_the_response_that_follows_most_stands_in(tmp_path: Path) -> None:
    rows = [row("a", 1, "", said="是"), row("b", 1, "b1", said="否"), row("c", 1, "c1"), row("c", 2, "c2")]
    [dialogue], _, _ = read(tmp_path, [item | {"reference_answer": ""} for item in rows])
    assert (dialogue.turns[0].reference, dialogue.turns[0].reference_model) == ("c1", "c")


def test_answers_beside_their_turns_are_taken_as_they_stand(tmp_path: Path) -> None:
    rows = [row("a", turn, f"a{turn}", reference_answer=f"答案{turn}") for turn in (1, 2)]
    [dialogue], _, counts = read(tmp_path, rows)
    assert ([turn.reference for turn in dialogue.turns], counts.stand_ins) == (["答案1", "答案2"], 0)


def test_after_their_own_history_models_are_comparable_while_they_say_the_same(tmp_path: Path) -> None:
    said = {"a": ("hi", "one", "x"), "b": ("hi", "two", "y"), "c": ("ho", "one", "z"), "d": ("hi", "one", "w")}
    rows = [
        row(model, turn, text, history_kind="own")
        for model, texts in said.items()
        for turn, text in enumerate(texts, 1)
    ]
    dialogues, refused, _ = read(tmp_path, rows, "own")
    found = [[[response.model for response in turn.responses] for turn in dialogue.turns] for dialogue in dialogues]
    assert found == [
        # the first turn is everybody's; a, b and d said "hi"; a and d also "one"
        [["a", "b", "c", "d"], ["a", "b", "d"], ["a", "d"]],
        [[], [], ["b"]],
        [[], ["c"], ["c"]],
    ]
    for dialogue in dialogues:
        for number, turn in enumerate(dialogue.turns):
            for response in turn.responses:
                assert said[response.model][:number] == tuple(before.reference for before in dialogue.turns[:number])
    assert not refused
    # the other kind of history is not asked for
    assert read(tmp_path, rows, "gt")[0] == []
    assert read(tmp_path, rows, "gt")[2].passed_over == len(rows)


def test_a_verdict_that_was_not_offered_is_unscored(tmp_path: Path) -> None:
    [dialogue], _, _ = read(
        tmp_path, [row("a", 1, "x", said=said, criterion=n) for n, said in enumerate(("是", "否", "不适用"), 1)]
    )
    [response] = dialogue.turns[0].responses
    assert response.judge == "j" and response.verdicts is not None
    assert [verdict.verdict for verdict in response.verdicts] == ["followed", "violated", "unscored"]
    assert "不适用" in response.verdicts[2].reason


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_an_empty_cell_is_the_same_in_every_format(tmp_path: Path, suffix: str) -> None:
    """pandas reads what is empty in CSV as null, and writes null to Parquet."""
    empty: Any = "" if suffix == "csv" else None
    rows = [
        row("a", 1, "x", said="是"), row("b", 1, "y", said=empty),
        row("a", 1, "x", criterion=2, said=empty), row("b", 1, "y", criterion=2, said=empty),
        row("c", 1, empty, said="否"),
    ]  # fmt: skip
    [dialogue], refused, _ = read(tmp_path, [item | {"reference_answer": empty} for item in rows], suffix=suffix)
    [turn] = dialogue.turns
    assert refused == []
    # a demand that nobody has judged is one all the same: no pair is proven without it
    assert turn.triggered == ["c1", "c2"]
    assert [(r.text, [v.verdict for v in r.verdicts or ()]) for r in turn.responses] == [
        ("x", ["followed"]), ("y", []), ("", ["violated"]),
    ]  # fmt: skip


def test_columns_that_are_not_used_refuse_no_row(tmp_path: Path) -> None:
    found, refused, _ = read(tmp_path, [row("a", 1, "x", latency=float("nan"))], suffix="parquet")
    assert (len(found), refused) == (1, [])


@pytest.mark.parametrize(
    ("bad", "reason", "field"),
    [
        (row("b", 1, "b1") | {"turn": 0}, "wrong_value", "turn"),
        (row("b", 1, "b1") | {"verdict_raw": True}, "wrong_value", "verdict_raw"),
        (row("b", 1, "b1") | {"history_kind": "mine"}, "wrong_value", "history_kind"),
        (row("b", 1, "b1", system_prompt="你是别人。"), "contradicts", "system_prompt"),
        (row("b", 1, "b1", user_query="别的"), "contradicts", "user_query"),
        (row("b", 1, "b1", reference_answer="别的"), "contradicts", "reference_answer"),
        (row("b", 1, "b1", criterion_text="别的"), "contradicts", "criterion_text"),
        (row("a", 1, "other", criterion=2), "contradicts", "response"),
        (row("a", 1, "a1", said="否"), "contradicts", "criterion_id"),
        (row("b", 3, "b3"), "no_history", "turn"),
    ],
)
def test_a_bad_row_is_refused_with_line_and_field(tmp_path: Path, bad: dict[str, Any], reason: str, field: str) -> None:
    [dialogue], refused, _ = read(tmp_path, [row("a", 1, "a1"), bad])
    assert [(item.line, item.reason, item.field) for item in refused] == [(2, reason, field)]
    assert [response.text for response in dialogue.turns[0].responses] == ["a1"]


def test_a_column_that_is_missing_is_named(tmp_path: Path) -> None:
    found, refused, _ = read(tmp_path, [{"model": "a", "turn": 1}])
    assert found == [] and refused[0].field == "history_kind" and "required" in refused[0].what
