"""Public benchmarks: published numbers from real answers, files as they come, dialogues as they are asked."""

from __future__ import annotations

import csv
import json
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.benchmarks import BenchmarkTurn, FileScore, Instruction, Score
from models.errors import ImportFileError
from models.records import Exclusion, LlmCall, PartRef, Response
from storage.imports.rows import Refused
from storage.parts import PartStore
from tasks.benchmarks.answered import read_labelled, read_pairs, read_steps
from tasks.benchmarks.answering import answer_benchmark
from tasks.benchmarks.file_scores import score_file
from tasks.benchmarks.ifeval import IFEVAL, SHIPPED
from tasks.benchmarks.instructions import tally_strict_loose
from tasks.benchmarks.measuring import expand_metrics
from tasks.benchmarks.multi_if import MULTI_IF
from tasks.benchmarks.scored_rows import read_scored
from tasks.measures import mean
from tasks.seeds import seed_path
from tests.tasks.answering import Start

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
GPT4 = SHARED / "ifeval/labelled_gpt4.parquet"
RESPONSES = SHARED / "ifeval/input_response_data_gpt4_20231107_145030.jsonl"
ENGLISH = SHARED / "multi_if/multi_if_english_first100.csv"


def there(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"the data is not on this machine: {path}")
    return path


def counts(score: FileScore) -> list[tuple[int, int] | None]:
    """Prompts strict, instructions strict, prompts loose, instructions loose."""
    found = [score.strict.prompt, score.strict.instruction, score.loose.prompt, score.loose.instruction]
    return [(item.followed, item.n) if item else None for item in found]


# --- IFEval ---------------------------------------------------------------------------------------------------------


def test_ifeval_of_gpt4_is_the_published_one(tmp_path: Path) -> None:
    out = tmp_path / "rows.parquet"
    score = score_file("ifeval", GPT4, read_labelled(there(GPT4)), rows=out, resamples=100)
    assert counts(score) == [(416, 541), (697, 834), (430, 541), (713, 834)]
    assert score.strict.prompt and f"{score.strict.prompt.accuracy:.4f}" == "0.7689"
    assert score.strict.instruction and f"{score.strict.instruction.accuracy:.4f}" == "0.8357"
    assert (score.unusable.count, score.unusable.keys) == (2, ["1122", "1129"])
    assert sum(kind.strict.n for kind in score.kinds.values()) == 834 and len(score.kinds) == 25
    rows, labels = pq.read_table(out).to_pylist(), pq.read_table(GPT4).to_pylist()
    for row, label in zip(rows, labels, strict=True):
        assert {name: row[name] for name in label if "followed" not in name} == {
            name: value for name, value in label.items() if "followed" not in name
        }
        usable = label["agreed_strict"]
        for name in ("followed_strict", "followed_loose"):
            assert row[name] == (label[name] if usable else False)
    # what was written counts the same again
    again = tally_strict_loose(read_scored(out))
    assert [round(mean(again[name]) * 541) for name in ("prompt_strict", "prompt_loose")] == [416, 430]


def test_ifeval_without_what_nobody_can_decide(tmp_path: Path) -> None:
    out = tmp_path / "rows.parquet"
    found = read_labelled(there(GPT4))
    score = score_file("ifeval", GPT4, found, unusable="left-out", rows=out, resamples=100)
    assert counts(score) == [(416, 539), (697, 832), (430, 539), (713, 832)]
    assert Counter(row["followed_strict"] for row in pq.read_table(out).to_pylist()) == {True: 697, False: 135, None: 2}


def test_ifeval_in_its_published_layout() -> None:
    """Of one prompt the published data has another wording today than when GPT-4 answered it."""
    score = score_file("ifeval", RESPONSES, read_pairs(IFEVAL, seed_path(SHIPPED), there(RESPONSES)), resamples=100)
    assert (score.prompts, score.unanswered, score.refused) == (540, 1, 0)
    assert counts(score) == [(415, 540), (695, 832), (429, 540), (711, 832)]


def labelled(**changes: Any) -> dict[str, Any]:
    row = {"key": 1, "prompt": "Say it.", "response": "Yes.", "instruction_id": "punctuation:no_comma", "kwargs": "{}"}
    return row | changes


def write_lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return path


