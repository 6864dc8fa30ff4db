"""Imported dialogues as records and parts: histories, duplicates, batches."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from models.answers import AnswersFile, GivenDialogue
from models.records import Exclusion, Judgment, Response, SystemProfile, Turn
from models.settings import FactorySettings
from storage.imports.dialogue_rows import Found, RowCounts, read_dialogues
from storage.imports.rows import Refused
from storage.parts import PartStore
from tasks.entering import Entered, enter_dialogues, group_by_system, records_of

SHORT = {"kind": "sentence_count", "relation": "at_most", "count": 1}


def dialogue(
    system: str = "Be brief.", query: str = "Why?", texts: tuple[str, ...] = ("A.", "B. C.")
) -> dict[str, Any]:
    said = [[{"id": "short", "verdict": "followed"}], [{"id": "short", "verdict": "violated", "reason": "two"}]]
    return {
        "system": system,
        "constraints": [
            {"id": "short", "text": "One sentence.", "check": dict(SHORT)},
            {"id": "kind", "text": "Be kind.", "kind": "style"},
        ],
        "turns": [
            {
                "query": query,
                "triggered": ["short"],
                "responses": [
                    {"text": text, "model": f"m{place}", "judge": "j", "verdicts": said[place]}
                    for place, text in enumerate(texts)
                ],
            }
        ],
    }  # fmt: skip


def enter(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> tuple[list[Entered], list[Refused], PartStore]:
    store, refused = PartStore(folder), list[Refused]()
    store.ensure_schemas()
    counts = RowCounts(refused.append)
    found = group_by_system(
        (Found(line, GivenDialogue.model_validate(row)) for line, row in enumerate(rows, 1)), folder / "tmp"
    )
    entered = list(enter_dialogues(store, FactorySettings(**settings), found, counts, judged=True))
    return entered, refused, store


def test_a_dialogue_is_records_of_ours(tmp_path: Path) -> None:
    [parts], refused, store = enter(tmp_path, [dialogue()])
    [system] = store.read(parts.systems, SystemProfile)
    [turn] = store.read(parts.turns, Turn)
    responses = store.read(parts.responses, Response)
    assert parts.judgments is not None and not refused
    judgments = store.read(parts.judgments, Judgment)
    assert (system.is_whole_prompt, system.description, system.author) == (True, "Be brief.", "imported")
    assert [constraint.kind for constraint in system.constraints] == ["sentence_count", "style"]
    assert turn.triggered_ids == [system.constraints[0].constraint_id]
    assert [(response.model, response.text, response.sample) for response in responses] == [
        ("m0", "A.", 0),
        ("m1", "B. C.", 1),
    ]
    assert [(row.verdict, row.reason, row.judge) for row in judgments] == [
        ("followed", "", "j"),
        ("violated", "two", "j"),
    ]
    # the lineage that the stages after it follow
    assert store.upstream(parts.judgments, "systems") == parts.systems


def test_a_verdict_that_is_missing_is_unscored() -> None:
    row = dialogue()
    row["turns"][0]["triggered"] = ["short", "kind"]
    made = records_of(GivenDialogue.model_validate(row), judged=True)
    assert [(item.position, item.verdict) for item in made.judgments] == [
        (0, "followed"), (1, "unscored"), (0, "violated"), (1, "unscored"),
    ]  # fmt: skip
    assert made.judgments[1].reason == "no verdict on it was given"


def test_without_triggered_ids_the_triggers_say_what_applies() -> None:
    row = dialogue()
    row["constraints"][1]["trigger"] = {"kind": "query_mentions", "words": ["cat"]}
    for turn in row["turns"]:
        del turn["triggered"]
    [turn] = records_of(GivenDialogue.model_validate(row), judged=True).turns
    assert len(turn.triggered_ids) == 1
    row["turns"][0]["query"] = "Why does a cat purr?"
    [turn] = records_of(GivenDialogue.model_validate(row), judged=True).turns
    assert len(turn.triggered_ids) == 2


def test_the_score_of_a_reference_is_of_its_verdicts_or_of_the_checks() -> None:
    row = dialogue()
    for reference, score in (("A.", 1.0), ("B. C.", 0.0), ("Now. Then.", 0.0), ("Now.", 1.0)):
        row["turns"][0]["reference"] = reference
        assert records_of(GivenDialogue.model_validate(row), judged=True).turns[0].reference_score == score


def test_empty_responses_are_left_out_and_counted(tmp_path: Path) -> None:
    [parts], _, store = enter(tmp_path, [dialogue(texts=("A.", " \n"))])
    assert [response.text for response in store.read(parts.responses, Response)] == ["A."]
    left_out = store.find("exclusions", parts.responses.key)
    assert left_out is not None
    [row] = store.read(left_out, Exclusion)
    assert (row.stage, row.reason, row.what, row.count) == ("import_answers", "empty", "responses", 1)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 50])
def test_a_system_stands_in_one_part_however_its_dialogues_are_cut(tmp_path: Path, batch_size: int) -> None:
    # the rows of two systems are mixed in the file
    rows = [dialogue(f"System {number % 2}.", f"Question {number}?") for number in range(7)]
    entered, _, store = enter(tmp_path, rows, batch_size=batch_size)
    systems = [
        row.system_id
        for part in dict.fromkeys(each.systems for each in entered)
        for row in store.read(part, SystemProfile)
    ]
    assert len(systems) == len(set(systems)) == 2
    turns = [turn for each in entered for turn in store.read(each.turns, Turn)]
    assert sorted(turn.query for turn in turns) == [f"Question {number}?" for number in range(7)]
    for each in entered:
        assert {t.system_id for t in store.read(each.turns, Turn)} <= {
            s.system_id for s in store.read(each.systems, SystemProfile)
        }
        assert each.turns.rows <= batch_size
    # again makes nothing
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.parquet")}
    assert enter(tmp_path, rows, batch_size=batch_size)[0] == entered
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.parquet")} == before


def test_a_dialogue_that_comes_twice_is_refused(tmp_path: Path) -> None:
    rows = [dialogue(), dialogue("Another."), dialogue(texts=("Z.",))]
    entered, refused, _ = enter(tmp_path, rows, batch_size=1)
    assert [(row.line, row.reason) for row in refused] == [(3, "duplicate")]
    assert sum(each.responses.rows for each in entered) == 4


def broken(change: str) -> dict[str, Any]:
    row = dialogue()
    turn, response = row["turns"][0], row["turns"][0]["responses"][0]
    match change:
        case "unknown field":
            row["sistem"] = "x"
        case "blank system":
            row["system"] = " "
        case "no constraints":
            row["constraints"] = []
        case "id twice":
            row["constraints"][1]["id"] = "short"
        case "stranger":
            response["verdicts"][0]["id"] = "long"
        case "untriggered":
            response["verdicts"][0]["id"] = "kind"
        case "word":
            response["verdicts"][0]["verdict"] = "yes"
        case "two verdicts":
            response["verdicts"] *= 2
        case "no judge":
            del response["judge"]
        case "no reference":
            row["turns"].append(turn)
        case "check":
            row["constraints"][0]["check"]["kind"] = "sentences"
    return row


@pytest.mark.parametrize(
    ("change", "field", "what"),
    [
        ("unknown field", "sistem", "Extra"),
        ("blank system", "system", "empty"),
        ("no constraints", "constraints", "at least 1"),
        ("id twice", "", "two constraints have one id"),
        ("stranger", "", "'long', which is no constraint"),
        ("untriggered", "", "'kind', which it does not trigger"),
        ("word", "turns.0.responses.0.verdicts.0.verdict", "followed"),
        ("two verdicts", "turns.0.responses.0", "two verdicts"),
        ("no judge", "turns.0.responses.0", "need a judge"),
        ("no reference", "", "turn 1 has no reference"),
        ("check", "constraints.0.check", "kind"),
    ],
)
def test_a_broken_row_is_refused_with_line_and_field(tmp_path: Path, change: str, field: str, what: str) -> None:
    path, refused = tmp_path / "answers.jsonl", list[Refused]()
    path.write_text("\n".join(json.dumps(row) for row in (dialogue(), broken(change))), "utf-8")
    found = list(read_dialogues(AnswersFile(path=str(path)), RowCounts(refused.append), judged=True))
    assert [item.line for item in found] == [1]
    [row] = refused
    assert (row.line, row.reason) == (2, "wrong_value")
    assert row.field.startswith(field) and what in row.what, row


def test_a_column_of_parquet_has_nulls_and_json_text() -> None:
    row = dialogue()
    row["constraints"][0]["check"] = json.dumps(row["constraints"][0]["check"])
    row["constraints"][1] |= {"check": None, "trigger": None}
    row |= {"language": None, "role": None}
    row["turns"][0] |= {"reference": None, "reference_model": None}
    plain, stored = (GivenDialogue.model_validate(item) for item in (dialogue(), row))
    assert stored == plain
    with pytest.raises(ValidationError):
        GivenDialogue.model_validate(row | {"system": None})


def test_the_example_of_the_docs_is_such_a_row() -> None:
    page = (Path(__file__).parents[2] / "docs/importing-answers.md").read_text("utf-8")
    example = page.split("```json\n", 1)[1].split("```", 1)[0]
    made = records_of(GivenDialogue.model_validate_json(example), judged=True)
    assert [row.verdict for row in made.judgments] == ["followed", "followed", "violated", "violated"]


def test_the_layout_in_csv_and_with_numbers_as_ids(tmp_path: Path) -> None:
    row = {
        "system": "You are a guide. Use no comma.",
        "language": "",
        "constraints": [{"id": 7, "text": "Use no comma.", "check": {"kind": "no_comma"}}],
        "turns": [
            {
                "query": "Where?",
                "triggered": [7],
                "responses": [{"text": "Here.", "judge": "j", "verdicts": [{"id": 7, "verdict": "followed"}]}],
            }
        ],
    }
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        for turns in (
            json.dumps(row["turns"]),
            '[{"query": "\\ud800"}]',
            "[{",
            '[{"query": NaN}]',
            "[" * 100 + "]" * 100,
        ):
            writer.writerow({**row, "constraints": json.dumps(row["constraints"]), "turns": turns})
    refused: list[Refused] = []
    [found] = read_dialogues(AnswersFile(path=str(tmp_path / "rows.csv")), RowCounts(refused.append), judged=True)
    assert found.dialogue.constraints[0].id == "7" and found.dialogue.language is None
    assert [item.verdict for item in found.dialogue.turns[0].responses[0].verdicts or ()] == ["followed"]
    reasons = [(item.line, item.reason, item.field) for item in refused]
    assert reasons == [
        (3, "lone_surrogate", "turns"), (4, "not_json", "turns"), (5, "not_finite", "turns"), (6, "too_deep", "turns")
    ]  # fmt: skip
