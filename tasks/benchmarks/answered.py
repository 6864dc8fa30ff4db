"""Files of answers that exist already, to IFEval and Multi-IF."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from models.benchmarks import BenchmarkTurn, Instruction
from storage.imports.opening import require_file
from storage.imports.reading import read_rows
from storage.imports.rows import Refused, Row, as_key, as_number
from tasks.benchmarks.base import Benchmark, refuse_row
from tasks.benchmarks.instructions import parse_arguments
from tasks.benchmarks.multi_if import MULTI_IF


class Answered(NamedTuple):
    """A turn with the answer to it."""

    turn: BenchmarkTurn
    response: str
    row: Mapping[str, Any] = {}
    """The row of the file, where that is a row an instruction."""


class Answers(NamedTuple):
    """What a file holds: answers, what is not taken, and turns without an answer."""

    answers: list[Answered]
    refused: list[Refused]
    unanswered: int = 0


def read_labelled(path: Path) -> Answers:
    """A file with a row an instruction: ``key``, ``prompt``, ``response``, ``instruction_id``, ``kwargs``.

    Rows of one key and response are one prompt.
    """
    answers, refused = [], []
    for row in read_rows(path):
        taken = row if isinstance(row, Refused) else _labelled(row)
        if isinstance(taken, Refused):
            refused.append(taken)
        else:
            answers.append(taken)
    return Answers(answers, refused)


def _labelled(row: Row) -> Answered | Refused:
    values = row.values
    try:
        arguments = parse_arguments(values["kwargs"] if values["kwargs"] is not None else {})
        instruction = Instruction(kind=values["instruction_id"], arguments=json.dumps(arguments, ensure_ascii=False))
        turn = BenchmarkTurn(
            dialogue_id=as_key(values["key"]), turn=1, query=values["prompt"], instructions=[instruction]
        )
        if not isinstance(values["response"], str):
            return refuse_row(row, "wrong_field", "the response is not a text", "response")
    except KeyError as error:
        return refuse_row(row, "missing_field", f"there is no field {error}", str(error.args[0]))
    except (TypeError, ValueError) as error:
        return refuse_row(row, "wrong_field", str(error))
    return Answered(turn, values["response"], values)


def read_pairs(benchmark: Benchmark, path: Path, responses: Path) -> Answers:
    """The benchmark's own file, and one of responses: by ``key`` and ``turn``, or by ``prompt`` as IFEval has them."""
    refused: list[Refused] = []
    said: dict[object, str] = {}
    lines: dict[object, int] = {}
    for row in read_rows(responses):
        place = row if isinstance(row, Refused) else _answers_what(row)
        if isinstance(place, Refused):
            refused.append(place)
        elif not isinstance(row, Refused):
            response = said.setdefault(place, row.values["response"])
            first = lines.setdefault(place, row.line)
            if response != row.values["response"]:
                refused.append(refuse_row(row, "contradicts", f"line {first} has another response to it", "response"))
    return _match(
        benchmark.read(path), lambda turn: said.get((turn.dialogue_id, turn.turn), said.get(turn.query)), refused
    )


def _answers_what(row: Row) -> tuple[str, int] | str | Refused:
    """The key and turn, or the prompt, that a row of responses answers."""
    values = row.values
    if not isinstance(values.get("response"), str):
        return refuse_row(row, "wrong_field", "the response is missing or no text", "response")
    turn = 1 if values.get("turn") in (None, "") else as_number(values["turn"])
    if "key" in values and turn is not None:
        if turn < 1:
            return refuse_row(row, "wrong_field", f"turn is {turn}: the first turn is 1", "turn")
        return as_key(values["key"]), turn
    if isinstance(values.get("prompt"), str):
        return str(values["prompt"])
    return refuse_row(row, "missing_field", "neither key and turn nor a prompt say what it answers", "key")


def read_steps(paths: Sequence[Path]) -> Answers:
    """Files that Multi-IF's own code writes, one a step: ``responses`` answers the turn ``turn_index``.

    Raises:
        SettingsError: The first is a pipe.
    """
    require_file(paths[0])
    refused: list[Refused] = []
    answers: dict[tuple[str, int], str] = {}
    for path in paths:
        for row in read_rows(path):
            if not isinstance(row, Refused) and row.values.get("responses"):
                step = str(row.values.get("turn_index"))
                if step.isdecimal():
                    answers[str(row.values.get("key")), int(step)] = _unpack(str(row.values["responses"]))
    return _match(MULTI_IF.read(paths[0]), lambda turn: answers.get((turn.dialogue_id, turn.turn)), refused)


def _unpack(responses: str) -> str:
    """A response, which may be wrapped as ``[{"response": ...}]``."""
    try:
        return str(json.loads(responses)[0]["response"])
    except (ValueError, TypeError, LookupError):
        return responses


def _match(
    rows: Iterable[BenchmarkTurn | Refused], find: Callable[[BenchmarkTurn], str | None], refused: list[Refused]
) -> Answers:
    answers, unanswered = [], 0
    for row in rows:
        if isinstance(row, Refused):
            refused.append(row)
        elif (response := find(row)) is None:
            unanswered += 1
        else:
            answers.append(Answered(row, response))
    return Answers(answers, refused, unanswered)
