"""The verdicts on a model's responses, joined with what they are counted by."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import duckdb

from models.errors import StorageError
from models.records import PartRef
from storage.duck import connect
from storage.migrated import current_files
from storage.parts import PartStore

REVERSED_AUTHOR = "reversed"
"""Who wrote the constraints of a twin: they are the exact opposites of another system's."""

_OUTCOMES = f"""
with systems as (
    select system_id, role_id, if(author = '{REVERSED_AUTHOR}', 'reversed', 'original') as polarity, constraints
    from read_parquet($systems)
), kinds as (
    select system_id, unnest(constraints, recursive := true) from systems
)
select s.role_id, s.polarity, j.dialogue_id, r.sample, j.turn, k.kind, j.verdict
from read_parquet($judgments) j
join read_parquet($responses) r on r.response_id = j.response_id and r.origin = 'sampled'
join (select distinct dialogue_id, system_id from read_parquet($turns)) t on t.dialogue_id = j.dialogue_id
join systems s using (system_id)
join kinds k on k.system_id = s.system_id and k.constraint_id = j.constraint_id
order by all
"""

Row = tuple[str, str, str, int, int, str, str]
"""Role, polarity, dialogue, sample, turn, kind, verdict."""


def read_outcomes(store: PartStore, judgments: Sequence[PartRef], *, without: Collection[str] = ()) -> list[Row]:
    """The verdicts of some parts, in an order that does not depend on how they were cut.

    Args:
        store: The parts.
        judgments: Parts with the verdicts on one model.
        without: Ids of dialogues to leave out.

    Raises:
        StorageError: A part is missing or damaged.
    """
    files = {"judgments": current_files(store, judgments)}
    for dataset in ("responses", "turns", "systems"):
        files[dataset] = current_files(store, [store.upstream(ref, dataset) for ref in judgments])
    try:
        with connect(store.place) as db:
            rows: list[Row] = db.execute(_OUTCOMES, files).fetchall()
    except duckdb.Error as error:
        raise StorageError(
            f"The verdicts cannot be read: {error}.",
            safe="All completed calls are stored.",
            next_step="Run the same `rpo evaluate` again: it makes what is missing.",
        ) from error
    return [row for row in rows if row[2] not in without]
