"""SysBench: the published numbers on its own verdicts, and what becomes of files that are not as they should be."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.terminal_sysbench import show_sysbench
from models.errors import ImportFileError
from models.sysbench import History, ModelScore, SysBenchScore
from tasks.sysbench_scores import score_file

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared/data/sysbench/dev100_tidy.parquet"

Row = dict[str, Any]


@pytest.fixture(scope="module")
def real() -> list[Row]:
    if not REAL.exists():
        pytest.skip(f"{REAL.name} is not there")
    columns = ["model", "history_kind", "system_id", "turn", "criterion_type", "domain", "alignment",
               "multi_turn_related", "verdict_raw", "turn_usable"]  # fmt: skip
    rows: list[Row] = pq.read_table(REAL, columns=columns).to_pylist()
    return rows


@cache
def score_real(history: History) -> SysBenchScore:
    return score_file(REAL, history, resamples=100)


def count_by_hand(rows: list[Row]) -> dict[str, float]:
    """CSR, ISR and SSR of one model in percent, from SysBench's definitions and its own verdict on each turn."""
    satisfied = sum(row["verdict_raw"] == "是" for row in rows)
    usable = {(row["system_id"], row["turn"]): row["turn_usable"] for row in rows}
    leading = 0
    for session in {session for session, _ in usable}:
        for turn in range(1, 6):
            if not usable[session, turn]:
                break
            leading += 1
    sessions = len(usable) / 5
    return {
        "csr": 100 * satisfied / len(rows),
        "isr": 100 * sum(usable.values()) / len(usable),
        "ssr": 100 * leading / 5 / sessions,
    }


@pytest.mark.parametrize(
    ("history", "csr", "isr", "ssr", "models"),
    [("gt", "89.51", "80.4", "58.2", 7), ("own", "86.29", "73.0", "47.2", 14)],
)
def test_published_numbers_to_every_digit(
    real: list[Row], history: History, csr: str, isr: str, ssr: str, models: int
) -> None:
    score = score_real(history)
    found = {model.model: model for model in score.models}
    gpt4o = found["gpt4o"]
    assert (f"{gpt4o.csr:.2f}", f"{gpt4o.isr:.1f}", f"{gpt4o.ssr:.1f}") == (csr, isr, ssr)

    by_model = defaultdict(list)
    for row in real:
        if row["history_kind"] == history:
            by_model[row["model"]].append(row)
    assert list(found) == sorted(by_model) and len(found) == models
    assert (score.rows, score.sessions) == (models * 1211, 100)
    for model, rows in by_model.items():
        assert {name: getattr(found[model], name) for name in ("csr", "isr", "ssr")} == pytest.approx(
            count_by_hand(rows), abs=1e-6
        )
        assert found[model].n == {"csr": 1211, "isr": 500, "ssr": 100}
        words = [row["verdict_raw"] for row in rows if row["verdict_raw"] not in ("是", "否")]
        assert found[model].other_words == {word: words.count(word) for word in words}
        for name, interval in found[model].intervals.items():
            assert interval.low < getattr(found[model], name) < interval.high
    assert (score.repeated, score.refused, score.other_lengths) == (0, 0, 0)


def test_the_parts_make_up_the_whole(real: list[Row]) -> None:
    for model in score_real("gt").models:
        assert {kind: len(values) for kind, values in model.by.items()} == {
            "turn": 5, "domain": 22, "kind": 6, "alignment": 2, "relation": 2
        }  # fmt: skip
        for kind, metrics in {
            "turn": ("csr", "isr"), "domain": ("csr", "isr", "ssr"), "kind": ("csr",), "alignment": ("csr", "isr"),
            "relation": ("csr", "isr", "ssr"),
        }.items():  # fmt: skip
            for metric in metrics:
                shares = [value[metric] for value in model.by[kind].values()]
                assert sum(share.n for share in shares) == model.n[metric]
                whole = sum(share.value * share.n for share in shares) / model.n[metric]
                assert whole == pytest.approx(getattr(model, metric), abs=1e-5)
        # the mean of SysBench's R1 to R5 is its SSR
        held = [model.by["turn"][str(turn)]["ssr"].value for turn in range(1, 6)]
        assert held == sorted(held, reverse=True)
        assert sum(held) / 5 == pytest.approx(model.ssr, abs=1e-5)