def test_broken_rows_are_told_and_all_others_scored(tmp_path: Path) -> None:
    words = {"instruction_id": "length_constraints:number_words", "kwargs": {"relation": "at least", "num_words": 9}}
    file = write_lines(
        tmp_path / "a.jsonl",
        labelled(),
        "{broken",
        labelled(**words),
        {"key": 3},
        labelled(key=4, response=None),
        labelled(key=5, kwargs="[1]"),
        labelled(key=6, kwargs="nonsense"),
        labelled(key=7, instruction_id="no:such"),
        labelled(key=8, response="", kwargs=None),
        labelled(key=1, response="Another, longer answer."),
    )
    out = tmp_path / "out.parquet"
    score = score_file("ifeval", file, read_labelled(file), rows=out, resamples=100)
    # key 1 was answered twice; key 7 cannot be decided
    assert (score.prompts, score.instructions) == (4, 5)
    assert counts(score)[:2] == [(0, 4), (1, 5)]
    assert (score.unusable.count, score.unusable.keys) == (1, ["7"])
    assert score.refused_reasons == {"wrong_field": 3, "not_json": 1, "missing_field": 1}
    assert [row.line for row in score.refused_first] == [2, 4, 5, 6, 7]
    assert [row["followed_strict"] for row in pq.read_table(out).to_pylist()] == [True, False, False, False, False]
    none = write_lines(tmp_path / "none.jsonl", {"key": 3})
    with pytest.raises(ImportFileError, match="no answer to score: 1 rows were refused"):
        score_file("ifeval", none, read_labelled(none))
    with pytest.raises(ImportFileError, match="was not written by `rpo score"):
        read_scored(file)


def test_a_csv_scores_as_the_same_rows_in_parquet(tmp_path: Path) -> None:
    rows = [labelled(), labelled(key=2, response="No, never."), labelled(key=2, response="No, never.", kwargs="{}")]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    scores = [score_file("ifeval", path, read_labelled(path)) for path in sorted(tmp_path.glob("a.*"))]
    assert scores[0].model_dump(exclude={"file"}) == scores[1].model_dump(exclude={"file"})
    assert counts(scores[0]) == [(1, 2), (1, 3), (1, 2), (1, 3)]


def test_columns_of_the_files_own_pass_through_whatever_they_hold(tmp_path: Path) -> None:
    mixed = write_lines(tmp_path / "a.jsonl", labelled(note=1, turn="first", language="en"), labelled(key=2, note="b"))
    nested = tmp_path / "b.parquet"
    pq.write_table(pa.Table.from_pylist([labelled(seen=[{"on": date(2026, 1, 2)}]), labelled(key=2.0)]), nested)
    for file, column, value in ((mixed, "note", "1"), (nested, "seen", '[{"on": "2026-01-02"}]')):
        out = tmp_path / f"{file.stem}_out.parquet"
        score_file("ifeval", file, read_labelled(file), rows=out, resamples=10)
        assert pq.read_table(out)[column].to_pylist()[0] == value
        # a word in a column `turn` is no step of Multi-IF, and 1.0 is the key 1
        assert [(score.dialogue_id, score.labels) for score in read_scored(out)] == [("1", []), ("2", [])]


@pytest.mark.parametrize("bad", [{"followed_strict": "True"}, {"instruction_id": 7}])
def test_a_file_that_others_wrote_is_told_by_row_and_reason(tmp_path: Path, bad: dict[str, Any]) -> None:
    file = write_lines(tmp_path / "a.jsonl", labelled(followed_strict=True, followed_loose=True) | bad)
    with pytest.raises(ImportFileError, match=r"was not written by `rpo score ... --rows`: row 1: "):
        read_scored(file)


# --- Multi-IF -------------------------------------------------------------------------------------------------------


def conversation(
    key: str, *turns: tuple[str, list[str], list[dict[str, Any]]], language: str = "English"
) -> dict[str, str]:
    """A row in Multi-IF's layout; steps that it lacks are None, as in its file."""
    row = {"turns": "", "responses": "", "key": key, "turn_index": "0", "language": language}
    for step in (1, 2, 3):
        asked, kinds, kwargs = turns[step - 1] if step <= len(turns) else ("None", [], [])
        row[f"turn_{step}_prompt"] = "None" if asked == "None" else json.dumps({"role": "user", "content": asked})
        row[f"turn_{step}_instruction_id_list"] = json.dumps(kinds)
        row[f"turn_{step}_kwargs"] = json.dumps([json.dumps(item) for item in kwargs])
    return row


