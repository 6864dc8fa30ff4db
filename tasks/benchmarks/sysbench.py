"""SysBench: sessions under a system prompt, every answer judged by a list of criteria.

Qin et al. 2024, "SysBench: Can Large Language Models Follow System Messages?", arXiv:2408.10943.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from models.base import Language, Verdict
from models.benchmarks import BenchmarkTurn, Score
from models.records import PartRef, Response
from models.sysbench import NO, YES, Mark
from tasks.batch import Batch, stage_task
from tasks.benchmarks.base import Averages, Benchmark
from tasks.benchmarks.sysbench_sessions import read_sysbench
from tasks.llm.prompts import judge
from tasks.measures import MAIN_METRICS, Tally, tally
from tasks.sysbench_scores import as_outcome
from tasks.voting import Inquiry, Opinion, put_to_judge

AVERAGE = "average"
"""The mean of CSR, ISR and SSR, which papers give beside them."""

Place = tuple[str, int]
"""A dialogue and a turn of it."""


@stage_task(produces="scores")
def score_sysbench(batch: Batch, responses: PartRef) -> Iterator[Score]:
    """The judge's verdict on every criterion of every turn, with the turns before it in sight.

    A turn without a response (its call failed for good) is unscored: so its session has no SSR.
    """
    turns = batch.read_upstream(responses, "benchmark_turns", BenchmarkTurn)
    answers = {(answer.dialogue_id, answer.turn): answer for answer in batch.read(responses, Response)}
    answered = [turn for turn in turns if turn.instructions and (turn.dialogue_id, turn.turn) in answers]
    histories = _histories(turns, answers)
    inquiries = [
        _inquire(turn, histories[turn.dialogue_id, turn.turn], answers[turn.dialogue_id, turn.turn].text)
        for turn in answered
    ]
    judged = put_to_judge(batch, inquiries)
    opinions = {(turn.dialogue_id, turn.turn): found for turn, found in zip(answered, judged, strict=True)}
    for turn in turns:
        place = (turn.dialogue_id, turn.turn)
        yield from _scores(turn, answers.get(place), opinions.get(place, []))


def _histories(turns: Iterable[BenchmarkTurn], answers: Mapping[Place, Response]) -> dict[Place, list[tuple[str, str]]]:
    """What came before each turn, as the model has seen it: queries with their answers."""
    told: dict[str, list[tuple[str, str]]] = defaultdict(list)
    histories = {}
    for turn in turns:
        histories[turn.dialogue_id, turn.turn] = list(told[turn.dialogue_id])
        answer = answers.get((turn.dialogue_id, turn.turn))
        said = turn.given if turn.given is not None else answer.text if answer else ""
        told[turn.dialogue_id].append((turn.query, said))
    return histories


def _inquire(turn: BenchmarkTurn, earlier: list[tuple[str, str]], response: str) -> Inquiry:
    language: Language = "zh" if turn.language == "zh" else "en"
    demands = [instruction.text for instruction in turn.instructions]
    messages = judge.lay_out(language, turn.system or "", earlier, turn.query, response, demands)
    return Inquiry(messages, len(demands), language)


def _scores(turn: BenchmarkTurn, answer: Response | None, opinions: Sequence[Opinion]) -> Iterator[Score]:
    for position, instruction in enumerate(turn.instructions):
        opinion = opinions[position] if opinions else None
        yield Score(
            response_id=answer.response_id if answer else "",
            dialogue_id=turn.dialogue_id,
            turn=turn.turn,
            position=position,
            kind=instruction.kind,
            labels=turn.labels,
            verdict=opinion.verdict if opinion else "unscored",
            reason=opinion.reason if opinion else "there is no response",
            judge=opinion.judge if opinion else "nobody",
        )


_WORDS: dict[Verdict, str | None] = {
    "followed": YES,
    "violated": NO,
    "not_applicable": "not_applicable",
    "unscored": None,
}
"""A verdict as SysBench's judge would say it; None: nobody has judged."""


def tally_sysbench(scores: Iterable[Score]) -> Tally:
    """Totals a metric and session, counted as SysBench counts its own verdicts."""
    marks = (
        Mark(
            model="",
            history=None,
            session=score.dialogue_id,
            turn=score.turn,
            criterion=str(score.position),
            word=_WORDS[score.verdict],
            kind=score.kind,
            labels=tuple(score.labels),
        )
        for score in scores
    )
    return tally(map(as_outcome, marks), by_turn=True)


def average_sysbench(metrics: Collection[str]) -> Averages:
    """The mean of the three, where there are all three."""
    return {AVERAGE: MAIN_METRICS} if set(MAIN_METRICS) <= set(metrics) else {}


SYSBENCH = Benchmark(
    name="sysbench",
    read=read_sysbench,
    score=score_sysbench,
    tally=tally_sysbench,
    averages=average_sysbench,
    main=(*MAIN_METRICS, AVERAGE),
    asks_judge=True,
)