def test_one_part_by_hand(real: list[Row]) -> None:
    [model] = [model for model in score_real("own").models if model.model == "llama3_8b"]
    rows = [row for row in real if (row["model"], row["history_kind"]) == ("llama3_8b", "own")]
    role = [row["verdict_raw"] == "是" for row in rows if row["criterion_type"] == "role"]
    assert model.by["kind"]["role"]["csr"].model_dump() == pytest.approx(
        {"value": 100 * sum(role) / len(role), "n": len(role)}, abs=1e-6
    )
    misaligned = [row for row in rows if row["alignment"] == "misalign"]
    usable = {(row["system_id"], row["turn"]): row["turn_usable"] for row in misaligned}
    assert model.by["alignment"]["misalign"]["isr"].value == pytest.approx(
        100 * sum(usable.values()) / len(usable), abs=1e-6
    )
    parallel = count_by_hand([row for row in rows if not row["multi_turn_related"]])
    assert model.by["relation"]["parallel"]["ssr"].value == pytest.approx(parallel["ssr"], abs=1e-6)


def session(system_id: int, turns: str, *, model: str = "m", **more: Any) -> list[Row]:
    """A session: a word a turn, a letter a criterion: y(es), n(o), o(ther), - (none)."""
    words = {"y": "是", "n": "否", "o": "不适用", "-": None}
    return [
        {
            "model": model, "history_kind": "own", "system_id": system_id, "turn": turn, "criterion_id": place,
            "verdict_raw": words[letter], **more,
        }
        for turn, letters in enumerate(turns.split(), start=1)
        for place, letter in enumerate(letters, start=1)
    ]  # fmt: skip


def score_rows(folder: Path, rows: list[Row]) -> SysBenchScore:
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    return score_file(folder / "rows.parquet", "own", resamples=100)


def values(model: ModelScore) -> list[object]:
    return [None if value is None else round(value, 4) for value in (model.csr, model.isr, model.ssr)]


def test_another_word_is_not_satisfied_and_not_failed(tmp_path: Path) -> None:
    [model] = score_rows(tmp_path, session(1, "yo y y y y")).models
    assert values(model) == [83.3333, 100, 100]
    assert (model.other_words, model.unjudged) == ({"不适用": 1}, 0)


def test_a_criterion_without_a_verdict_counts_nowhere(tmp_path: Path) -> None:
    [model] = score_rows(tmp_path, [*session(1, "y- y- n- y y"), *session(2, "y y n y y")]).models
    # of session 1 the third turn has failed, whatever is missing; of the first two nobody knows
    assert values(model) == [80, 85.7143, 40]
    assert (model.unjudged, model.no_ssr, model.n) == (3, 1, {"csr": 10, "isr": 7, "ssr": 1})


def test_a_missing_turn_leaves_a_session_without_ssr(tmp_path: Path) -> None:
    whole = [*session(1, "y y y y y"), *session(2, "y n y y y")]
    other = [row | {"model": "other"} for row in whole if (row["system_id"], row["turn"]) not in {(1, 3), (2, 5)}]
    score = score_rows(tmp_path, [*whole, *other])
    m, o = score.models
    assert (values(m), m.no_ssr) == ([90, 90, 60], 0)
    # neither the gap of session 1 nor the end of session 2 is taken for a success
    assert (values(o), o.no_ssr, o.n) == ([87.5, 87.5, None], 2, {"csr": 8, "isr": 8})
    assert score.other_lengths == 0


def test_models_with_different_sessions_and_sessions_of_other_lengths(tmp_path: Path) -> None:
    score = score_rows(tmp_path, [*session(1, "y y y y y"), *session(2, "y y n", model="other")])
    m, o = score.models
    assert (values(m), m.n["ssr"], m.no_ssr) == ([100, 100, 100], 1, 0)
    assert (values(o), o.n["ssr"], o.no_ssr) == ([66.6667, 66.6667, 66.6667], 1, 0)
    assert (score.sessions, score.other_lengths) == (2, 1)
    # one session says nothing of others
    assert m.intervals == o.intervals == {}


def test_of_rows_that_stand_twice_the_first_counts(tmp_path: Path) -> None:
    rows = session(1, "y y y y n")
    score = score_rows(tmp_path, [*rows, rows[0], rows[1] | {"verdict_raw": "否"}])
    assert values(score.models[0]) == [80, 80, 80]
    assert (score.rows, score.repeated, score.contradicting) == (5, 2, 1)


def test_rows_that_cannot_be_read_are_counted_with_their_reason(tmp_path: Path) -> None:
    good = session(1, "y y y y y")
    bad: list[Row] = [
        {"history_kind": "mine"},
        {"turn": 0},
        {"turn": 10**12},
        {"turn": None},
        {"system_id": None},
        {"model": ""},
    ]
    score = score_rows(tmp_path, [*good, *({**good[0], **change} for change in bad)])
    assert values(score.models[0]) == [100, 100, 100]
    assert score.refused == 6
    assert score.refused_first[:3] == [
        "line 6: history_kind is 'mine', not own or gt",
        "line 7: turn is 0, not a number from 1 to 1000",
        "line 8: turn is 1000000000000, not a number from 1 to 1000",
    ]


