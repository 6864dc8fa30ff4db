"""One pair with everything that a person wants to see of it, read from the parts of the run."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field

from models.arrow import arrow_schema, from_table
from models.base import Language, Strict
from models.prompting import constraint_line, render_system_prompt, reverse_in
from models.records import (
    Judgment,
    Origin,
    PartRef,
    Response,
    Reversal,
    SystemProfile,
    Turn,
    Verdict,
    VoteSplit,
)
from storage.browse import index_sql
from storage.browse.index import PairIndex
from storage.migrated import current_path
from storage.parts import PartStore

Record = TypeVar("Record", bound=BaseModel)

_OPPOSITE: dict[Verdict, Verdict] = {"followed": "violated", "violated": "followed"}


class VerdictView(Strict):
    """What was judged of one response for one constraint."""

    judged: Verdict = Field(description="The verdict on the original constraint.")
    verdict: Verdict = Field(description="The verdict on the constraint as it stands in the rewritten prompt.")
    reason: str
    judge: str
    votes: int
    split: VoteSplit | None


class ConstraintView(Strict):
    """A constraint of the rewritten prompt beside the original one."""

    constraint_id: str
    kind: str
    text: str = Field(description="As the policy reads it in the rewritten prompt.")
    original: str | None = Field(description="What it was before it was reversed; null: it is not.")
    method: str | None = Field(description="Who reversed it; null: it is not.")
    triggered: bool
    differs: bool = Field(description="Whether the rejected response violates it, as it is written here.")
    chosen: VerdictView | None = Field(description="null: nobody was asked.")
    rejected: VerdictView | None = Field(description="null: nobody was asked.")


class ResponseView(Strict):
    """A response and where it came from."""

    response_id: str
    text: str
    model: str
    sample: int
    origin: Origin
    finish_reason: str
    tokens: int
    part: str = Field(description="Path of the part, under DATA.")


class MessageView(Strict):
    """What was said before the response."""

    role: Literal["user", "assistant"]
    text: str
    turn: int
    model: str | None = Field(description="Who wrote a reference response; null: the user speaks.")
    origin: Origin | None


class PairView(Strict):
    """Everything on one screen."""

    pair_id: str
    place: int = Field(description="Place among all pairs of the run, from 0.")
    run: str
    language: Language
    role_id: str
    role: str
    dialogue_id: str
    turn: int
    margin: int
    noise_case: int
    proven: bool | None = Field(description="Whether the audit proved it; null: it was not audited.")
    opening: str = Field(description="The system prompt before its constraints.")
    constraints: list[ConstraintView]
    messages: list[MessageView]
    chosen: ResponseView
    rejected: ResponseView


def read_pair(index: PairIndex, store: PartStore, run: str, place: int) -> PairView:
    """The pair at a place.

    Raises:
        StorageError: A part is missing or damaged.
    """
    parts = _Parts(index, store)
    found = parts.row(index_sql.PAIR, {"place": place})
    turns = parts.read("turns", Turn, found["turns_part"], dialogue_id=found["dialogue_id"])
    earlier = sorted((turn for turn in turns if turn.turn < found["turn"]), key=lambda turn: turn.turn)
    (turn,) = (turn for turn in turns if turn.turn == found["turn"])
    (system,) = parts.read("systems", SystemProfile, found["systems_part"], system_id=found["system_id"])
    chosen, chosen_verdicts = parts.response(found, "chosen")
    rejected, rejected_verdicts = parts.response(found, "rejected")
    reversals: dict[str, Reversal] = {}
    if found["reversals_part"]:
        rows = parts.read("reversals", Reversal, found["reversals_part"], system_id=found["system_id"])
        reversals = {row.constraint_id: row for row in rows if row.constraint_id in found["reversed_ids"]}
    return PairView(
        run=run,
        language=system.language,
        role_id=system.role_id,
        role=system.name or system.role_id,
        **{name: found[name] for name in ("pair_id", "place", "dialogue_id", "turn", "margin", "noise_case", "proven")},
        opening=_opening(system),
        constraints=_constraints(system, turn, reversals, chosen_verdicts, rejected_verdicts),
        messages=_messages(earlier, turn),
        chosen=chosen,
        rejected=rejected,
    )


class _Parts:
    """Rows by their ids, from the parts that the index names."""

    def __init__(self, index: PairIndex, store: PartStore) -> None:
        self._db, self._store = index.cursor(), store

    def row(self, sql: str, given: dict[str, Any]) -> dict[str, Any]:
        cursor = self._db.execute(sql, given)
        names = [column[0] for column in cursor.description or []]
        (row,) = cursor.fetchall()
        return dict(zip(names, row, strict=True))

    def read(self, dataset: str, model: type[Record], key: str, **where: str) -> list[Record]:
        """The rows of a part that have this id."""
        file = str(current_path(self._store, PartRef(dataset=dataset, key=key, rows=0)))
        columns = ", ".join(f'"{name}"' for name in arrow_schema(model).names)
        (column, value), *_ = where.items()
        sql = f"SELECT {columns} FROM read_parquet([$file], union_by_name = true) WHERE {column} = $value"
        return list(from_table(model, self._db.sql(sql, params={"file": file, "value": value}).to_arrow_table()))

    def response(self, found: dict[str, Any], side: str) -> tuple[ResponseView, dict[str, Judgment]]:
        """A response, and what was judged of it by constraint."""
        response_id, part = found[f"{side}_id"], found[f"{side}_part"]
        (row,) = self.read("responses", Response, part, response_id=response_id)
        judged = self.read("judgments", Judgment, found[f"{side}_judged"], response_id=response_id)
        view = ResponseView(
            **row.model_dump(include={"response_id", "text", "model", "sample", "origin", "finish_reason"}),
            tokens=row.completion_tokens,
            part=f"responses/{part}.parquet",
        )
        return view, {judgment.constraint_id: judgment for judgment in judged}


def _opening(system: SystemProfile) -> str:
    """The prompt without the heading of its constraints, which have a table of their own."""
    prompt = render_system_prompt(system, [])
    return prompt.rpartition("\n\n")[0] or prompt


def _constraints(
    system: SystemProfile,
    turn: Turn,
    reversals: dict[str, Reversal],
    chosen: dict[str, Judgment],
    rejected: dict[str, Judgment],
) -> list[ConstraintView]:
    views = []
    for original, rewritten in zip(system.constraints, reverse_in(system.constraints, reversals), strict=True):
        reversal = reversals.get(original.constraint_id)
        better, worse = (
            _verdict(side.get(original.constraint_id), reversal is not None) for side in (chosen, rejected)
        )
        views.append(
            ConstraintView(
                constraint_id=original.constraint_id,
                kind=original.kind,
                text=constraint_line(rewritten, system.language),
                original=constraint_line(original, system.language) if reversal else None,
                method=reversal.method if reversal else None,
                triggered=original.constraint_id in turn.triggered_ids,
                differs=better is not None and worse is not None and worse.verdict == "violated",
                chosen=better,
                rejected=worse,
            )
        )
    return views


def _verdict(judgment: Judgment | None, is_reversed: bool) -> VerdictView | None:
    if judgment is None:
        return None
    return VerdictView(
        judged=judgment.verdict,
        verdict=_OPPOSITE.get(judgment.verdict, judgment.verdict) if is_reversed else judgment.verdict,
        **judgment.model_dump(include={"reason", "judge", "votes", "split"}),
    )


def _messages(earlier: list[Turn], turn: Turn) -> list[MessageView]:
    messages = []
    for played in earlier:
        messages.append(MessageView(role="user", text=played.query, turn=played.turn, model=None, origin=None))
        messages.append(
            MessageView(
                role="assistant",
                text=played.reference,
                turn=played.turn,
                model=played.reference_model,
                origin=played.reference_origin,
            )
        )
    messages.append(MessageView(role="user", text=turn.query, turn=turn.turn, model=None, origin=None))
    return messages
