"""The released records with responses and verdicts: verdicts by the text of their constraint, or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from models.answers import AnswersFile, GivenDialogue, GivenSystem
from models.errors import SettingsError
from storage.imports.details import read_details
from storage.imports.dialogue_rows import RowCounts
from storage.imports.records import tell_records
from storage.imports.rows import Refused


def detail(*verdicts: tuple[Any, Any]) -> dict[str, Any]:
    """A dialogue as the released code wrote it; a response for each pair of verdicts."""
    demands = ["用一句话回答。", "语气要亲切。"]
    return {
        "system_prompt": "你是小城导游。……", "inspired_corpus": "导游", "source": "gpts", "gen_model": "m",
        "structure_system_prompt": {
            "名称": "小城导游", "描述": "为游客介绍小城。", "技能": ["指路"], "约束": [*demands, "不谈价格。"],
        },
        "infer_history": [
            {
                "query": "博物馆在哪里？", "sft_response": "就在磨坊街。", "points_num": 2, "score_list": [],
                "evaluate_point_list": demands,
                "finegrain_score": [
                    {
                        "score": 1, "rate": 0.5, "source": f"policy{number}", "judge_model": "judge-x",
                        "response": f"回答{number}。",
                        "detail": [
                            {"constrain": text, "评判理由": "因为如此", "评判结果": said}
                            for text, said in zip(demands, pair, strict=True)
                        ],
                    }
                    for number, pair in enumerate(verdicts)
                ],
            }
        ],
    }  # fmt: skip


def read(folder: Path, *rows: dict[str, Any]) -> tuple[list[GivenDialogue], list[Refused]]:
    path, refused = folder / "detail.json", list[Refused]()
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), "utf-8")
    given = AnswersFile(path=str(path), layout="detail")
    return [found.dialogue for found in read_details(given, RowCounts(refused.append))], refused


def test_a_dialogue_with_its_verdicts(tmp_path: Path) -> None:
    [dialogue], refused = read(tmp_path, detail((True, "False"), ("是", 0), ("maybe", None)))
    assert dialogue.system == GivenSystem(name="小城导游", description="为游客介绍小城。", skills=["指路"])
    assert [item.text for item in dialogue.constraints] == ["用一句话回答。", "语气要亲切。", "不谈价格。"]
    [turn] = dialogue.turns
    assert (turn.triggered, turn.reference) == (["c1", "c2"], "就在磨坊街。")
    said = [[verdict.verdict for verdict in response.verdicts or ()] for response in turn.responses]
    assert said == [["followed", "violated"], ["followed", "unscored"], ["unscored", "unscored"]]
    assert [(response.model, response.judge) for response in turn.responses][:1] == [("policy0", "judge-x")]
    assert turn.responses[2].verdicts is not None and "'maybe'" in turn.responses[2].verdicts[0].reason
    assert not refused


def test_a_text_that_is_nearly_the_same_is_another_constraint(tmp_path: Path) -> None:
    row = detail((True, True), (False, True))
    row["infer_history"][0]["finegrain_score"][1]["detail"][0]["constrain"] = "用两句话回答。"
    [dialogue], [refused] = read(tmp_path, row)
    assert [response.model for response in dialogue.turns[0].responses] == ["policy0"]
    assert (refused.reason, refused.field) == (
        "unknown_constraint", "infer_history.0.finegrain_score.1.detail.0.constrain",
    )  # fmt: skip


def test_two_verdicts_that_contradict_each_other_are_none(tmp_path: Path) -> None:
    row = detail((True, True))
    details = row["infer_history"][0]["finegrain_score"][0]["detail"]
    details += [details[1], details[0] | {"评判结果": False}]
    [dialogue], _ = read(tmp_path, row)
    assert [verdict.verdict for verdict in dialogue.turns[0].responses[0].verdicts or ()] == ["unscored", "followed"]


def test_a_row_without_a_profile_is_refused_with_its_field(tmp_path: Path) -> None:
    row = detail((True, True))
    del row["structure_system_prompt"]["描述"]
    dialogues, [refused] = read(tmp_path, row)
    assert (dialogues, refused.field, refused.reason) == ([], "structure_system_prompt.描述", "wrong_value")


def test_a_pipe_is_refused_before_its_first_rows_are_lost(tmp_path: Path) -> None:
    """`cat records.jsonl | rpo import records /dev/stdin`: the rows that tell the kind would not come again."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(SettingsError, match="no file that can be read twice"):
        tell_records(pipe)
