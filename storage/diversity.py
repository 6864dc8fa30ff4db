"""How varied a run's texts are: a fixed sample of them, taken in SQL so that memory does not grow with the rows."""

from __future__ import annotations

from models.diversity import MOST_CHARACTERS, MOST_TEXTS, Diversity, Texts, measure_diversity
from storage.catalog import query
from storage.roots import Root

_SOURCES: dict[Texts, str] = {
    "queries": """
        select s.language, t.dialogue_id || '-' || t.turn as id, t.query as text
        from {run}.turns t join {run}.systems s using (system_id)
    """,
    "responses": """
        select s.language, r.response_id as id, r.text
        from {run}.responses r
        join (select distinct dialogue_id, system_id from {run}.turns) t using (dialogue_id)
        join {run}.systems s using (system_id)
    """,
}

# The first in the order of a hash: the same texts however the parts were cut. One pass for all languages, which holds
# no more texts than are wanted.
_SAMPLE = f"""
select language, count(*), arg_min(left(text, {MOST_CHARACTERS}), md5(id), {MOST_TEXTS})
from ({{source}}) group by language order by language
"""


def read_diversity(root: Root, run: str) -> list[Diversity]:
    """How varied the queries and the responses of a run are, by language; nothing where there are none.

    Raises:
        StorageError: The run is not in the catalog, or a part of it is damaged.
    """
    return [
        measure_diversity(what, language, sample, texts=count)
        for what, source in _SOURCES.items()
        for language, count, sample in query(root, _SAMPLE.format(source=source.format(run=run))).rows
    ]
