"""Dialogues with their responses as others bring them: the layout that every import of answers comes down to.

One row is one dialogue, with all responses to each of its turns. ``docs/importing-answers.md`` shows it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from models.arrow import StoredAsJson
from models.base import Language, Strict
from models.constraints import Check, Trigger
from models.records import MAX_CONSTRAINTS, Verdict
from models.sysbench import History

Layout = Literal["rpo", "sysbench", "detail"]


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("it is empty")
    return text


Text = Annotated[str, AfterValidator(_not_blank)]
"""A text that says something; it is kept as it is."""

Id = Annotated[str, Field(coerce_numbers_to_str=True), AfterValidator(_not_blank)]
"""What a dialogue names a constraint by: a text or a number."""


def _without_nulls(values: Any) -> Any:
    """A column of Parquet has a null where a field of JSON is simply not there."""
    return {name: value for name, value in values.items() if value is not None} if isinstance(values, dict) else values


class _Given(Strict):
    @model_validator(mode="before")
    @classmethod
    def _fields_that_are_there(cls, values: Any) -> Any:
        return _without_nulls(values)


class GivenSystem(_Given):
    """A role in parts; its constraints are listed under it, as in the factory's own prompts."""

    name: Text = Field(description="What the role is called.")
    description: Text = Field(description="What the role is and does.")
    skills: list[Text] = Field(default=[], description="What the role is good at.")


class GivenConstraint(_Given):
    """One constraint of the system prompt."""

    id: Id = Field(description="How the turns and verdicts of this dialogue name it.")
    text: Text = Field(description="The demand, without its trigger.")
    kind: Text = Field(
        default="given", description="Kind of the constraint, to count by; the check's where it has one."
    )
    trigger: StoredAsJson[Trigger] = Field(default=None, description="When it applies; empty: always.")
    check: StoredAsJson[Check] = Field(default=None, description="The predicate that decides it; empty: a judge does.")


class GivenVerdict(_Given):
    """What a judge said of one constraint."""

    id: Id = Field(description="The constraint.")
    verdict: Verdict = Field(description="followed, violated, not_applicable, or unscored.")
    reason: str = Field(default="", description="Why.")


class GivenResponse(_Given):
    """One response to a turn."""

    text: str = Field(description="The response; an empty one is left out, and counted.")
    model: Text = Field(default="unknown", description="Who wrote it.")
    judge: Text | None = Field(default=None, description="Who gave its verdicts.")
    verdicts: list[GivenVerdict] | None = Field(
        default=None, description="What the judge said, constraint by constraint."
    )

    @model_validator(mode="after")
    def _one_verdict_each(self) -> GivenResponse:
        ids = [verdict.id for verdict in self.verdicts or ()]
        if len(set(ids)) < len(ids):
            raise ValueError("two verdicts on one constraint")
        if self.verdicts is not None and self.judge is None:
            raise ValueError("verdicts need a judge: the name of who gave them")
        return self


class GivenTurn(_Given):
    """A query and the responses to it, all sampled after the same history."""

    query: Text = Field(description="What the user says.")
    triggered: list[Id] | None = Field(
        default=None, description="Ids of the constraints that apply; empty: those whose trigger fires."
    )
    reference: str | None = Field(
        default=None, description="The answer with which the dialogue went on; every turn but the last needs it."
    )
    reference_model: Text = Field(default="given", description="Who wrote it.")
    responses: list[GivenResponse] = Field(default=[], description="What was sampled; none: the turn is history only.")


class GivenDialogue(_Given):
    """One dialogue with a system prompt; of a file one row."""

    system: Annotated[Text | GivenSystem, BeforeValidator(_without_nulls)] = Field(
        description="The whole system prompt as the models read it, its demands included; or a role in parts."
    )
    language: Language | None = Field(default=None, description="en or zh; empty: told by the script of the system.")
    role: Text = Field(default="unknown", description="What the systems of one role share, for statistics.")
    constraints: list[GivenConstraint] = Field(
        min_length=1, max_length=MAX_CONSTRAINTS, description="The demands of the system prompt, one by one."
    )
    turns: list[GivenTurn] = Field(min_length=1, description="Its turns, from the first.")

    @model_validator(mode="after")
    def _consistent(self) -> GivenDialogue:
        ids = [constraint.id for constraint in self.constraints]
        if len(set(ids)) < len(ids):
            raise ValueError("two constraints have one id")
        for number, turn in enumerate(self.turns, 1):
            named = set(turn.triggered or ()) | {v.id for r in turn.responses for v in r.verdicts or ()}
            if strangers := sorted(named - set(ids)):
                raise ValueError(f"turn {number} names {strangers[0]!r}, which is no constraint of the dialogue")
            if turn.triggered is not None:
                judged = {verdict.id for response in turn.responses for verdict in response.verdicts or ()}
                if untriggered := sorted(judged - set(turn.triggered)):
                    raise ValueError(f"turn {number} has a verdict on {untriggered[0]!r}, which it does not trigger")
            if turn.reference is None and number < len(self.turns):
                raise ValueError(f"turn {number} has no reference, and turn {number + 1} follows it")
        return self


class AnswersFile(Strict):
    """A file of answers, and how to read it."""

    path: str = Field(default="answers.jsonl", description="The file: JSON lines, a JSON list, CSV or Parquet.")
    layout: Layout = Field(
        default="rpo",
        description="rpo: a dialogue a row (docs/importing-answers.md); sysbench: a verdict a row, as in SysBench's "
        "tables; detail: a dialogue of the released RPO records.",
    )
    history: History = Field(
        default="gt",
        description="Of sysbench: the answers after the ground-truth history (gt), or after each model's own (own).",
    )
    judge: str = Field(default="gpt-4o", min_length=1, description="Of sysbench: who gave the verdicts.")
