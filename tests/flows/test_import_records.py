"""Importing responses without verdicts, and the released records, by the real command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from storage.manifests import list_runs
from tests.flows.conftest import Rpo, Scripted, one_message, settings_file
from tests.storage.test_details import detail

SHORT = {"kind": "sentence_count", "relation": "at_most", "count": 1}


def guide(*texts: str, style: bool = False, **response: Any) -> dict[str, Any]:
    """A dialogue of two turns; the second one has these responses."""
    constraints: list[dict[str, Any]] = [
        {"id": "short", "text": "Answer in one sentence.", "check": SHORT},
        {"id": "plain", "text": "Use no comma.", "check": {"kind": "no_comma"}},
    ]
    if style:
        constraints.append({"id": "kind", "text": "Sound kind.", "kind": "style"})
    return {
        "system": {"name": "a guide", "description": "Shows strangers the way.", "skills": ["maps"]},
        "constraints": constraints,
        "turns": [
            {"query": "Hello!", "reference": "Hello, where to?"},
            {
                "query": f"Where is the museum ({len(texts)})?",
                "responses": [{"text": text, "model": f"m{place}", **response} for place, text in enumerate(texts)],
            },
        ],
    }


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def exported(data: Path, run: str) -> list[dict[str, Any]]:
    files = [data / f"exports/{run}/trl/{split}.jsonl" for split in ("train", "validation")]
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def test_responses_are_judged_by_the_checks_and_paired(rpo: Rpo, tmp_path: Path) -> None:
    verdict: dict[str, Any] = {"judge": "j", "verdicts": [{"id": "short", "verdict": "followed"}]}
    rows = [
        guide("There.", "There. Left.", "There, left. Then right."),
        guide("Here.", **verdict),
        guide("Same.", "Same.", "Other, here.", "  "),
    ]
    file, data = write_lines(tmp_path / "answers.jsonl", rows), tmp_path / "data"
    found = rpo.json("import", "responses", str(file), "--data", str(data), "--run", "mine")
    summary = found["summary"]
    # of the first row three vectors: every two in both directions; of the last two
    assert (summary["pairs"], summary["audited"], summary["audit_failed"]) == (8, 8, 0)
    assert summary["margins"] == {"1": 6, "2": 2}
    assert (summary["calls_made"], summary["dialogues"], summary["turns"], summary["responses"]) == (0, 2, 4, 6)
    assert found["refused"] == {"has_verdicts": 1}
    [refused] = [json.loads(line) for line in Path(found["report"]).read_text("utf-8").splitlines()]
    assert (refused["line"], refused["field"]) == (2, "turns")
    left_out = rpo.sql(data, "select reason, what, count from exclusions where stage = 'import_answers' order by 1")
    assert left_out == [
        {"reason": "empty", "what": "responses", "count": 1},
        {"reason": "has_verdicts", "what": "rows", "count": 1},
    ]
    assert rpo.sql(data, "select judge, count(*) n from judgments group by 1") == [{"judge": "code", "n": 12}]
    for row in exported(data, "mine"):
        system, *history, query = row["prompt"]
        assert system["content"].startswith("You are a guide. Shows strangers the way.")
        assert [message["content"] for message in history] == ["Hello!", "Hello, where to?"]
        assert query["content"].startswith("Where is the museum")
        assert row["chosen"] != row["rejected"]
    # of the settings nothing that had no part in it is said: the policy is the demo's
    report, card = (data / "reports/mine.html").read_text("utf-8"), (data / "exports/mine/README.md").read_text("utf-8")
    assert (
        "Imported responses: answers.jsonl, layout rpo" in report
        and "every one of them proven from its texts" in report
    )
    assert "No model was asked" in report and "Who played which role" not in report and "role seeds" not in report
    assert "responses were imported" in card and "smollm" not in card and '"dialogues"' not in card
    # a broken file takes nothing from the run that has its name
    before = list_runs(data)
    broken = guide("There.")
    broken["turns"][1]["responses"][0]["text"] = 7
    write_lines(tmp_path / "broken.jsonl", [broken])
    command = ("import", "verdicts", str(tmp_path / "broken.jsonl"), "--data", str(data), "--run", "mine")
    message = one_message(rpo(*command, code=1))
    assert "None of the 1 rows" in message and "line 1, turns.1.responses.0.text" in message
    # nor does another file
    others = write_lines(tmp_path / "others.jsonl", rows)
    message = one_message(rpo("import", "responses", str(others), "--data", str(data), "--run", "mine", code=2))
    assert "`rpo import responses answers.jsonl`" in message
    assert list_runs(data) == before
    assert "none of the released records" in one_message(rpo("import", "records", str(file), code=1))


@pytest.mark.long
def test_what_no_check_decides_goes_to_the_judge_and_the_author(rpo: Rpo, scripted: Scripted, tmp_path: Path) -> None:
    roles = "".join(f'[roles.{role}]\nendpoint = "scripted"\ntemperature = 0\n' for role in ("judge", "author"))
    config, data = settings_file(tmp_path, scripted.base_url), tmp_path / "data"
    config.write_text(config.read_text() + roles)
    file = write_lines(tmp_path / "answers.jsonl", [guide("There.", "There. Left.", style=True)])
    found = rpo.json("import", "responses", str(file), "--config", str(config), "--run", "judged")
    assert found["summary"]["calls_made"] > 0 and found["summary"]["judgments"] == 6
    by_kind = "select kind, judge, count(*) n from judgments join (select unnest(constraints, recursive := true) " \
              "from systems) using (constraint_id) group by all order by 1"  # fmt: skip
    assert rpo.sql(data, by_kind) == [
        {"kind": "no_comma", "judge": "code", "n": 2},
        {"kind": "sentence_count", "judge": "code", "n": 2},
        {"kind": "style", "judge": "scripted", "n": 2},
    ]
    methods = rpo.sql(data, "select method, count(*) n from reversals group by 1 order by 1")
    assert methods == [{"method": "code", "n": 2}, {"method": "scripted", "n": 1}]


@pytest.mark.long
@pytest.mark.model
def test_the_embedded_model_can_be_the_judge(rpo: Rpo, tmp_path: Path) -> None:
    data = tmp_path / "data"
    file = write_lines(tmp_path / "answers.jsonl", [guide("There.", "There. Left.", style=True)])
    judge = 'roles.judge={"endpoint": "demo", "temperature": 0, "max_tokens": 200}'
    found = rpo.json(
        "import", "responses", str(file), "--data", str(data), "--set", judge, "--set", "judging.calibration_share=0"
    )
    # what a small model says is not worth much; that it was asked, and only of what no check decides, is seen
    said = rpo.sql(data, "select judge, count(*) n from judgments group by 1 order by 1")
    assert said == [{"judge": "code", "n": 4}, {"judge": "smollm2-135m-instruct-q4_1", "n": 2}]
    assert found["summary"]["calls_made"] >= 2 and found["summary"]["satisfaction"]


@pytest.mark.long
def test_released_dialogues_become_pairs(rpo: Rpo, tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "detail.json"
    strange = detail((True, True), (False, True))
    strange["structure_system_prompt"]["名称"] = "别的导游"
    strange["infer_history"][0]["finegrain_score"][1]["detail"][0]["constrain"] = "用两句话回答。"
    rows = [detail((True, True), ("False", True), (False, "False"), ("maybe", True)), strange, {"infer_history": []}]
    file.write_text(json.dumps(rows, ensure_ascii=False, indent=1), "utf-8")
    found = rpo.json("import", "records", str(file), "--data", str(data), "--run", "released")
    assert found["rows"] == 3 and found["refused"] == {"unknown_constraint": 1, "wrong_value": 1}
    report = [json.loads(line) for line in Path(found["report"]).read_text("utf-8").splitlines()]
    assert {row["field"] for row in report} == {
        "infer_history.0.finegrain_score.1.detail.0.constrain", "structure_system_prompt",
    }  # fmt: skip
    summary = found["summary"]
    # three responses with verdicts of their own; the fourth one's cannot be read
    assert (summary["pairs"], summary["margins"], summary["unscored"]) == (6, {"1": 4, "2": 2}, 1)
    assert (summary["audited"], summary["audit_failed"]) == (6, 0)
    assert rpo.sql(data, "select distinct judge from judgments") == [{"judge": "judge-x"}]
    for row in exported(data, "released"):
        assert row["prompt"][0]["content"].startswith("你是小城导游。为游客介绍小城。\n技能：指路。\n\n约束：\n- ")
        assert "不谈价格。" in row["prompt"][0]["content"]
        assert sum(item["reversed"] for item in row["constraints"]) == row["prompt"][0]["content"].count("“")


def training_row(chosen: str, rejected: str, sid: int, **others: Any) -> dict[str, Any]:
    said = [("system", "你是导游。"), ("human", f"去哪{sid}？"), ("gpt", "去城里。"), ("human", "怎么走？")]
    return {
        "conversations": [{"from": sender, "value": value} for sender, value in said],
        "chosen": {"from": "gpt", "value": chosen}, "rejected": {"from": "gpt", "value": rejected},
        "margin": 3, "sid": sid, "tid": 2, **others,
    }  # fmt: skip


def test_training_rows_become_an_export_for_trl(rpo: Rpo, tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "train.json"
    good = [training_row(*texts, sid) for sid in range(10) for texts in (("甲", "乙"), ("乙", "甲"))]
    bad = [
        training_row("甲", "甲", 11),
        training_row("甲", " ", 11),
        training_row("甲", "乙", 11, margin=0),
        training_row("甲", "乙", 11, conversations=good[0]["conversations"][:3]),
    ]
    file.write_text(json.dumps([*good, *bad], ensure_ascii=False), "utf-8")
    found = rpo.json("import", "records", str(file), "--data", str(data), "--run", "rows", "--validation-share", "0.2")
    assert (found["rows"], found["refused"], found["exported"]) == (
        24, {"wrong_value": 4}, {"train": 16, "validation": 4},
    )  # fmt: skip
    splits = {
        split: (Path(found["folder"]) / f"{split}.jsonl").read_text("utf-8").splitlines()
        for split in ("train", "validation")
    }
    rows = {split: [json.loads(line) for line in lines] for split, lines in splits.items()}
    # the mirror of a row is in its split
    assert not {row["dialogue_id"] for row in rows["train"]} & {row["dialogue_id"] for row in rows["validation"]}
    first = rows["train"][0]
    assert [message["role"] for message in first["prompt"]] == ["system", "user", "assistant", "user"]
    assert (first["chosen"], first["rejected"]) == (
        [{"role": "assistant", "content": "甲"}], [{"role": "assistant", "content": "乙"}],
    )  # fmt: skip
    assert (first["margin"], first["turn"]) == (3.0, 2)
    assert len({row["pair_id"] for lines in rows.values() for row in lines}) == 20
    assert list_runs(data) == []
