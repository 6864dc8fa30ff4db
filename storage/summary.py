"""The counts of a run, in SQL over its views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.agreement import summarise_agreement
from models.summary import KindSatisfaction
from storage.catalog import query

_COUNTS = """
select
    (select count(*) from {run}.systems) as systems,
    (select count(distinct dialogue_id) from {run}.turns) as dialogues,
    (select count(*) from {run}.turns) as turns,
    (select count(*) from {run}.responses) as responses,
    (select count(*) from {run}.judgments) as judgments,
    (select count(*) from {run}.judgments where verdict = 'unscored') as unscored,
    (select count(*) from {run}.pairs) as pairs,
    (select count(*) from {run}.audits) as audited,
    (select count(*) from {run}.audits where not passed) as audit_failed,
    (select coalesce(sum(prompt_tokens), 0)::bigint from {run}.llm_calls) as tokens_in,
    (select coalesce(sum(completion_tokens), 0)::bigint from {run}.llm_calls) as tokens_out,
    -- one call without a price makes the sum unknown, and unknown is null, never guessed
    (select case when count(*) = count(cost) then sum(cost) end from {run}.llm_calls) as cost
"""

_SATISFACTION = """
select c.kind, count(*) filter (j.verdict = 'followed') as followed, count(*) as scored
from {run}.judgments j
join (select unnest(constraints, recursive := true) from {run}.systems) c using (constraint_id)
where j.verdict in ('followed', 'violated')
group by all order by c.kind
"""

_ENDED = """
select reason, sum("count")::bigint from {run}.exclusions where what = 'dialogues' group by all order by all
"""

_FAILURES = """
select kind, sum("count")::bigint from {run}.failures group by all order by all
"""

_LOST = "select coalesce(sum(lost), 0)::bigint from {run}.failures"

_CALIBRATION = """
select kind, language, by_code, by_judge, count(*) from {run}.calibrations group by all order by all
"""


def count_run(root: Path, run: str) -> dict[str, Any]:
    """The counts of a run, as fields of ``RunSummary``.

    Raises:
        StorageError: The run is not in the catalog, or a part of it is damaged.
    """
    counts = query(root, _COUNTS.format(run=run))
    return {
        **dict(zip(counts.columns, counts.rows[0], strict=True)),
        "ended": dict(query(root, _ENDED.format(run=run)).rows),
        "failures": dict(query(root, _FAILURES.format(run=run)).rows),
        "lost": query(root, _LOST.format(run=run)).rows[0][0],
        "satisfaction": [
            KindSatisfaction(kind=kind, followed=followed, scored=scored)
            for kind, followed, scored in query(root, _SATISFACTION.format(run=run)).rows
        ],
        "calibration": summarise_agreement(query(root, _CALIBRATION.format(run=run)).rows),
        "margins": dict(query(root, f"select margin, count(*) from {run}.pairs group by 1 order by 1").rows),
        "noise_cases": dict(query(root, f"select noise_case, count(*) from {run}.pairs group by 1 order by 1").rows),
    }
