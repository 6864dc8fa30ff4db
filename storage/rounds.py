"""Rounds: the chain of runs that a run descends from, and what each of them came to, in SQL over the catalog."""

from __future__ import annotations

from typing import Any, NamedTuple

from models.errors import StorageError
from storage.catalog import query
from storage.manifests import Manifest, load, manifest_path
from storage.roots import Root

# a dialogue that was played alike in two runs: same queries, same history
_ALIKE = """
select dialogue_id from (
    select dialogue_id, list((turn, query, reference) order by turn) as played from {first}.turns group by all
    intersect
    select dialogue_id, list((turn, query, reference) order by turn) as played from {second}.turns group by all
)
"""

# What the policy wrote itself: a critic's rewrites show what the critic can do. As tasks.measures counts: a response
# with an unscored or inapplicable verdict and no violated one is neither whole nor not.
_FOLLOWING = """
with dialogues as (select distinct dialogue_id, system_id from {run}.turns),
own as (select response_id, dialogue_id from {run}.responses where origin = 'sampled' {only}),
each as (
    select role_id,
        count(*) filter (verdict = 'followed') as followed,
        count(*) filter (verdict in ('followed', 'violated')) as scored,
        case when bool_or(verdict = 'violated') then 0 when bool_and(verdict = 'followed') then 1 end as whole
    from own join {run}.judgments using (response_id)
    join dialogues on dialogues.dialogue_id = own.dialogue_id join {run}.systems using (system_id)
    group by role_id, response_id
)
select role_id, sum(followed)::bigint, sum(scored)::bigint, coalesce(sum(whole), 0)::bigint, count(whole)::bigint
from each group by role_id order by role_id
"""

_COUNTS = """
select
    (select count(*) from {run}.responses where origin = 'sampled') as responses,
    (select count(*) from {run}.judgments join {run}.responses using (response_id)
        where verdict = 'unscored' and origin = 'sampled') as unscored,
    (select count(*) from {run}.turns) as turns,
    (select count(*) from {run}.turns anti join {run}.pairs using (dialogue_id, turn)) as turns_without_pairs,
    (select count(*) from {run}.pairs) as pairs,
    (select avg(margin) from {run}.pairs) as mean_margin,
    (select count(*) from {run}.audits) as audited,
    (select count(*) from {run}.audits where not passed) as audit_failed
"""


class Following(NamedTuple):
    """How a role's constraints were followed: of the judged verdicts, and of the responses known as a whole."""

    role: str
    followed: int
    scored: int
    perfect: int
    whole: int


def find_chain(root: Root, manifest: Manifest) -> list[Manifest]:
    """The rounds up to a run, the first one first; a run that samples from no trained policy is alone.

    Raises:
        StorageError: A manifest of the chain is gone or damaged, or the chain is a circle.
    """
    chain = [manifest]
    while (earlier := chain[0].previous) is not None:
        if earlier in {run.run for run in chain}:
            raise StorageError(
                f"The manifest of run {chain[0].run!r} says that it descends from {earlier!r}, which descends from it.",
                safe="All parts and completed calls are whole.",
                next_step=f"Look at `previous` in {manifest_path(root, chain[0].run)}.",
            )
        chain.insert(0, load(root, earlier))
    return chain


def count_round(root: Root, run: str) -> dict[str, Any]:
    """The counts of a round, as fields of ``RoundResult``."""
    counts = query(root, _COUNTS.format(run=run))
    return dict(zip(counts.columns, counts.rows[0], strict=True))


def count_following(root: Root, run: str, *, shared_with: str | None = None) -> list[Following]:
    """How well a run's policy follows constraints, by role.

    Args:
        root: The data folder.
        run: The run.
        shared_with: Only dialogues that this run has too, with the same queries and references in every turn.
    """
    only = f"and dialogue_id in ({_ALIKE.format(first=run, second=shared_with)})" if shared_with else ""
    return [Following._make(row) for row in query(root, _FOLLOWING.format(run=run, only=only)).rows]


def count_shared(root: Root, first: str, second: str) -> int:
    """The number of dialogues that two runs share."""
    alike = _ALIKE.format(first=first, second=second)
    return int(query(root, f"select count(*) from ({alike})").rows[0][0])
