"""The accounts of a run's calls, in SQL over its views; memory does not grow with the calls."""

from __future__ import annotations

from models.accounts import CallAccount, endpoint_of
from models.settings import FactorySettings
from storage.catalog import query
from storage.roots import Root

# The samples of a request stand together in their part and share its seconds to the last digit, so a request begins
# where the seconds change. Both windows stream (no PARTITION, no ORDER): a set of all seconds, or of all request
# hashes, would grow with the run. A failed call has no seconds.
_ACCOUNTS = """
with numbered as (
    select *, row_number() over () as place, lag(seconds) over () as before from {run}.llm_calls
), opened as (
    select *, error is null and (seconds is distinct from before) as opens from numbered
)
select stage, role, model,
    count(*) as calls,
    count(*) filter (cached) as cached,
    count(error) as failed,
    count(*) filter (opens) as requests,
    coalesce(sum(tries - 1) filter (opens), 0)::bigint as retries,
    sum(prompt_tokens)::bigint as tokens_in,
    sum(completion_tokens)::bigint as tokens_out,
    -- one call without a price makes the sum unknown, and unknown is null, never guessed
    case when count(*) = count(cost) then sum(cost) end as cost,
    coalesce(sum(seconds) filter (opens), 0) as seconds,
    approx_quantile(seconds, 0.5) filter (opens) as median_seconds
from opened group by stage, role, model order by min(place)
"""


def read_accounts(root: Root, settings: FactorySettings) -> list[CallAccount]:
    """What the calls of a run came to, by stage and role, in the order of the stages.

    Args:
        root: The data folder.
        settings: Those of the run: its name, and which endpoint plays which role.

    Raises:
        StorageError: The run is not in the catalog, or a part of it is damaged.
    """
    found = query(root, _ACCOUNTS.format(run=settings.run))
    rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
    return [CallAccount(**row, endpoint=endpoint_of(settings, row["role"])) for row in rows]
