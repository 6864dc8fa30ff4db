"""Pairs with everything they refer to, a responses part at a time: what the audit decides and exports write."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.parquet as pq

from models.arrow import from_table
from models.prompting import reverse_in
from models.records import Constraint, Pair, PartRef, Response, Reversal, SystemProfile, Turn
from storage.migrated import open_current
from storage.parts import PartStore


@dataclass(frozen=True)
class PlayedTurn:
    """A turn with its system and what was said before."""

    turn: Turn
    system: SystemProfile
    earlier: list[Turn]


@dataclass(frozen=True)
class PairRow:
    """A pair with its texts and its rewritten constraints."""

    pair: Pair
    played: PlayedTurn
    chosen: Response
    rejected: Response
    constraints: list[Constraint]
    """The constraints of the system prompt, those in ``pair.reversed_ids`` reversed."""


def read_turns(store: PartStore, responses: PartRef) -> dict[tuple[str, int], PlayedTurn]:
    """The turns that a responses part answers, by dialogue and turn, in the order in which they were played."""
    systems = {s.system_id: s for s in store.read(store.upstream(responses, "systems"), SystemProfile)}
    dialogues: dict[str, list[Turn]] = defaultdict(list)
    for turn in store.read(store.upstream(responses, "turns"), Turn):
        dialogues[turn.dialogue_id].append(turn)
    for turns in dialogues.values():
        turns.sort(key=lambda turn: turn.turn)
    return {
        (turn.dialogue_id, turn.turn): PlayedTurn(turn, systems[turn.system_id], turns[: turn.turn - 1])
        for turns in dialogues.values()
        for turn in turns
    }


def read_pair_rows(store: PartStore, pairs: PartRef, responses: PartRef, reversals: PartRef) -> Iterator[PairRow]:
    """The pairs among the responses of one part, in the order of its turns and samples.

    Memory is bounded by the responses part, not by the number of pairs in the run.
    """
    texts = {r.response_id: r for r in store.read(responses, Response)}
    opposites = {r.constraint_id: r for r in store.read(reversals, Reversal)}
    turns = read_turns(store, responses)
    if not turns:  # every dialogue of the batch has ended before its first turn; a filter on nothing has no type
        return
    place = {key: number for number, key in enumerate(turns)}
    dialogue_ids = sorted({dialogue for dialogue, _ in turns})
    table = pq.read_table(
        open_current(store, pairs),
        filters=[("dialogue_id", "in", dialogue_ids)],
        page_checksum_verification=True,
    )
    found = sorted(
        from_table(Pair, table),
        key=lambda p: (place[p.dialogue_id, p.turn], texts[p.chosen_id].sample, texts[p.rejected_id].sample),
    )
    for pair in found:
        played = turns[pair.dialogue_id, pair.turn]
        reversed_here = {constraint_id: opposites[constraint_id] for constraint_id in pair.reversed_ids}
        yield PairRow(
            pair=pair,
            played=played,
            chosen=texts[pair.chosen_id],
            rejected=texts[pair.rejected_id],
            constraints=reverse_in(played.system.constraints, reversed_here),
        )
