"""The released RPO records with responses and verdicts ("detail for DPO"): a dialogue a row.

Verdicts stand beside the text of their constraint. Only equal texts are the same constraint: a text that is merely
near another one may be its opposite.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from models.answers import (
    AnswersFile,
    GivenConstraint,
    GivenDialogue,
    GivenResponse,
    GivenSystem,
    GivenTurn,
    GivenVerdict,
)
from models.records import Verdict
from storage.imports.dialogue_rows import Found, RowCounts, explain

_SAID: dict[str, Verdict] = {"true": "followed", "false": "violated", "是": "followed", "否": "violated"}
"""As they were written by the released code, for which what does not apply is true."""

_Text = Annotated[str, BeforeValidator(lambda value: value.strip() if isinstance(value, str) else value)]
_Texts = Annotated[list[_Text], BeforeValidator(lambda value: value or [])]


class _Verdict(BaseModel):
    constrain: _Text
    reason: str | None = Field(default="", alias="评判理由")
    said: Any = Field(alias="评判结果")


class _Response(BaseModel):
    response: str
    source: str | None = None
    judge_model: str | None = None
    detail: list[_Verdict] = []


class _Turn(BaseModel):
    query: str
    sft_response: str | None = None
    evaluate_point_list: _Texts = []
    finegrain_score: list[_Response] = []


class _Profile(BaseModel):
    name: str = Field(alias="名称")
    description: str = Field(alias="描述")
    skills: _Texts = Field(alias="技能", default=[])
    constraints: _Texts = Field(alias="约束", default=[])


class DetailRow(BaseModel):
    """The fields of a row that are used; scores and rates follow from the verdicts."""

    structure_system_prompt: _Profile
    infer_history: list[_Turn] = Field(min_length=1)


def read_details(file: AnswersFile, counts: RowCounts) -> Iterator[Found]:
    """The dialogues of a file of released records.

    Raises:
        ImportFileError: The file cannot be read at all.
    """
    for item in counts.read(Path(file.path)):
        try:
            yield Found(item.line, _dialogue(DetailRow.model_validate(item.values), item.line, counts))
        except ValidationError as error:
            counts.refuse(item.line, "wrong_value", *explain(error))


def _dialogue(row: DetailRow, line: int, counts: RowCounts) -> GivenDialogue:
    profile = row.structure_system_prompt
    points = [point for turn in row.infer_history for point in turn.evaluate_point_list]
    names = {text: f"c{place}" for place, text in enumerate(dict.fromkeys([*profile.constraints, *points]), 1)}
    return GivenDialogue(
        system=GivenSystem(name=profile.name, description=profile.description, skills=profile.skills),
        constraints=[GivenConstraint(id=name, text=text) for text, name in names.items()],
        turns=[
            GivenTurn(
                query=turn.query,
                triggered=list(dict.fromkeys(names[point] for point in turn.evaluate_point_list)),
                reference=turn.sft_response,
                responses=list(_responses(turn, f"infer_history.{place}", names, line, counts)),
            )
            for place, turn in enumerate(row.infer_history)
        ],
    )


def _responses(turn: _Turn, where: str, names: dict[str, str], line: int, counts: RowCounts) -> Iterator[GivenResponse]:
    """The responses to a turn; one with a verdict on what the turn does not demand is refused."""
    wanted = set(turn.evaluate_point_list)
    for place, given in enumerate(turn.finegrain_score):
        strange = next((number for number, item in enumerate(given.detail) if item.constrain not in wanted), None)
        if strange is not None:
            field = f"{where}.finegrain_score.{place}.detail.{strange}.constrain"
            counts.refuse(line, "unknown_constraint", field, "its text is none of the turn's evaluate_point_list")
            continue
        verdicts: dict[str, GivenVerdict] = {}
        for item in given.detail:
            name = names[item.constrain]
            verdict = _verdict(name, item)
            if name in verdicts and verdicts[name].verdict != verdict.verdict:
                verdict = GivenVerdict(id=name, verdict="unscored", reason="two verdicts that contradict each other")
            verdicts[name] = verdict
        yield GivenResponse(
            text=given.response,
            model=given.source or "unknown",
            judge=given.judge_model or "unknown",
            verdicts=list(verdicts.values()),
        )


def _verdict(name: str, item: _Verdict) -> GivenVerdict:
    verdict = _SAID.get(str(item.said).strip().lower(), "unscored")
    reason = item.reason or ""
    if verdict == "unscored":
        reason = f"the verdict given is {str(item.said)[:80]!r}; {reason}".strip("; ")
    return GivenVerdict(id=name, verdict=verdict, reason=reason)