SHORT = {"relation": "less than", "num_words": 5}
NO_COMMA, WORDS = "punctuation:no_comma", "length_constraints:number_words"
ROWS = [
    conversation("a", ("One?", [NO_COMMA], [{}]), ("Two?", [NO_COMMA, WORDS], [{}, SHORT])),
    conversation("b", ("一？", [NO_COMMA], [{}]), language="Chinese"),
    conversation(
        "c", ("1", [NO_COMMA], [{}]), ("2", [NO_COMMA, WORDS], [{}, SHORT]), ("3", [NO_COMMA, WORDS], [{}, SHORT])
    ),
]


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_multi_if_reads_its_own_layout() -> None:
    turns = list(MULTI_IF.read(there(ENGLISH)))
    assert not [turn for turn in turns if isinstance(turn, Refused)]
    assert len(turns) == 300
    by_key: dict[str, list[BenchmarkTurn]] = {}
    for turn in turns:
        assert isinstance(turn, BenchmarkTurn)
        by_key.setdefault(turn.dialogue_id, []).append(turn)
    for played in by_key.values():
        kinds = [[(item.kind, item.arguments) for item in turn.instructions] for turn in played]
        assert kinds[0] == kinds[1][: len(kinds[0])] and kinds[1] == kinds[2][: len(kinds[1])]


def test_multi_if_by_step_and_language(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "multi.csv", [*ROWS, ROWS[0] | {"turn_1_kwargs": '["{}", "{}"]'}])
    answers = [
        {"key": "a", "turn": 1, "response": "Yes"},
        {"key": "a", "turn": 2, "response": "No, but this is long"},
        {"key": "b", "turn": 1, "response": "是的,好"},
        {"key": "c", "turn": 1, "response": "Yes"},
        {"key": "c", "turn": 2, "response": "No, but"},
    ]
    odd = [{"key": "c", "turn": "third", "response": "x"}, {"prompt": ["3"], "response": "x"}, {"key": "c", "turn": 3}]
    responses, out = write_lines(tmp_path / "responses.jsonl", *answers, *odd), tmp_path / "rows.parquet"
    score = score_file("multi-if", file, read_pairs(MULTI_IF, file, responses), rows=out, resamples=100)
    assert (score.prompts, score.unanswered) == (5, 1)
    assert score.refused_reasons == {"missing_field": 2, "wrong_field": 2}
    one, two = score.steps["1"], score.steps["2"]
    assert set(score.steps) == {"1", "2"}
    # step 1: two of three; step 2: no prompt, and of four instructions one
    assert one.average == pytest.approx(2 / 3)
    assert two.average == pytest.approx((0 + 1 / 4 + 0 + 1 / 4) / 4)
    assert score.average == pytest.approx((2 / 3 + 1 / 8) / 2)
    assert {name: group.average for name, group in one.languages.items()} == {"Chinese": 0.0, "English": 1.0}
    # the table of a live evaluation counts the same
    tally = tally_strict_loose(read_scored(out))
    metrics = {name: mean(*parts) for name, parts in expand_metrics(MULTI_IF, tally).items()}
    assert metrics["average"] == pytest.approx(score.average)
    assert list(metrics)[:3] == ["average", "average/step/1", "average/step/2"]
    assert metrics["average/step/1/language/English"] == 1.0


def test_which_turn_a_response_answers(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "multi.csv", ROWS)
    responses = write_lines(
        tmp_path / "responses.jsonl",
        {"key": "a", "turn": 1.0, "response": "Yes"},  # as pandas writes numbers
        {"key": "a", "turn": 0, "response": "a turn too early"},
        {"key": "a", "turn": 1, "response": "Yes"},
        {"key": "a", "turn": 1, "response": "Yes, or no"},
    )
    found = read_pairs(MULTI_IF, file, responses)
    assert [(answer.turn.turn, answer.response) for answer in found.answers] == [(1, "Yes")]
    assert [(row.line, row.what) for row in found.refused] == [
        (2, "turn is 0: the first turn is 1"), (4, "line 1 has another response to it"),
    ]  # fmt: skip


