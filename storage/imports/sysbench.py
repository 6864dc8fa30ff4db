"""SysBench's verdicts, a row a response and criterion, as dialogues with their responses.

Responses of a turn are comparable where their history is the same: with the ground-truth history all of them, with
each model's own only those of models that said the same so far, so in the first turn all.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints, ValidationError

from models.answers import (
    AnswersFile,
    GivenConstraint,
    GivenDialogue,
    GivenResponse,
    GivenTurn,
    GivenVerdict,
)
from models.records import Verdict
from models.sysbench import NO, YES, History
from storage.imports.dialogue_rows import Found, RowCounts, explain
from storage.imports.spool import Spooled, group_rows

_Text = Annotated[str, StringConstraints(min_length=1)]
_Cell = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]
"""A text that may be empty, for which Parquet has a null."""

_VERDICTS: dict[str, Verdict] = {YES: "followed", NO: "violated"}
"""What the judge was offered; another answer (不适用, 部分, ...) is unscored: nobody knows what it would have been."""

GROUND_TRUTH = "SysBench"


class CriterionRow(BaseModel):
    """The columns of a row that are used; others (domain, scores of the turn) are passed over."""

    model: _Text
    history_kind: History
    system_id: int
    turn: int = Field(ge=1)
    system_prompt: _Text
    user_query: _Text
    reference_answer: _Cell = ""
    response: _Cell
    criterion_id: int
    criterion_text: _Text
    criterion_type: _Text
    verdict_raw: _Cell


class _Line(NamedTuple):
    number: int
    row: CriterionRow


def read_sysbench(file: AnswersFile, scratch: Path, counts: RowCounts) -> Iterator[Found]:
    """The dialogues of a file in SysBench's layout, those of one system after each other.

    Args:
        file: The file.
        scratch: A folder for what memory does not hold.
        counts: What became of the rows; complete at the end.

    Raises:
        ImportFileError: The file cannot be read at all.
        StorageError: The disk is full.
    """
    for _, rows in groupby(group_rows(_usable(file, counts), scratch), key=lambda row: row.key):
        lines = [_Line(row.line, CriterionRow.model_validate_json(row.text)) for row in rows]
        yield from _Session(file, lines, counts).read()


def _usable(file: AnswersFile, counts: RowCounts) -> Iterator[Spooled]:
    for item in counts.read(Path(file.path), columns=CriterionRow.model_fields):
        try:
            row = CriterionRow.model_validate(item.values)
        except ValidationError as error:
            counts.refuse(item.line, "wrong_value", *explain(error))
            continue
        if row.history_kind != file.history:
            counts.passed_over += 1
        else:
            yield Spooled(str(row.system_id), item.line, row.model_dump_json())


class _Session:
    """All rows of one system prompt."""

    def __init__(self, file: AnswersFile, lines: list[_Line], counts: RowCounts) -> None:
        self._file, self._counts = file, counts
        self._said: dict[Hashable, tuple[Hashable, int]] = {}
        agreeing = [line for line in lines if self._agrees(line)]
        self._turns = self._leading_turns(agreeing)
        self._lines = [line for line in agreeing if self._is_in_a_session(line)]
        self._constraints: dict[tuple[str, str], str] = {}
        for line in sorted(self._lines, key=lambda line: (line.row.turn, line.row.criterion_id)):
            key = (line.row.criterion_text, line.row.criterion_type)
            self._constraints.setdefault(key, f"c{len(self._constraints) + 1}")

    def read(self) -> Iterator[Found]:
        """The dialogues; with the models' own history several."""
        responses = self._responses()
        for turns in self._own(responses) if self._file.history == "own" else self._ground_truth(responses):
            first = self._lines[0]
            try:
                yield Found(
                    first.number,
                    GivenDialogue(
                        system=first.row.system_prompt,
                        role=f"sysbench-{first.row.system_id}",
                        constraints=[
                            GivenConstraint(id=name, text=text, kind=kind)
                            for (text, kind), name in self._constraints.items()
                        ],
                        turns=turns,
                    ),
                )
            except ValidationError as error:
                self._counts.refuse(first.number, "wrong_value", *explain(error))

    def _agrees(self, line: _Line) -> bool:
        """Whether a row says what the rows before it say of the same thing."""
        row = line.row
        whole = (row.model, row.turn)
        claims: dict[str, tuple[Hashable, Hashable]] = {
            "system_prompt": ((), row.system_prompt),
            "user_query": (row.turn, row.user_query),
            "response": (whole, row.response),
            "criterion_text": ((row.turn, row.criterion_id), row.criterion_text),
            "criterion_type": ((row.turn, row.criterion_id), row.criterion_type),
            # a second verdict on the same is one too many, whatever it says
            "criterion_id": ((*whole, row.criterion_id), line.number),
        }
        if self._file.history == "gt":
            claims["reference_answer"] = (row.turn, row.reference_answer)
        for field, (of_what, value) in claims.items():
            known, where = self._said.setdefault((field, of_what), (value, line.number))
            if known != value:
                what = f"not what line {where} says" if field != "criterion_id" else f"line {where} has its verdict"
                self._counts.refuse(line.number, "contradicts", field, what)
                return False
        return True

    def _leading_turns(self, lines: list[_Line]) -> dict[str, int]:
        """How many turns from the first each model has; with the ground truth all models have those of any."""
        turns: dict[str, set[int]] = {}
        for line in lines:
            turns.setdefault(line.row.model, set()).add(line.row.turn)
        if self._file.history == "gt":
            turns = dict.fromkeys(turns, set().union(*turns.values()))
        return {
            model: next(number for number in range(1, len(there) + 2) if number not in there) - 1
            for model, there in turns.items()
        }

    def _is_in_a_session(self, line: _Line) -> bool:
        last = self._turns[line.row.model]
        if line.row.turn > last:
            what = f"turn {last + 1} of its dialogue is missing, so nobody knows what came before"
            self._counts.refuse(line.number, "no_history", "turn", what)
        return line.row.turn <= last

    def _responses(self) -> dict[tuple[str, int], GivenResponse]:
        """The responses by model and turn, models in the order of the file."""
        made: dict[tuple[str, int], tuple[str, list[GivenVerdict]]] = {}
        for line in self._lines:
            row = line.row
            _, verdicts = made.setdefault((row.model, row.turn), (row.response, []))
            if not row.verdict_raw.strip():
                continue
            verdict = _VERDICTS.get(row.verdict_raw.strip(), "unscored")
            reason = (
                "" if verdict != "unscored" else f"the verdict given is {row.verdict_raw!r}, neither {YES} nor {NO}"
            )
            name = self._constraints[row.criterion_text, row.criterion_type]
            verdicts.append(GivenVerdict(id=name, verdict=verdict, reason=reason))
        return {
            key: GivenResponse(text=text, model=key[0], judge=self._file.judge, verdicts=verdicts)
            for key, (text, verdicts) in made.items()
        }

    def _ground_truth(self, responses: Mapping[tuple[str, int], GivenResponse]) -> Iterator[list[GivenTurn]]:
        """The one dialogue, of which all models answered every turn.

        SysBench's tables give, beside turn n, message n of the dialogue: query, answer, query, ... So the answers of
        the later half of the turns are not in the file; the best response to such a turn stands in for its answer.
        """
        given = {line.row.turn: line.row.reference_answer for line in self._lines}
        queries = {line.row.turn: line.row.user_query for line in self._lines}
        are_messages = given.get(1) == queries.get(1)
        turns: list[GivenTurn] = []
        stood_in = False
        for number in sorted(queries):
            self._counts.stand_ins += stood_in
            answers = [responses[model, number] for model in self._turns if (model, number) in responses]
            reference, author = given.get(2 * number if are_messages else number, ""), GROUND_TRUTH
            if not reference.strip():
                best = max(answers, key=_followed)
                reference, author, stood_in = best.text, best.model, True
            turns.append(self._turn(number, reference, author, answers))
        if turns:
            yield turns

    def _own(self, responses: Mapping[tuple[str, int], GivenResponse]) -> Iterator[list[GivenTurn]]:
        """A dialogue for each course that it took; a response stands in the first one that has its history."""
        courses = {
            model: tuple(responses[model, number].text for number in range(1, last + 1))
            for model, last in self._turns.items()
        }
        told: set[tuple[str, ...]] = set()
        for author, course in courses.items():
            turns = []
            for number, reference in enumerate(course, 1):
                before = course[: number - 1]
                same = [] if before in told else [model for model in courses if courses[model][: number - 1] == before]
                told.add(before)
                answers = [responses[model, number] for model in same if (model, number) in responses]
                turns.append(self._turn(number, reference, author, answers))
            while turns and not turns[-1].responses:
                turns.pop()
            if turns:
                yield turns

    def _turn(self, number: int, reference: str, author: str, answers: list[GivenResponse]) -> GivenTurn:
        rows = [line.row for line in self._lines if line.row.turn == number]
        names = {row.criterion_id: self._constraints[row.criterion_text, row.criterion_type] for row in rows}
        return GivenTurn(
            query=rows[0].user_query,
            triggered=[names[criterion] for criterion in sorted(names)],
            reference=reference,
            reference_model=author,
            responses=answers,
        )


def _followed(response: GivenResponse) -> tuple[bool, int]:
    verdicts = [item.verdict for item in response.verdicts or ()]
    return bool(response.text.strip()), verdicts.count("followed")
