"""SysBench's way of counting, over the code that counts every evaluation."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from models.errors import ImportFileError
from models.sysbench import ALIGNMENT, NO, TURNS, YES, History, Interval, Mark, ModelScore, Share, SysBenchScore
from storage.imports.rows import Refused
from storage.imports.sysbench_marks import read_marks
from tasks.measures import MAIN_METRICS, SSR, Bootstrap, Outcome, Parts, Tally, mean, tally

SEED = 0
"""Of the bootstrap: the same file has the same intervals everywhere."""

RESAMPLES = 2000

SHOWN = 5
"""Refused rows that are shown."""


class Marks(NamedTuple):
    """The verdicts of a file, each once."""

    by_model: dict[str, list[Mark]]
    repeated: int
    contradicting: int


def sort_marks(marks: Iterable[Mark]) -> Marks:
    """The verdicts of each model; of several on the same criterion of the same answer the first."""
    by_model: dict[str, dict[tuple[str, int, str], Mark]] = defaultdict(dict)
    repeated = contradicting = 0
    for mark in marks:
        place = (mark.session, mark.turn, mark.criterion)
        first = by_model[mark.model].setdefault(place, mark)
        repeated += first is not mark
        contradicting += first.word != mark.word
    return Marks({model: list(found.values()) for model, found in sorted(by_model.items())}, repeated, contradicting)


def count_turns(marks: Marks) -> dict[str, int]:
    """The turns of each session: the last one that any model has."""
    turns: dict[str, int] = {}
    for found in marks.by_model.values():
        for mark in found:
            turns[mark.session] = max(turns.get(mark.session, 0), mark.turn)
    return turns


def as_outcome(mark: Mark) -> Outcome:
    """A verdict as SysBench counts it.

    Its judge is asked for yes or no. Another word is not satisfied in CSR, and not failed in ISR and SSR: so the
    published numbers count 146 of 124,992 verdicts.
    """
    whole = tuple(label for label in mark.labels if not label.startswith(f"{ALIGNMENT}/"))
    parts = Parts((*mark.labels, f"kind/{mark.kind}") if mark.kind else mark.labels, mark.labels, whole)
    satisfied, holds = (None, None) if mark.word is None else (mark.word == YES, mark.word != NO)
    return Outcome(mark.session, mark.session, mark.turn, satisfied, holds, parts)


def tally_marks(marks: Iterable[Mark], turns: Mapping[str, int]) -> Tally:
    """Totals a metric and session of one model; a turn that it lacks is one of which nothing is known."""
    found = list(marks)
    there = {(mark.session, mark.turn) for mark in found}
    sessions = {session for session, _ in there}
    missing = [
        Outcome(session, session, turn, None, None)
        for session in sessions
        for turn in range(1, turns[session] + 1)
        if (session, turn) not in there
    ]
    return tally([*map(as_outcome, found), *missing], by_turn=True)


def score_models(marks: Marks, turns: Mapping[str, int], *, resamples: int) -> list[ModelScore]:
    """CSR, ISR and SSR of each model with intervals over sessions, and their parts."""
    bootstrap = Bootstrap(turns, resamples=resamples, seed=SEED)
    return [_score(model, found, turns, bootstrap) for model, found in marks.by_model.items()]


def _score(model: str, marks: list[Mark], turns: Mapping[str, int], bootstrap: Bootstrap) -> ModelScore:
    totals = tally_marks(marks, turns)
    measured = {metric: bootstrap.measure(totals[metric]) for metric in MAIN_METRICS if metric in totals}
    by: dict[str, dict[str, dict[str, Share]]] = defaultdict(lambda: defaultdict(dict))
    for name, of_sessions in totals.items():
        metric, _, part = name.partition("/")
        if part:
            kind, _, value = part.partition("/")
            n = sum(total.n for total in of_sessions.values())
            by[kind][value][metric] = Share(value=percent(mean(of_sessions)), n=n)
    sessions = len({mark.session for mark in marks})
    return ModelScore(
        model=model,
        **{metric: percent(measured[metric].value) if metric in measured else None for metric in MAIN_METRICS},
        intervals={
            metric: Interval(low=percent(found.low), high=percent(found.high))
            for metric, found in measured.items()
            if found.low is not None and found.high is not None
        },
        n={metric: found.n for metric, found in measured.items()},
        by={kind: dict(values) for kind, values in by.items()},
        other_words=dict(Counter(mark.word for mark in marks if mark.word not in (YES, NO, None)).most_common()),
        unjudged=sum(mark.word is None for mark in marks),
        no_ssr=sessions - (measured[SSR].n if SSR in measured else 0),
    )


def percent(share: float) -> float:
    """A share in percent, without the noise of floating point: 80.4, and not 80.40000000000001."""
    return round(100 * share, 6)


def score_file(path: Path, history: History, *, resamples: int = RESAMPLES) -> SysBenchScore:
    """What the models of a file of verdicts come to.

    Raises:
        ImportFileError: It cannot be read, or has no verdict after this history.
    """
    chosen: list[Mark] = []
    refused, shown = 0, []
    for mark in read_marks(path):
        if isinstance(mark, Refused):
            refused += 1
            shown += [f"line {mark.line}: {mark.what}"] if refused <= SHOWN else []
        elif mark.history in (history, None):
            chosen.append(mark)
    if not chosen:
        raise ImportFileError(
            f"{path} has no verdict with the history {history}; rows that cannot be read: {refused}"
            + (f", the first: {shown[0]}." if shown else "."),
            next_step="Give the other --history, or another file; docs/evaluation.md says what one holds.",
        )
    words = Counter(mark.word for mark in chosen if mark.word is not None)
    if words and not words[YES] and not words[NO]:
        # else every criterion would be neither satisfied nor failed: CSR 0, and ISR and SSR 100
        found = ", ".join(repr(word) for word, _ in words.most_common(3))
        raise ImportFileError(
            f"None of the verdicts of {path} is {YES} or {NO}; verdict_raw holds {found}.",
            next_step=f"Write them as {YES} and {NO}, or as true and false in a column `satisfied` instead.",
        )
    marks = sort_marks(chosen)
    turns = count_turns(marks)
    return SysBenchScore(
        file=path.name,
        history=history,
        history_known=all(mark.history for mark in chosen),
        models=score_models(marks, turns, resamples=resamples),
        sessions=len(turns),
        rows=sum(map(len, marks.by_model.values())),
        repeated=marks.repeated,
        contradicting=marks.contradicting,
        refused=refused,
        refused_first=shown,
        other_lengths=sum(count != TURNS for count in turns.values()),
        seed=SEED,
        resamples=resamples,
    )