def test_multi_if_as_its_own_code_leaves_it(tmp_path: Path) -> None:
    first = [row | {"turn_index": "1", "responses": "Yes"} for row in ROWS]
    wrapped = json.dumps([{"response": "No comma here"}])
    second = [row | {"turn_index": "2", "responses": wrapped} for row in ROWS]
    files = [write_csv(tmp_path / f"step{n}.csv", rows) for n, rows in enumerate((first, second), start=1)]
    score = score_file("multi-if", files[0], read_steps(files), resamples=100)
    assert (score.prompts, score.unanswered) == (5, 1)
    assert score.steps["1"].average == score.steps["2"].average == 1.0


def test_what_does_not_apply_counts_nowhere() -> None:
    def score(response: str, verdict: Any, position: int = 0) -> Score:
        return Score(
            response_id=response, dialogue_id=response, turn=1, position=position, kind="k", labels=["step/1"],
            verdict=verdict, loose=verdict,
        )  # fmt: skip

    rows = [
        score("a", "followed"),
        score("a", "not_applicable", 1),
        score("b", "not_applicable"),
        score("c", "unscored"),
    ]
    failed, left_out = tally_strict_loose(rows), tally_strict_loose(rows, "left-out")
    assert {name: sum(total.n for total in failed[name].values()) for name in failed} == dict.fromkeys(failed, 2)
    assert mean(failed["prompt_strict"]) == mean(failed["instruction_loose/step/1"]) == 0.5
    assert left_out["prompt_strict"].keys() == {"a"} == left_out["instruction_strict/kind/k"].keys()


# --- asked live -----------------------------------------------------------------------------------------------------


def turn(key: str, number: int, query: str, **fields: Any) -> BenchmarkTurn:
    instructions = [Instruction(kind=NO_COMMA)]
    return BenchmarkTurn(dialogue_id=key, turn=number, query=query, instructions=instructions, **fields)


def test_a_dialogue_goes_on_from_the_models_own_answers(tmp_path: Path, answer_with: Start) -> None:
    server = answer_with(lambda name, prompt: f"re {prompt}")
    settings = server.settings(tmp_path)
    rows = [turn("a", 1, "x", system="Be."), turn("a", 2, "y", system="Be."), turn("b", 1, "z")]
    store = PartStore(tmp_path)
    part = answer_benchmark.fn(settings, store.write("benchmark_turns", f"{1:032x}", rows))
    assert [(r.dialogue_id, r.turn, r.text) for r in store.read(part, Response)] == [
        ("a", 1, "re x"), ("b", 1, "re z"), ("a", 2, "re y"),
    ]  # fmt: skip
    assert [[m["content"] for m in chat] for chat in server.chats[-1:]] == [["Be.", "x", "re x", "y"]]
    # a given history is the same for every model
    given = [turn("a", 1, "x", given="the truth"), turn("a", 2, "y", given="more truth")]
    answer_benchmark.fn(settings, store.write("benchmark_turns", f"{2:032x}", given))
    assert [m["content"] for m in server.chats[-1]] == ["x", "the truth", "y"]


def test_where_an_answer_is_lost_the_dialogue_ends_and_that_is_counted(tmp_path: Path, answer_with: Start) -> None:
    server = answer_with(lambda name, prompt: None if prompt == "bad" else "fine")
    settings = server.settings(tmp_path, max_failed_share=1)
    rows = [turn("a", 1, "bad"), turn("a", 2, "y"), turn("a", 3, "z"), turn("b", 1, "good")]
    store = PartStore(tmp_path)
    part = answer_benchmark.fn(settings, store.write("benchmark_turns", f"{1:032x}", rows))
    assert [r.dialogue_id for r in store.read(part, Response)] == ["b"]
    left = store.read(PartRef(dataset="exclusions", key=part.key, rows=2), Exclusion)
    assert [(item.reason, item.what, item.count) for item in left] == [
        ("failed", "responses", 1), ("no_history", "responses", 2),
    ]  # fmt: skip
    # one call for each dialogue, and none for what had no history
    assert len(store.read(PartRef(dataset="llm_calls", key=part.key, rows=2), LlmCall)) == len(server.chats) == 2
