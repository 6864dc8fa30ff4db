"""Multi-IF: dialogues of up to three turns in eight languages, each turn with the instructions of those before it.

He et al. 2024, arXiv:2410.15553; the data (CC BY-NC 2.0) is facebook/Multi-IF on the Hugging Face Hub. Its score of a
step is the mean of the strict and loose accuracies of prompts and instructions, over all rows that have the step.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from models.benchmarks import BenchmarkTurn, Instruction, Score
from models.constraints.multi_if import Follows, follows_multi_if
from models.records import PartRef, Response
from storage.imports.reading import read_rows
from storage.imports.rows import Refused
from tasks.batch import Batch, stage_task
from tasks.benchmarks.base import Benchmark, refuse_row
from tasks.benchmarks.instructions import STRICT_LOOSE, parse_arguments, score_response, tally_strict_loose

STEPS = (1, 2, 3)
_EMPTY = ("", "None", None)
"""What stands in a row that lacks a step."""
_STEP = re.compile(r"prompt_strict(/step/\d+)(/language/.+)?")


def read_multi_if(path: Path) -> Iterator[BenchmarkTurn | Refused]:
    """The turns of a file in the layout of ``multiIF_20241018.csv``, row by row."""
    for row in read_rows(path):
        if isinstance(row, Refused):
            yield row
            continue
        try:
            turns = [turn_of(row.values, step) for step in STEPS if row.values[f"turn_{step}_prompt"] not in _EMPTY]
        except KeyError as error:
            yield refuse_row(row, "missing_field", f"there is no field {error}", str(error.args[0]))
        except (TypeError, ValueError) as error:
            yield refuse_row(row, "wrong_field", str(error))
        else:
            yield from turns


def turn_of(values: dict[str, Any], step: int) -> BenchmarkTurn:
    """One step of a row.

    Raises:
        KeyError: A field is missing.
        TypeError: A field is not what it should be.
        ValueError: A field is not JSON, or the numbers of instructions and of arguments differ.
    """
    prompt = json.loads(values[f"turn_{step}_prompt"])
    kinds = json.loads(values[f"turn_{step}_instruction_id_list"])
    arguments = json.loads(values[f"turn_{step}_kwargs"])
    language = str(values["language"])
    return BenchmarkTurn(
        dialogue_id=str(values["key"]),
        turn=step,
        query=prompt["content"],
        language=language,
        labels=labels_of(step, language),
        instructions=[
            Instruction(kind=kind, arguments=json.dumps(parse_arguments(given), ensure_ascii=False))
            for kind, given in zip(kinds, arguments, strict=True)
        ],
    )


def labels_of(step: int, language: str) -> list[str]:
    """What the scores of a turn are counted by."""
    return [f"step/{step}", f"step/{step}/language/{language}"]


def follows_turn(instruction: Instruction, turn: BenchmarkTurn) -> Follows:
    """An instruction of Multi-IF as its check.

    Raises:
        ValueError: It is none of Multi-IF's, or its arguments make no check.
    """
    return follows_multi_if(instruction.kind, parse_arguments(instruction.arguments), turn.query, turn.language)


@stage_task(produces="scores")
def score_multi_if(batch: Batch, responses: PartRef) -> Iterator[Score]:
    """Strict and loose verdicts on the responses of a part, in code."""
    asked = batch.read_upstream(responses, "benchmark_turns", BenchmarkTurn)
    turns = {(turn.dialogue_id, turn.turn): turn for turn in asked}
    for response in batch.read(responses, Response):
        turn = turns[response.dialogue_id, response.turn]
        yield from score_response(turn, response.response_id, response.text, follows_turn)


def average_steps(metrics: Collection[str]) -> dict[str, list[str]]:
    """The score of each step, over all languages and in each; and the mean over the steps."""
    steps = [match for metric in metrics if (match := _STEP.fullmatch(metric))]
    of_step = {
        f"average{match[1]}{match[2] or ''}": [f"{name}{match[1]}{match[2] or ''}" for name in STRICT_LOOSE]
        for match in steps
    }
    whole = [f"{name}{match[1]}" for match in steps if not match[2] for name in STRICT_LOOSE]
    return {"average": whole, **of_step}


MULTI_IF = Benchmark(
    name="multi-if",
    read=read_multi_if,
    score=score_multi_if,
    tally=tally_strict_loose,
    averages=average_steps,
    main=("average", *(f"average/step/{step}" for step in STEPS)),
)
