"""What only the report of a run asks its tables."""

from __future__ import annotations

from typing import Any, NamedTuple

from storage.catalog import QueryResult, query
from storage.roots import Root

# Counted as in storage/rounds.py: the policy's own responses; one with an unscored or inapplicable verdict and no
# violated one is neither whole nor not. A hash stands for an id, and of the responses only the rewrites are looked up:
# what is held of two million is numbers.
_BY_TURN = """
with each as (
    select turn,
        count(*) filter (verdict = 'followed') as followed,
        count(*) filter (verdict in ('followed', 'violated')) as scored,
        case when bool_or(verdict = 'violated') then 0 when bool_and(verdict = 'followed') then 1 end as whole
    from {run}.judgments
    anti join (select response_id from {run}.responses where origin = 'refined') using (response_id)
    group by turn, hash(response_id)
)
select turn, sum(followed)::bigint, sum(scored)::bigint, coalesce(sum(whole), 0)::bigint, count(whole)::bigint
from each group by turn order by turn
"""

_CASES = """
with told as (
    select noise_case, margin, hash(least(chosen_id, rejected_id), greatest(chosen_id, rejected_id)) as couple,
        pair_id in (select pair_id from {run}.audits where not passed) as dropped
    from {run}.pairs
)
select noise_case, count(distinct couple), count(distinct couple) filter (not dropped), count(*), avg(margin)
from told group by noise_case order by noise_case
"""

_FAILURES = """
select stage, role, kind, sum("count")::bigint as times, sum(lost)::bigint as lost, min(example) as example
from {run}.failures group by stage, role, kind order by times desc, stage, role, kind
"""

_EXCLUSIONS = """
select stage, what, reason, sum("count")::bigint as times from {run}.exclusions
group by stage, what, reason having times > 0 order by times desc, stage, what, reason
"""

# of the systems only those that have one of them: a large run has a million constraints
_CONSTRAINTS = """
select unnest(constraints, recursive := true) from {run}.systems
where list_has_any(list_transform(constraints, lambda c: c.constraint_id), (select list(constraint_id) from shown))
"""

_UNSCORED = f"""
with shown as (
    select response_id, constraint_id, judge, reason from {{run}}.judgments where verdict = 'unscored'
    order by response_id, constraint_id limit {{limit}}
)
select judge, reason, c.text as demand, r.text as response
from shown
join {{run}}.responses r using (response_id)
join ({_CONSTRAINTS}) c using (constraint_id)
order by response_id, constraint_id
"""

_DISAGREEMENTS = f"""
with shown as (
    select response_id, constraint_id, by_code, by_judge, reason from {{run}}.calibrations
    where by_code <> by_judge and by_judge <> 'unscored' order by response_id, constraint_id limit {{limit}}
)
select by_code, by_judge, reason, c.text as demand, r.text as response
from shown
join {{run}}.responses r using (response_id)
join ({_CONSTRAINTS}) c using (constraint_id)
order by response_id, constraint_id
"""

_UNPROVEN = """
with shown as (select * from {run}.audits where not passed order by pair_id limit {limit})
select pair_id, margin, chosen_violated, rejected_violated, undecided, c.text as chosen, r.text as rejected
from shown join {run}.pairs using (pair_id)
join {run}.responses c on c.response_id = chosen_id join {run}.responses r on r.response_id = rejected_id
order by pair_id
"""

_METRICS = """
select benchmark, model, metric, value, low, high, n from {run}.metrics order by all
"""


class TurnCount(NamedTuple):
    """How well the policy's own responses follow their constraints, in one turn of the dialogues."""

    turn: int
    followed: int
    scored: int
    perfect: int
    """Responses that follow everything, ..."""
    whole: int
    """... of those of which that is known."""


class CaseCount(NamedTuple):
    """The pairs of one noise case."""

    case: int
    couples: int
    """Two responses, whichever of them is chosen."""
    kept: int
    """Couples with a pair that did not fail the audit."""
    pairs: int
    mean_margin: float | None


Row = dict[str, Any]
"""Values by the names of their columns."""


def count_turns(root: Root, run: str) -> list[TurnCount]:
    """Satisfaction by turn."""
    return [TurnCount._make(row) for row in query(root, _BY_TURN.format(run=run)).rows]


def count_cases(root: Root, run: str) -> list[CaseCount]:
    """The pairs by noise case."""
    return [CaseCount._make(row) for row in query(root, _CASES.format(run=run)).rows]


def read_failures(root: Root, run: str) -> list[Row]:
    """What went wrong with calls and answers: ``times``, ``lost`` and an ``example``, by stage, role and kind."""
    return _rows(root, _FAILURES, run)


def read_exclusions(root: Root, run: str) -> list[Row]:
    """What made no pairs, and why."""
    return _rows(root, _EXCLUSIONS, run)


def find_unscored(root: Root, run: str, *, limit: int) -> list[Row]:
    """Some verdicts that could not be read, with what was judged."""
    return _rows(root, _UNSCORED, run, limit=limit)


def find_disagreements(root: Root, run: str, *, limit: int) -> list[Row]:
    """Some constraints on which the judge model and the check disagree."""
    return _rows(root, _DISAGREEMENTS, run, limit=limit)


def find_unproven(root: Root, run: str, *, limit: int) -> list[Row]:
    """Some pairs that failed the audit."""
    return _rows(root, _UNPROVEN, run, limit=limit)


def read_metrics(root: Root, run: str) -> list[Row]:
    """What was measured of the run's models, on every benchmark."""
    return _rows(root, _METRICS, run)


def _rows(root: Root, sql: str, run: str, **values: int) -> list[Row]:
    return name_columns(query(root, sql.format(run=run, **values)))


def name_columns(found: QueryResult) -> list[Row]:
    """Rows as mappings."""
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]
