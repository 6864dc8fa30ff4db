"""How varied a run's texts are: a fixed sample of them, taken in SQL so that memory does not grow with the rows."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from models.base import Language
from models.diversity import MOST_CHARACTERS, MOST_TEXTS, Diversity, Texts, measure_diversity
from storage.catalog import query

_SOURCES: dict[Texts, str] = {
    "queries": """
        select t.dialogue_id || '-' || t.turn as id, t.query as text
        from {run}.turns t join {run}.systems s using (system_id) where s.language = '{language}'
    """,
    "responses": """
        select r.response_id as id, r.text
        from {run}.responses r
        join (select distinct dialogue_id, system_id from {run}.turns) t using (dialogue_id)
        join {run}.systems s using (system_id) where s.language = '{language}'
    """,
}

# in the order of a hash: the same texts however the parts were cut, and no more of them held than are wanted
_SAMPLE = f"select left(text, {MOST_CHARACTERS}) from ({{source}}) order by md5(id), id limit {MOST_TEXTS}"


def read_diversity(root: Path, run: str) -> list[Diversity]:
    """How varied the queries and the responses of a run are, by language; nothing where there are none.

    Raises:
        StorageError: The run is not in the catalog, or a part of it is damaged.
    """
    found = []
    for what, source in _SOURCES.items():
        for language in get_args(Language):
            texts = source.format(run=run, language=language)
            sample = [text for (text,) in query(root, _SAMPLE.format(source=texts)).rows]
            if sample:
                [(count,)] = query(root, f"select count(*) from ({texts})").rows
                found.append(measure_diversity(what, language, sample, texts=count))
    return found
