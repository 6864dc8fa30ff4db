"""Verdicts as a file for others, a row an instruction, and such files read again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.base import Verdict, digest
from models.benchmarks import Instruction, Score, Unusable
from models.errors import ImportFileError
from storage.files import atomic_path
from storage.imports.reading import read_rows
from storage.imports.rows import Refused, as_key
from tasks.benchmarks.answered import Answered
from tasks.benchmarks.base import Benchmark
from tasks.benchmarks.ifeval import IFEVAL
from tasks.benchmarks.multi_if import MULTI_IF, labels_of


def write_rows(path: Path, answers: Sequence[Answered], scored: Sequence[Sequence[Score]], unusable: Unusable) -> None:
    """A row an instruction as Parquet: that of the file where it has such rows, and the two verdicts.

    A verdict is null where the instruction does not count.

    Raises:
        StorageError: The file cannot be written.
    """
    # imported here: a score without rows does without
    import pyarrow as pa
    import pyarrow.parquet as pq

    def column(values: Sequence[Any]) -> pa.Array:
        try:
            return pa.array(values)
        except (pa.ArrowException, OverflowError):  # in JSON lines a field may be a number here and a text there
            return pa.array([None if value is None else str(value) for value in values])

    followed: dict[Verdict | None, bool | None] = {"followed": True, "violated": False}
    followed["unscored"] = False if unusable == "failed" else None
    rows = [
        _flat(answer.row or _row(answer, instruction))
        | {"followed_strict": followed.get(score.verdict), "followed_loose": followed.get(score.loose)}
        for answer, scores in zip(answers, scored, strict=True)
        for instruction, score in zip(answer.turn.instructions, scores, strict=True)
    ]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.table({name: column([row.get(name) for row in rows]) for name in columns})
    with atomic_path(path, f"The rows {path}") as temporary:
        pq.write_table(table, temporary)


def _row(answer: Answered, instruction: Instruction) -> dict[str, Any]:
    turn = answer.turn
    return {
        "key": turn.dialogue_id,
        "turn": turn.turn,
        "language": turn.language,
        "prompt": turn.query,
        "response": answer.response,
        "instruction_id": instruction.kind,
        "kwargs": instruction.arguments,
    }


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose arguments are one text each, whatever their shape."""
    return {
        # dates, say, that Parquet has inside others are no JSON
        name: json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else value
        for name, value in row.items()
    }


def read_scored(path: Path) -> list[Score]:
    """The verdicts of a file that ``write_rows`` has written.

    Raises:
        ImportFileError: It is another file, or damaged.
    """
    scores = []
    for row in read_rows(path):
        if isinstance(row, Refused):
            raise _not_scored(path, f"row {row.line}: {row.what}")
        values = row.values
        missing = {"key", "instruction_id", "followed_strict", "followed_loose"} - values.keys()
        if missing:
            raise _not_scored(path, f"it has no column {min(missing)}")
        try:
            scores.append(_score(values))
        except KeyError as error:
            raise _not_scored(path, f"row {row.line}: {error} is none of true, false and null") from error
        except (TypeError, ValueError) as error:
            raise _not_scored(path, f"row {row.line}: {' '.join(str(error).split())[:200]}") from error
    if not scores:
        raise _not_scored(path, "it has no rows")
    return scores


def _score(values: Mapping[str, Any]) -> Score:
    key, step, language = as_key(values["key"]), values.get("turn"), values.get("language")
    if not isinstance(step, int):  # a column of the file's own, which IFEval does not have
        step = None
    return Score(
        response_id=digest([key, step, values.get("response")], length=16),
        dialogue_id=key,
        turn=step or 1,
        position=0,
        kind=values["instruction_id"],
        labels=labels_of(step, language) if step and language else [],
        verdict=_VERDICTS[values["followed_strict"]],
        loose=_VERDICTS[values["followed_loose"]],
    )


_VERDICTS: dict[bool | None, Verdict] = {True: "followed", False: "violated", None: "not_applicable"}


def _not_scored(path: Path, why: str) -> ImportFileError:
    return ImportFileError(
        f"{path} was not written by `rpo score ... --rows`: {why}.",
        next_step="Type: rpo score ifeval FILE --rows OUT.parquet",
    )


def find_benchmark(scores: Sequence[Score]) -> Benchmark:
    """The benchmark of scored rows: only Multi-IF's have steps."""
    return MULTI_IF if scores[0].labels else IFEVAL
