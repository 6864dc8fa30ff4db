"""Imported dialogues as the factory's own records, in parts of the run: any stage can be the entry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from models.answers import GivenConstraint, GivenDialogue, GivenResponse, GivenTurn
from models.base import Language, digest
from models.prompting import triggered_ids
from models.records import (
    Constraint,
    Exclusion,
    Judgment,
    PartRef,
    Response,
    SystemProfile,
    Turn,
    UserProfile,
    Verdict,
)
from models.settings import FactorySettings
from storage.imports.dialogue_rows import Found, RowCounts
from storage.imports.spool import Spooled, group_rows
from storage.parts import PartStore
from tasks.identity import part_key
from tasks.judging import decide, satisfaction
from tasks.llm.prompts.scripts import is_written_in

IMPORTED = "imported"
"""In the place of who wrote a system or user, and of why a model stopped."""

STAGE = "import_answers"


class Entered(NamedTuple):
    """The parts of some dialogues: each was made from those before it."""

    systems: PartRef
    users: PartRef
    turns: PartRef
    responses: PartRef
    judgments: PartRef | None


@dataclass
class Records:
    """The records of one dialogue."""

    system: SystemProfile
    turns: list[Turn] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)
    judgments: list[Judgment] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    """Responses that are no record, by the reason."""


def system_of(given: GivenDialogue) -> SystemProfile:
    """The system of a dialogue; its ids follow from what it says, so that it is the same one in every dialogue."""
    parts: dict[str, Any]
    if isinstance(given.system, str):
        parts = {"name": "", "description": given.system, "skills": []}
    else:
        parts = given.system.model_dump()
    language = given.language or ("zh" if is_written_in(parts["description"], "zh") else "en")
    demands = [constraint.model_dump(exclude={"id"}) for constraint in given.constraints]
    system_id = digest([STAGE, parts, language, given.role, demands], length=16)
    return SystemProfile(
        system_id=system_id,
        role_id=given.role,
        language=language,
        **parts,
        questions=[],
        constraints=[_constraint(system_id, place, item) for place, item in enumerate(given.constraints)],
        author=IMPORTED,
    )


def _constraint(system_id: str, place: int, given: GivenConstraint) -> Constraint:
    return Constraint(
        constraint_id=digest([system_id, place], length=16),
        text=given.text,
        kind=given.check.kind if given.check else given.kind,
        trigger=given.trigger,
        check=given.check,
    )


def user_of(language: Language) -> UserProfile:
    """Who asks in an imported dialogue: nobody knows, and the record says so."""
    return UserProfile(
        user_id=digest([STAGE, "user", language], length=16),
        persona_id=IMPORTED,
        language=language,
        persona="Unknown: the queries were imported.",
        profile="Unknown: the queries were imported.",
        tone="unknown",
        openings=[],
        author=IMPORTED,
    )


def records_of(given: GivenDialogue, *, judged: bool) -> Records:
    """The records of a dialogue; with its verdicts where it is ``judged``."""
    made = Records(system_of(given))
    names = {item.id: constraint for item, constraint in zip(given.constraints, made.system.constraints, strict=True)}
    played = [[turn.query, turn.reference] for turn in given.turns]
    dialogue_id = digest([made.system.system_id, played], length=16)
    for number, turn in enumerate(given.turns, 1):
        record = _turn(turn, dialogue_id, number, made.system, names)
        made.turns.append(record)
        for sample, response in enumerate(turn.responses):
            if not response.text.strip():
                made.left_out["empty"] += 1
                continue
            made.responses.append(_response(response, record, sample))
            if judged:
                made.judgments += _judgments(response, made.responses[-1], record, made.system, names)
    return made


def _turn(
    given: GivenTurn, dialogue_id: str, number: int, system: SystemProfile, names: Mapping[str, Constraint]
) -> Turn:
    triggered = (
        triggered_ids(system.constraints, given.query)
        if given.triggered is None
        else [names[name].constraint_id for name in given.triggered]
    )
    return Turn(
        dialogue_id=dialogue_id,
        turn=number,
        system_id=system.system_id,
        user_id=user_of(system.language).user_id,
        query=given.query,
        triggered_ids=triggered,
        reference=given.reference or "",
        reference_score=_score(given, [c for c in system.constraints if c.constraint_id in triggered]),
        reference_model=given.reference_model,
    )


def _score(given: GivenTurn, triggered: Sequence[Constraint]) -> float:
    """Of the reference response: by the verdicts on it where it is one of the responses, else by the checks."""
    for response in given.responses:
        if response.text == given.reference and response.verdicts:
            return satisfaction([item.verdict for item in response.verdicts])
    return satisfaction([decide(constraint, given.reference or "", given.query) for constraint in triggered])


def _response(given: GivenResponse, turn: Turn, sample: int) -> Response:
    return Response(
        response_id=digest([turn.dialogue_id, turn.turn, sample, given.model, given.text], length=16),
        dialogue_id=turn.dialogue_id,
        turn=turn.turn,
        sample=sample,
        text=given.text,
        model=given.model,
        finish_reason=IMPORTED,
        prompt_tokens=0,
        completion_tokens=0,
        origin="sampled",
    )


def _judgments(
    given: GivenResponse, response: Response, turn: Turn, system: SystemProfile, names: Mapping[str, Constraint]
) -> Iterator[Judgment]:
    """A verdict on every triggered constraint: as given, or unscored where none is."""
    verdicts = {names[item.id].constraint_id: item for item in given.verdicts or ()}
    for position, constraint in enumerate(system.constraints):
        if constraint.constraint_id not in turn.triggered_ids:
            continue
        said = verdicts.get(constraint.constraint_id)
        verdict: Verdict = said.verdict if said else "unscored"
        yield Judgment(
            response_id=response.response_id,
            constraint_id=constraint.constraint_id,
            dialogue_id=turn.dialogue_id,
            turn=turn.turn,
            position=position,
            verdict=verdict,
            reason=said.reason if said else "no verdict on it was given",
            judge=given.judge or "nobody",
            votes=1,
        )


def group_by_system(found: Iterable[Found], scratch: Path) -> Iterator[Found]:
    """The dialogues of each system after each other; all of the file is read before the first one comes.

    Raises:
        StorageError: The disk is full.
    """
    rows = (
        Spooled(system_of(item.dialogue).system_id, item.line, item.dialogue.model_dump_json(exclude_none=True))
        for item in found
    )
    for row in group_rows(rows, scratch):
        yield Found(row.line, GivenDialogue.model_validate_json(row.text))


def enter_dialogues(
    store: PartStore, settings: FactorySettings, found: Iterable[Found], counts: RowCounts, *, judged: bool
) -> Iterator[Entered]:
    """Store dialogues as parts, ``batch_size`` dialogues in each; a system stands in one part, whatever its dialogues.

    Parts that are there already are found again. What was left out is an ``exclusions`` part beside the responses.

    Args:
        store: Where the parts go.
        settings: The settings of the run.
        found: The dialogues, those of one system after each other.
        counts: Told of a dialogue that comes twice.
        judged: Whether their verdicts are taken.
    """
    batch: list[Records] = []
    known: set[str] = set()
    last = ""
    shared: PartRef | None = None  # the part with the system of the batch, where it has dialogues in an earlier part
    for item in found:
        made = records_of(item.dialogue, judged=judged)
        goes_on, last = made.system.system_id == last, made.system.system_id
        if batch and (len(batch) >= settings.batch_size or (shared and not goes_on)):
            entered = _write(store, settings, batch, shared, judged=judged)
            yield entered
            batch, shared = [], entered.systems
        if not goes_on:
            shared = None
            known.clear()
        if made.turns[0].dialogue_id in known:
            counts.refuse(item.line, "duplicate", "turns", "the dialogue stands in the file already")
            continue
        known.add(made.turns[0].dialogue_id)
        batch.append(made)
    if batch:
        yield _write(store, settings, batch, shared, judged=judged)


def _write(
    store: PartStore,
    settings: FactorySettings,
    batch: Sequence[Records],
    shared: PartRef | None,
    *,
    judged: bool,
) -> Entered:
    left_out = sum((made.left_out for made in batch), Counter[str]())

    def write(dataset: str, rows: Sequence[BaseModel], *inputs: PartRef) -> PartRef:
        content = [row.model_dump(mode="json") for row in rows]
        key = part_key(STAGE, settings, inputs, dataset, left_out, content)
        return store.find(dataset, key) or store.write(dataset, key, rows, inputs=inputs)

    profiles = {made.system.system_id: made.system for made in batch}
    languages = sorted({profile.language for profile in profiles.values()})
    systems = shared or write("systems", list(profiles.values()))
    users = write("users", [user_of(language) for language in languages])
    turns = write("turns", [turn for made in batch for turn in made.turns], systems, users)
    responses = write("responses", [response for made in batch for response in made.responses], turns)
    judgments = write("judgments", [row for made in batch for row in made.judgments], responses) if judged else None
    if left_out and store.find("exclusions", responses.key) is None:
        rows = [
            Exclusion(stage=STAGE, reason=reason, what="responses", count=count)
            for reason, count in sorted(left_out.items())
        ]
        store.write("exclusions", responses.key, rows, inputs=[turns])
    return Entered(systems, users, turns, responses, judgments)
