"""The commands ``rpo score``: numbers of benchmarks for answers that exist already. No call is made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from flows.cli_options import Json
from models.benchmarks import FileScore, Unusable
from models.sysbench import History

app = App(
    name="score",
    help="Score answers that exist already, as a public benchmark does. No call is made.",
    version_flags=[],
)

Responses = Annotated[
    Path | None,
    Parameter(help="The responses, where FILE is the benchmark's own: `response`, and `key` and `turn`, or `prompt`."),
]
Rows = Annotated[
    Path | None, Parameter(help="Parquet to write: a row an instruction, with followed_strict and followed_loose.")
]
CountAs = Annotated[
    Unusable,
    Parameter(
        name="--unusable",
        help="What instructions that nobody can decide count as (the letter `#`, for which the reference draws one).",
    ),
]


@app.command
def ifeval(
    file: Path,
    /,
    *,
    responses: Responses = None,
    rows: Rows = None,
    unusable: CountAs = "failed",
    as_json: Json = False,
) -> None:
    """Strict and loose accuracy of IFEval, by prompt and by instruction.

    Args:
        file: Parquet, JSON lines or CSV, a row an instruction: key, prompt, response, instruction_id, kwargs; or
            IFEval's own input_data.jsonl, with --responses.
        responses: The responses.
        rows: A Parquet file to write.
        unusable: What instructions that nobody can decide count as.
        as_json: One JSON document on standard output.
    """
    from tasks.benchmarks.answered import read_labelled, read_pairs
    from tasks.benchmarks.file_scores import score_file
    from tasks.benchmarks.ifeval import IFEVAL

    found = read_labelled(file) if responses is None else read_pairs(IFEVAL, file, responses)
    _show(score_file("ifeval", file, found, unusable=unusable, rows=rows), as_json)


@app.command
def multi_if(
    file: Path,
    /,
    *files: Path,
    responses: Responses = None,
    rows: Rows = None,
    unusable: CountAs = "failed",
    as_json: Json = False,
) -> None:
    """Multi-IF's accuracies of each step, over all languages and in each, and their average.

    Args:
        file: CSV, Parquet or JSON lines in Multi-IF's layout; as its own code writes it after a step (`responses`,
            `turn_index`), or without answers, with --responses.
        files: Those of further steps.
        responses: The responses.
        rows: A Parquet file to write.
        unusable: What instructions that nobody can decide count as.
        as_json: One JSON document on standard output.
    """
    from tasks.benchmarks.answered import read_pairs, read_steps
    from tasks.benchmarks.file_scores import score_file
    from tasks.benchmarks.multi_if import MULTI_IF

    found = read_steps([file, *files]) if responses is None else read_pairs(MULTI_IF, file, responses)
    _show(score_file("multi-if", file, found, unusable=unusable, rows=rows), as_json)


@app.command
def sysbench(
    file: Path,
    /,
    *,
    history: Annotated[
        History, Parameter(help="Score the answers after the model's own earlier ones, or after the ground truth's.")
    ] = "own",
    as_json: Json = False,
) -> None:
    """CSR, ISR and SSR of every model of a file with SysBench verdicts, as SysBench publishes them.

    With --json also by turn, domain, kind of criterion, alignment and relation of the turns, all in percent.

    Args:
        file: A table with a row a criterion (Parquet, CSV, JSON), or SysBench's own MODEL_analysis.xlsx or
            MODEL_eval.json; docs/evaluation.md says what they hold.
        history: Which history.
        as_json: One JSON document on standard output.
    """
    from tasks.sysbench_scores import score_file

    score = score_file(file, history)
    if as_json:
        print(score.model_dump_json())
        return
    # imported here: Prefect takes seconds
    from flows.terminal_sysbench import show_sysbench

    show_sysbench(score)


def _show(score: FileScore, as_json: bool) -> None:
    if as_json:
        print(score.model_dump_json())
        return
    # imported here: Prefect takes seconds
    from flows.terminal_benchmark import show_file_score

    show_file_score(score)