def test_only_the_needed_columns(tmp_path: Path) -> None:
    rows = [
        {name: value for name, value in row.items() if name not in ("history_kind", "verdict_raw")}
        | {"satisfied": row["verdict_raw"] == "是", "not_failed": row["verdict_raw"] != "否"}
        for row in session(1, "y o n")
    ]
    score = score_rows(tmp_path, rows)
    [model] = score.models
    assert values(model) == [33.3333, 66.6667, 66.6667]
    assert model.other_words == {"neither": 1}
    assert not score.history_known and set(model.by) == {"turn"}


def test_numbers_as_pandas_writes_them(tmp_path: Path) -> None:
    """Where one of a column is missing, whole numbers and truth values are floats."""
    rows = [
        {
            name: float(value) if isinstance(value, int) else value
            for name, value in row.items()
            if name != "verdict_raw"
        }
        | {"satisfied": float(row["verdict_raw"] == "是")}
        for row in session(1, "y n y")
    ]
    [model] = score_rows(tmp_path, rows).models
    assert (values(model), model.unjudged) == ([66.6667, 66.6667, 33.3333], 0)
    names = list(rows[0])
    lines = [",".join(names), *(",".join(str(row[name]) for name in names) for row in rows)]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    assert values(score_file(tmp_path / "rows.csv", "own", resamples=100).models[0]) == values(model)


def test_a_truth_value_that_is_none_is_refused_and_not_passed_over(tmp_path: Path) -> None:
    row = session(1, "y")[0]
    del row["verdict_raw"]
    score = score_rows(tmp_path, [row | {"satisfied": "true"}, row | {"satisfied": "ja", "turn": 2}])
    assert (score.refused, score.refused_first) == (1, ["line 2: satisfied is 'ja', not true or false"])


def test_words_of_another_judge_are_no_verdicts(tmp_path: Path) -> None:
    rows = [row | {"verdict_raw": "YES"} for row in session(1, "y y")]
    with pytest.raises(ImportFileError, match=r"None of the verdicts of .* is 是 or 否; verdict_raw holds 'YES'"):
        score_rows(tmp_path, rows)


def test_what_is_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ImportFileError, match="cannot be read"):
        score_file(tmp_path / "nothing.parquet", "own")
    (tmp_path / "text.parquet").write_text("text")
    with pytest.raises(ImportFileError, match="cannot be read"):
        score_file(tmp_path / "text.parquet", "own")
    pq.write_table(pa.table({"model": ["m"], "turn": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ImportFileError, match="rows that cannot be read: 1, the first: line 1: there is no system_id"):
        score_file(tmp_path / "other.parquet", "own")
    pq.write_table(pa.Table.from_pylist(session(1, "y")), tmp_path / "own.parquet")
    with pytest.raises(ImportFileError, match="no verdict with the history gt"):
        score_file(tmp_path / "own.parquet", "gt")


def test_the_command(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    rows = [*session(1, "y y y y y"), *session(2, "yn y o y n", model="[bold]x")]
    pq.write_table(pa.Table.from_pylist(rows), file)
    command = [sys.executable, "rpo.py", "score", "sysbench", str(file), "--history", "own", "--json"]
    said = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
    assert [(m["model"], m["csr"], m["isr"], m["ssr"]) for m in said["models"]] == [
        ("[bold]x", 50.0, 60.0, 0.0), ("m", 100.0, 100.0, 100.0)
    ]  # fmt: skip
    assert said["models"][0]["by"]["turn"]["3"] == {
        "csr": {"value": 0.0, "n": 1}, "isr": {"value": 100.0, "n": 1}, "ssr": {"value": 0.0, "n": 1}
    }  # fmt: skip


def test_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*session(1, "yo y y y n", criterion_type="role"), *session(2, "y y", model="[bold]x")]
    show_sysbench(score_rows(tmp_path, [*rows, rows[0], rows[0] | {"turn": -1}]))
    shown = capsys.readouterr().out
    for text in (
        "2 models, 2 sessions", "[bold]x", "66.67", "80.00", "Neither yes nor no: 1 '不适用'", "role",
        "of other than five turns: 1", "stood before: 1, of them with another verdict: 0", "line 10: turn is -1",
    ):  # fmt: skip
        assert text in shown
