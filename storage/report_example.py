"""A couple of a run's own responses, with everything that a person needs to follow what RPO makes of them.

Statement by statement, each with the ids that the one before has found: one that joins all these tables holds half a
gigabyte of a run with a million judgments.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from models.base import Language
from models.records import Constraint, Verdict
from storage.catalog import query
from storage.report_tables import Row, name_columns
from storage.roots import Root

# Of the couples that plain DPO reads worst those that differ most, ...
_CANDIDATES = """
select * from {run}.pairs
order by list_position([4, 3, 2, 5, 1, 6], noise_case), margin desc, pair_id limit 50
"""
_MIRRORS = "select pair_id from {run}.pairs where pair_id in (select unnest($ids))"
_LENGTHS = "select response_id, strlen(text) from {run}.responses where response_id in (select unnest($ids))"
_TEXTS = "select response_id, text from {run}.responses where response_id in (select unnest($ids))"
_TURN = "select query, triggered_ids, system_id from {run}.turns where dialogue_id = $dialogue and turn = $turn"
_SYSTEM = "select name, language, constraints from {run}.systems where system_id = $system"
_VERDICTS = "select response_id, constraint_id, verdict from {run}.judgments where response_id in (select unnest($ids))"
_OPPOSITES = "select constraint_id, text from {run}.reversals where constraint_id in (select unnest($ids))"
_PROVEN = "select bool_and(passed) from {run}.audits where pair_id in (select unnest($ids))"


class Couple(NamedTuple):
    """A pair of the run."""

    chosen_id: str
    rejected_id: str
    margin: int
    noise_case: int
    mirrored: bool
    """Whether the two are a pair the other way round too; where something cannot be reversed they are not."""
    proven: bool
    texts: dict[str, str]
    """By response id."""
    query: str
    role: str
    language: Language
    constraints: list[Constraint]
    """Those that the turn triggers."""
    verdicts: dict[tuple[str, str], Verdict]
    """By response and constraint id."""
    opposites: dict[str, str]
    """Reversed texts by constraint id."""


def find_couple(root: Root, run: str) -> Couple | None:
    """A couple that shows what RPO does, the shortest to read of those that do; None: the run has no pairs."""

    def ask(sql: str, **parameters: object) -> list[Row]:
        return name_columns(query(root, sql.format(run=run), parameters))

    def ask_pairs(sql: str, ids: list[str]) -> dict[str, Any]:
        return dict(query(root, sql.format(run=run), {"ids": ids}).rows)

    candidates = ask(_CANDIDATES)
    if not candidates:
        return None
    mirrors = {row["pair_id"] for row in ask(_MIRRORS, ids=[_mirror(pair) for pair in candidates])}
    lengths = ask_pairs(_LENGTHS, [pair[side] for pair in candidates for side in ("chosen_id", "rejected_id")])

    def rank(place: int) -> tuple[bool, int, int, int, int]:
        pair = candidates[place]
        length = lengths[pair["chosen_id"]] + lengths[pair["rejected_id"]]
        first = next(number for number, other in enumerate(candidates) if other["noise_case"] == pair["noise_case"])
        return _mirror(pair) not in mirrors, first, -pair["margin"], length, place

    pair = candidates[min(range(len(candidates)), key=rank)]
    ids = [pair["chosen_id"], pair["rejected_id"]]
    [turn] = ask(_TURN, dialogue=pair["dialogue_id"], turn=pair["turn"])
    [system] = ask(_SYSTEM, system=turn["system_id"])
    triggered = set(turn["triggered_ids"])
    constraints = [Constraint.model_validate(item) for item in system["constraints"]]
    [[proven]] = query(root, _PROVEN.format(run=run), {"ids": [pair["pair_id"], _mirror(pair)]}).rows
    return Couple(
        chosen_id=pair["chosen_id"],
        rejected_id=pair["rejected_id"],
        margin=pair["margin"],
        noise_case=pair["noise_case"],
        mirrored=_mirror(pair) in mirrors,
        proven=bool(proven),
        texts=ask_pairs(_TEXTS, ids),
        query=turn["query"],
        role=system["name"],
        language=system["language"],
        constraints=[item for item in constraints if item.constraint_id in triggered],
        verdicts={(row["response_id"], row["constraint_id"]): row["verdict"] for row in ask(_VERDICTS, ids=ids)},
        opposites=ask_pairs(_OPPOSITES, sorted(triggered)),
    )


def _mirror(pair: Row) -> str:
    """The id of a pair the other way round."""
    return f"{pair['rejected_id']}-{pair['chosen_id']}"
