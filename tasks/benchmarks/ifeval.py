"""IFEval: single prompts with instructions that code decides.

Zhou et al. 2023, arXiv:2311.07911; the prompts are ``input_data.jsonl`` of
https://github.com/google-research/google-research/tree/master/instruction_following_eval.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from models.benchmarks import BenchmarkTurn, Instruction, Score
from models.records import PartRef, Response
from storage.imports.reading import read_rows
from storage.imports.rows import Refused, Row
from tasks.batch import Batch, stage_task
from tasks.benchmarks.base import Benchmark, refuse_row
from tasks.benchmarks.instructions import (
    STRICT_LOOSE,
    follows_ifeval,
    parse_arguments,
    score_response,
    tally_strict_loose,
)

SHIPPED = "seeds/ifeval/input_data.jsonl"


def read_ifeval(path: Path) -> Iterator[BenchmarkTurn | Refused]:
    """The prompts of a file with ``key``, ``prompt``, ``instruction_id_list`` and ``kwargs``."""
    for row in read_rows(path):
        yield row if isinstance(row, Refused) else _turn(row)


def _turn(row: Row) -> BenchmarkTurn | Refused:
    values = row.values
    try:
        kinds, arguments = list(values["instruction_id_list"]), list(values["kwargs"])
        return BenchmarkTurn(
            dialogue_id=str(values["key"]),
            turn=1,
            query=values["prompt"],
            instructions=[
                Instruction(kind=kind, arguments=json.dumps(parse_arguments(given), ensure_ascii=False))
                for kind, given in zip(kinds, arguments, strict=True)
            ],
        )
    except KeyError as error:
        return refuse_row(row, "missing_field", f"there is no field {error}", str(error.args[0]))
    except (TypeError, ValueError) as error:
        return refuse_row(row, "wrong_field", str(error))


@stage_task(produces="scores")
def score_ifeval(batch: Batch, responses: PartRef) -> Iterator[Score]:
    """Strict and loose verdicts on the responses of a part, in code."""
    turns = {turn.dialogue_id: turn for turn in batch.read_upstream(responses, "benchmark_turns", BenchmarkTurn)}
    for response in batch.read(responses, Response):
        yield from score_response(turns[response.dialogue_id], response.response_id, response.text, follows_ifeval)


IFEVAL = Benchmark(
    name="ifeval",
    read=read_ifeval,
    score=score_ifeval,
    tally=tally_strict_loose,
    averages=lambda metrics: {},
    main=STRICT_LOOSE,
    shipped=SHIPPED,
)
