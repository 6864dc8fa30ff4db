"""What a file of answers comes to: accuracies with intervals, and all that does not count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from models.base import Verdict, digest
from models.benchmarks import (
    Accuracies,
    Accuracy,
    BenchmarkTurn,
    FileScore,
    GroupScore,
    Instruction,
    KindAccuracies,
    RefusedRow,
    Score,
    StepScore,
    Undecided,
    Unusable,
)
from models.constraints.multi_if import Follows
from models.errors import ImportFileError
from tasks.benchmarks.answered import Answered, Answers
from tasks.benchmarks.instructions import STRICT_LOOSE, follows_ifeval, score_response, tally_strict_loose
from tasks.benchmarks.multi_if import STEPS, follows_turn
from tasks.benchmarks.scored_rows import write_rows
from tasks.measures import Bootstrap, Tally

SEED = 0
"""Of the bootstrap: the same file has the same intervals everywhere."""

SHOWN = 5
"""Refused rows that are told one by one."""


def score_file(
    name: Literal["ifeval", "multi-if"],
    path: Path,
    found: Answers,
    *,
    unusable: Unusable = "failed",
    rows: Path | None = None,
    resamples: int = 2000,
) -> FileScore:
    """What the answers of a file come to.

    Args:
        name: The benchmark.
        path: The file, for messages.
        found: What it holds.
        unusable: What becomes of instructions that nobody can decide.
        rows: Where to write a row an instruction, with ``followed_strict`` and ``followed_loose``; None: nowhere.
        resamples: Draws of the bootstrap.

    Raises:
        ImportFileError: It has no answer.
        StorageError: The rows cannot be written.
    """
    if not found.answers:
        why = f": {len(found.refused)} rows were refused, the first: {found.refused[0].what}" if found.refused else ""
        raise ImportFileError(
            f"{path} has no answer to score{why}.", next_step=f"`rpo score {name} --help` says what a row needs."
        )
    follows = follows_ifeval if name == "ifeval" else follows_turn
    scored = [list(_score(answer, follows)) for answer in found.answers]
    if rows is not None:
        write_rows(rows, found.answers, scored, unusable)
    scores = [score for of_answer in scored for score in of_answer]
    totals = tally_strict_loose(scores, unusable)
    dialogues = {score.dialogue_id for score in scores}
    measured = _Measured(totals, Bootstrap(dialogues, resamples=resamples, seed=SEED))
    steps = {str(step): measured.step(step) for step in STEPS if f"prompt_strict/step/{step}" in totals}
    averages = [step.average for step in steps.values() if step.average is not None]
    return FileScore(
        benchmark=name,
        file=path.name,
        prompts=len({score.response_id for score in scores}),
        instructions=len(scores),
        **measured.group("") | ({"average": sum(averages) / len(averages)} if averages else {}),
        kinds=measured.kinds(),
        steps=steps,
        unusable=_undecided(scores, "unscored"),
        unusable_count_as=unusable,
        not_applicable=_undecided(scores, "not_applicable"),
        unanswered=found.unanswered,
        refused=len(found.refused),
        refused_reasons=dict(Counter(row.reason for row in found.refused).most_common()),
        refused_first=[RefusedRow(line=row.line, reason=row.reason, what=row.what) for row in found.refused[:SHOWN]],
    )


def _score(answer: Answered, follows: Callable[[Instruction, BenchmarkTurn], Follows]) -> Iterator[Score]:
    turn = answer.turn
    # rows of one key and response are one prompt
    response_id = digest([turn.dialogue_id, turn.turn, answer.response], length=16)
    return score_response(turn, response_id, answer.response, follows)


class _Measured:
    """Totals as accuracies with intervals."""

    def __init__(self, totals: Tally, bootstrap: Bootstrap) -> None:
        self._totals, self._bootstrap = totals, bootstrap

    def group(self, part: str) -> dict[str, Any]:
        """The fields of a ``GroupScore`` of all prompts (an empty part) or of a part, such as ``/step/2``."""
        found = {name: self._accuracy(f"{name}{part}") for name in STRICT_LOOSE}
        known = [accuracy.accuracy for accuracy in found.values() if accuracy]
        return {
            "strict": Accuracies(prompt=found["prompt_strict"], instruction=found["instruction_strict"]),
            "loose": Accuracies(prompt=found["prompt_loose"], instruction=found["instruction_loose"]),
            "average": sum(known) / len(known) if len(known) == len(found) else None,
        }

    def step(self, step: int) -> StepScore:
        """A step of Multi-IF, over all languages and in each."""
        begin = f"prompt_strict/step/{step}/language/"
        languages = [metric.removeprefix(begin) for metric in self._totals if metric.startswith(begin)]
        return StepScore(
            **self.group(f"/step/{step}"),
            languages={name: GroupScore(**self.group(f"/step/{step}/language/{name}")) for name in languages},
        )

    def kinds(self) -> dict[str, KindAccuracies]:
        """Each kind of instruction, strict and loose."""
        found = {}
        for metric in self._totals:
            _, is_kind, kind = metric.partition("instruction_strict/kind/")
            strict, loose = self._accuracy(metric), self._accuracy(f"instruction_loose/kind/{kind}")
            if is_kind and strict and loose:
                found[kind] = KindAccuracies(strict=strict, loose=loose)
        return found

    def _accuracy(self, metric: str) -> Accuracy | None:
        totals = self._totals.get(metric)
        if totals is None:
            return None
        estimate = self._bootstrap.measure(totals)
        followed = round(sum(total.sum for total in totals.values()))
        return Accuracy(followed=followed, n=estimate.n, accuracy=estimate.value, low=estimate.low, high=estimate.high)


def _undecided(scores: Iterable[Score], verdict: Verdict) -> Undecided:
    found = [score for score in scores if score.verdict == verdict]
    return Undecided(
        count=len(found),
        keys=list(dict.fromkeys(score.dialogue_id for score in found)),
        reasons=dict(Counter(f"{score.kind}: {score.reason}" if score.reason else score.kind for score in found)),
    )
