"""SysBench's verdicts as marks to count; a row that is no verdict is refused with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from models.sysbench import NO, YES, Mark, label
from storage.imports.rows import Refused, Row, as_key, as_number, excerpt_of
from storage.imports.sysbench_sheets import MOST_TURNS, as_boolean, read_tidy

_NEEDED = ("model", "system_id", "turn", "criterion_id")
_TRUTHS = ("satisfied", "not_failed")
_COLUMNS = (
    *_NEEDED, "history_kind", "verdict_raw", "satisfied", "not_failed", "criterion_type", "domain", "alignment",
    "multi_turn_related",
)  # fmt: skip


def read_marks(path: Path) -> Iterator[Mark | Refused]:
    """The verdicts of a file that ``read_tidy`` reads; ``docs/evaluation.md`` names the columns.

    Raises:
        ImportFileError: The file cannot be read at all.
    """
    for row in read_tidy(path, _COLUMNS):
        yield row if isinstance(row, Refused) else _as_mark(row)


def _as_mark(row: Row) -> Mark | Refused:
    values = row.values
    history = values.get("history_kind")
    if history not in ("own", "gt", None, ""):
        return _refuse(row, "history_kind", f"history_kind is {_show(history)}, not own or gt")
    for name in _NEEDED:
        if values.get(name) in (None, ""):
            return _refuse(row, name, f"there is no {name}")
    turn = as_number(values["turn"])
    if turn is None or not 1 <= turn <= MOST_TURNS:
        return _refuse(row, "turn", f"turn is {_show(values['turn'])}, not a number from 1 to {MOST_TURNS}")
    if not {"verdict_raw", "satisfied"} & values.keys():
        return _refuse(row, "verdict_raw", "there is neither verdict_raw nor satisfied")
    for name in () if "verdict_raw" in values else _TRUTHS:
        if values.get(name) not in (None, "") and as_boolean(values[name]) is None:
            return _refuse(row, name, f"{name} is {_show(values[name])}, not true or false")
    return Mark(
        model=str(values["model"]),
        history=history or None,
        session=as_key(values["system_id"]),
        turn=turn,
        criterion=as_key(values["criterion_id"]),
        word=_word(values),
        kind=str(values["criterion_type"]) if values.get("criterion_type") else None,
        labels=label(values.get("domain"), values.get("alignment"), as_boolean(values.get("multi_turn_related"))),
    )


def _word(values: Mapping[str, Any]) -> str | None:
    """The judge's word; where the file has only what became of it, a word that comes to the same."""
    if "verdict_raw" in values:
        word = values["verdict_raw"]
        return None if word is None else str(word).strip() or None
    satisfied = as_boolean(values["satisfied"])
    if satisfied is None or satisfied:
        return YES if satisfied else None
    return "neither" if as_boolean(values.get("not_failed")) else NO


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _refuse(row: Row, field: str, what: str) -> Refused:
    return Refused(row.line, "wrong_value", field, what, excerpt_of(str(row.values)))
