"""What SysBench's own program writes, as rows of one layout: a row a criterion of an answer.

The layout is that of a tidy table: ``model``, ``history_kind``, ``system_id``, ``turn``, ``domain``, ``scenario``,
``system_prompt``, ``user_query``, ``reference_answer``, ``response``, ``criterion_id``, ``criterion_text``,
``criterion_type``, ``verdict_raw``, ``alignment``, ``multi_turn_related``. A table that is in it already is read as it
is. The others are

- ``MODEL_analysis.xlsx``, the published result of a model: its sheet 详情 has a row an answer;
- ``MODEL_eval.json``, which that was made from: a list of sessions.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from models.imports import ReadLimits
from models.sysbench import KINDS
from storage.imports.reading import read_rows
from storage.imports.rows import Refused, Row, excerpt_of
from storage.imports.workbooks import read_sheet

SHEET = "详情"

_OF_SHEET = {
    "infer_model": "model", "system_id": "system_id", "round_index": "turn", "领域": "domain", "场景": "scenario",
    "system_prompt": "system_prompt", "prompt": "user_query", "answer": "response", "alignment": "alignment",
    "multi_rounds_related": "multi_turn_related",
}  # fmt: skip
"""Columns of the sheet and of the tidy table. Its ``referrence`` is no answer of the ground truth: beside turn n stands
message n of the dialogue."""

_CRITERION = re.compile(rf"^(\d{{1,9}})\. ?(.*?) \| ({'|'.join(KINDS)})$", re.MULTILINE | re.DOTALL)
_VERDICT = re.compile(r"(\d{1,9})\. ?(.*?) \| (.*)")


MOST_TURNS = 1000
"""A session is filled up to its last turn: a row that claims turn 10 ** 9 must not fill the memory."""

_BOOLEANS = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}


def read_tidy(path: Path, columns: Collection[str] | None = None) -> Iterator[Row | Refused]:
    """The rows of a tidy table, of a published result or of the evaluation that it was made from.

    Args:
        path: The file; a published result is ``.xlsx``.
        columns: All that is needed of a row.

    Raises:
        ImportFileError: The file cannot be read at all.
    """
    if path.suffix.lower() == ".xlsx":
        for row in read_sheet(path, SHEET, ReadLimits()):
            yield from [row] if isinstance(row, Refused) else _of_answer(row)
        return
    for row in read_rows(path, columns=columns):
        if isinstance(row, Row) and "eval_results" in row.values:
            yield from _of_session(row)
        else:
            yield row


def _of_answer(row: Row) -> Iterator[Row | Refused]:
    """A row of the sheet: the criteria and the verdicts are lines of one cell each."""
    values = row.values
    shared = {tidy: values.get(name) for name, tidy in _OF_SHEET.items()}
    texts = {number: text for number, text, _ in _CRITERION.findall(str(values.get("评判细则") or ""))}
    lines = str(values.get("评判结果") or "").splitlines()
    for line in lines or [""]:
        if found := _VERDICT.fullmatch(line.strip()):
            number, kind, word = found.groups()
            yield Row(row.line, {**shared, **_criterion(number, texts.get(number), kind, word)})
        else:
            yield _refuse(row, "评判结果", f"no verdict in {line[:40]!r}")


def _of_session(row: Row) -> Iterator[Row | Refused]:
    """A session of the evaluation: its turns are the user's messages, in their order."""
    try:
        yield from list(_criteria_of(row))
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        yield _refuse(row, "eval_results", f"not a session as SysBench's program writes it: {error!r}"[:200])


def _criteria_of(row: Row) -> Iterator[Row]:
    values = row.values
    answers = values["infer_results"]
    shared = {
        "model": values["infer_model"],
        # after the ground truth the messages of every turn are kept apart
        "history_kind": "gt" if isinstance(answers[0], list) else "own",
        "system_id": values["system_id"], "domain": values.get("领域"), "scenario": values.get("场景"),
        "multi_turn_related": values.get("rounds_related"), "system_prompt": values.get("system_prompt"),
    }  # fmt: skip
    spoken = [message for message in values["messages"] if message["role"] != "system"]
    for turn, (query, answer) in enumerate(zip(spoken[::2], spoken[1::2], strict=True), start=1):
        result = values["eval_results"][query["content"]]
        for number, word in result["评判结果"].items():
            criterion = result["criteria"][number]
            yield Row(
                row.line,
                {
                    **shared, "turn": turn, "user_query": query["content"], "reference_answer": answer["content"],
                    "response": result["response"],
                    "alignment": values["prompt_infos"][query["content"]].get("alignment"),
                    **_criterion(number, criterion["criteria_content"], criterion["criteria_type"], word),
                },
            )  # fmt: skip


def _criterion(number: str, text: str | None, kind: str, word: str) -> Mapping[str, Any]:
    return {
        "criterion_id": int(number),
        "criterion_text": text or "",
        "criterion_type": KINDS.get(kind, kind),
        "verdict_raw": word,
    }


def _refuse(row: Row, field: str, what: str) -> Refused:
    return Refused(row.line, "wrong_value", field, what, excerpt_of(str(row.values)))


def as_boolean(value: object) -> bool | None:
    """A truth value, or a word or number for one, as CSV and pandas have it; None: it is neither."""
    return value if isinstance(value, bool) else _BOOLEANS.get(str(value).strip().lower())
