"""SysBench's numbers from the files that its own program writes, and from tables of other kinds."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.errors import ImportFileError
from models.imports import ReadLimits
from models.sysbench import History
from storage.imports.rows import Row
from storage.imports.sysbench_sheets import read_tidy
from storage.imports.workbooks import read_sheet
from tasks.sysbench_scores import score_file

CRITERIA = {
    1: [("闲聊\n2. 再问候 | 两次", "内容约束", "是"), ("不开药方", "动作约束", "否")],
    2: [("用表格", "格式约束", "不适用")],
}
"""Criteria of each turn with a verdict; the first looks like two lines of the sheet."""


def tidy_rows() -> list[dict[str, Any]]:
    kinds = {"内容约束": "content", "动作约束": "action", "格式约束": "format"}
    return [
        {
            "model": "m", "system_id": 7, "turn": turn, "criterion_id": place, "criterion_type": kinds[kind],
            "verdict_raw": word, "domain": "医疗", "alignment": "misalign" if turn == 1 else "align",
            "multi_turn_related": True,
        }
        for turn, criteria in CRITERIA.items()
        for place, (_, kind, word) in enumerate(criteria, start=1)
    ]  # fmt: skip


def write_sheet(path: Path) -> None:
    """As SysBench's ``utils.py`` writes it: criteria and verdicts are lines of one cell."""
    openpyxl = pytest.importorskip("openpyxl", reason="the extra sheets")
    book = openpyxl.Workbook()
    book.active.title = "详情"
    names = ["system_id", "领域", "场景", "multi_rounds_related", "alignment", "round_index", "system_prompt", "prompt",
             "referrence", "answer", "infer_model", "评判细则", "评判理由", "评判结果", "是否可用"]  # fmt: skip
    book.active.append(names)
    for turn, criteria in CRITERIA.items():
        listed = "\n".join(f"{place}. {text} | {kind}" for place, (text, kind, _) in enumerate(criteria, start=1))
        judged = "\n".join(f"{place}. {kind} | {word}" for place, (_, kind, word) in enumerate(criteria, start=1))
        book.active.append([
            7, "医疗", "养生", True, "misalign" if turn == 1 else "align", turn, "你是医生", f"问{turn}", f"问{turn}",
            "=1+1", "m", listed, "因为", judged, 0,
        ])  # fmt: skip
    book.create_sheet("不同约束类型遵循")
    book.save(path)


def write_evaluation(path: Path, *, ground_truth: bool) -> None:
    """As SysBench's ``eval_system_bench.py`` and ``..._with_gt.py`` write it."""
    messages = [{"role": "system", "content": "你是医生"}]
    for turn in CRITERIA:
        messages += [{"role": "user", "content": f"问{turn}"}, {"role": "assistant", "content": f"答{turn}"}]
    listed = {
        f"问{turn}": {
            str(place): {"criteria_id": place, "criteria_content": text, "criteria_type": kind}
            for place, (text, kind, _) in enumerate(criteria, start=1)
        }
        for turn, criteria in CRITERIA.items()
    }
    session = {
        "system_id": 7, "领域": "医疗", "场景": "养生", "rounds_related": True, "system_prompt": "你是医生",
        "messages": messages, "infer_model": "m",
        "infer_results": [messages[:3], messages] if ground_truth else messages,
        "prompt_infos": {
            query: {"alignment": "misalign" if query == "问1" else "align", "criteria": criteria}
            for query, criteria in listed.items()
        },
        "eval_results": {
            f"问{turn}": {
                "评判理由": "因为", "response": f"我的回答{turn}", "criteria": listed[f"问{turn}"],
                "评判结果": {str(place): word for place, (_, _, word) in enumerate(criteria, start=1)},
            }
            for turn, criteria in CRITERIA.items()
        },
    }  # fmt: skip
    path.write_text(
        json.dumps([session, {"system_id": 8, "eval_results": None}], ensure_ascii=False, indent=2), "utf-8"
    )


def test_results_in_sysbenchs_own_files_come_to_the_same(tmp_path: Path) -> None:
    """The layouts are those that its program writes; its published files are not at hand here."""
    pq.write_table(pa.Table.from_pylist(tidy_rows()), tmp_path / "tidy.parquet")
    [expected] = score_file(tmp_path / "tidy.parquet", "gt", resamples=100).models
    assert (expected.csr, expected.isr, expected.ssr) == (33.333333, 50, 0)
    assert set(expected.by["kind"]) == {"content", "action", "format"}

    write_sheet(tmp_path / "m_analysis.xlsx")
    sheet = score_file(tmp_path / "m_analysis.xlsx", "gt", resamples=100)
    assert sheet.models == [expected] and not sheet.history_known and sheet.refused == 0
    rows = [row for row in read_tidy(tmp_path / "m_analysis.xlsx") if isinstance(row, Row)]
    assert rows[0].values["response"] == "=1+1"  # a formula is a text
    texts = [row.values["criterion_text"] for row in rows]
    assert texts == [text for criteria in CRITERIA.values() for text, _, _ in criteria]

    cases: list[tuple[bool, History, History]] = [(True, "gt", "own"), (False, "own", "gt")]
    for ground_truth, history, other in cases:
        write_evaluation(tmp_path / "m_eval.json", ground_truth=ground_truth)
        told = score_file(tmp_path / "m_eval.json", history, resamples=100)
        assert told.models == [expected] and told.history_known
        assert (told.refused, "not a session" in told.refused_first[0]) == (1, True)
        with pytest.raises(ImportFileError, match=f"no verdict with the history {other}"):
            score_file(tmp_path / "m_eval.json", other)


def test_csv_and_json_lines_come_to_the_same(tmp_path: Path) -> None:
    rows = tidy_rows()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    with (tmp_path / "rows.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    found = [score_file(tmp_path / f"rows.{kind}", "own", resamples=100).models for kind in ("parquet", "jsonl", "csv")]
    assert found[0] == found[1] == found[2]


def test_a_spreadsheet_that_is_none_or_a_bomb(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl", reason="the extra sheets")
    (tmp_path / "text.xlsx").write_text("text")
    with pytest.raises(ImportFileError, match="cannot be read as a spreadsheet"):
        score_file(tmp_path / "text.xlsx", "own")
    with zipfile.ZipFile(tmp_path / "bomb.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/sharedStrings.xml", b"0" * (100 << 20))
    with pytest.raises(ImportFileError, match="200 times its size"):
        score_file(tmp_path / "bomb.xlsx", "own")
    write_sheet(tmp_path / "sheet.xlsx")
    with pytest.raises(ImportFileError, match="no sheet other; it has: 详情"):
        list(read_sheet(tmp_path / "sheet.xlsx", "other", ReadLimits()))
