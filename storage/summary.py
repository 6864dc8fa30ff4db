"""The counts of a run, in SQL over its views."""

from __future__ import annotations

from typing import Any

from models.agreement import summarise_agreement
from models.summary import KindSatisfaction
from storage.catalog import query
from storage.roots import Root

# one statement each: in one, all these tables are read at the same time, and 100 MB are in use
_COUNTS = {
    "systems": "count(*) from {run}.systems",
    "dialogues": "count(distinct dialogue_id) from {run}.turns",
    "turns": "count(*) from {run}.turns",
    "responses": "count(*) from {run}.responses",
    "judgments": "count(*) from {run}.judgments",
    "unscored": "count(*) from {run}.judgments where verdict = 'unscored'",
    "pairs": "count(*) from {run}.pairs",
    "audited": "count(*) from {run}.audits",
    "audit_failed": "count(*) from {run}.audits where not passed",
    "tokens_in": "coalesce(sum(prompt_tokens), 0)::bigint from {run}.llm_calls",
    "tokens_out": "coalesce(sum(completion_tokens), 0)::bigint from {run}.llm_calls",
    # one call without a price makes the sum unknown, and unknown is null, never guessed
    "cost": "case when count(*) = count(cost) then sum(cost) end from {run}.llm_calls",
    "lost": "coalesce(sum(lost), 0)::bigint from {run}.failures",
}

# of the policy's own responses: a critic's rewrites show what the critic can do
_SATISFACTION = """
select c.kind, count(*) filter (verdict = 'followed') as followed, count(*) as scored
from {run}.judgments
anti join (select response_id from {run}.responses where origin = 'refined') using (response_id)
join (select unnest(constraints, recursive := true) from {run}.systems) c using (constraint_id)
where verdict in ('followed', 'violated')
group by all order by c.kind
"""

_ENDED = """
select reason, sum("count")::bigint from {run}.exclusions where what = 'dialogues' group by all order by all
"""

_FAILURES = """
select kind, sum("count")::bigint from {run}.failures group by all order by all
"""

_CALIBRATION = """
select kind, language, by_code, by_judge, count(*) from {run}.calibrations group by all order by all
"""


def count_run(root: Root, run: str) -> dict[str, Any]:
    """The counts of a run, as fields of ``RunSummary``.

    Raises:
        StorageError: The run is not in the catalog, or a part of it is damaged.
    """
    return {
        **{name: query(root, f"select {sql.format(run=run)}").rows[0][0] for name, sql in _COUNTS.items()},
        "ended": dict(query(root, _ENDED.format(run=run)).rows),
        "failures": dict(query(root, _FAILURES.format(run=run)).rows),
        "satisfaction": [
            KindSatisfaction(kind=kind, followed=followed, scored=scored)
            for kind, followed, scored in query(root, _SATISFACTION.format(run=run)).rows
        ],
        "calibration": summarise_agreement(query(root, _CALIBRATION.format(run=run)).rows),
        "margins": dict(query(root, f"select margin, count(*) from {run}.pairs group by 1 order by 1").rows),
        "noise_cases": dict(query(root, f"select noise_case, count(*) from {run}.pairs group by 1 order by 1").rows),
    }


def count_alone(root: Root, run: str) -> int:
    """How many responses of a run have a turn, and so a history, for themselves.

    Raises:
        StorageError: As ``count_run``.
    """
    each = f"select count(*) as n from {run}.responses group by dialogue_id, turn"
    count: int = query(root, f"select count(*) from ({each}) where n = 1").rows[0][0]
    return count
