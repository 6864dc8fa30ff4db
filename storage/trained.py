"""What a training run has seen, and how much of a held-out set is in it: in SQL over the parts of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.evaluation import HeldOut
from models.records import PartRef
from storage.duck import connect
from storage.migrated import current_files
from storage.parts import PartStore

_TEXTS = """
select text, "check" from (select unnest(constraints, recursive := true) from read_parquet($systems))
"""
_SEEN_TEXTS = f"""
select text, "check" from ({_TEXTS}) union select text, "check" from read_parquet($reversals)
"""


class TrainingSet:
    """The texts of a training run.

    Args:
        store: The parts.
        parts: All parts of the run.
    """

    def __init__(self, store: PartStore, parts: Sequence[PartRef]) -> None:
        self._store = store
        self._files = {name: self._paths(name, parts) for name in ("roles", "systems", "reversals", "turns")}

    def constraint_texts(self) -> set[str]:
        """The texts of its constraints and of their reversals."""
        return {text for text, _ in self._fetch(_SEEN_TEXTS, "systems", "reversals")}

    def roles(self) -> list[tuple[str, str, str]]:
        """Id, name and description of its roles."""
        return self._fetch("select role_id, name, description from read_parquet($roles)", "roles")

    def queries(self) -> set[str]:
        """What its users said, and the questions of its roles, which they take up."""
        asked = "select query from read_parquet($turns) union select unnest(questions) from read_parquet($roles)"
        return {query for (query,) in self._fetch(asked, "turns", "roles")}

    def compare(self, parts: Sequence[PartRef]) -> HeldOut:
        """How much of a held-out set (the parts of its roles, systems and turns) is in this one."""
        held = {name: self._paths(name, parts) for name in ("roles", "systems", "turns")}
        with connect(self._store.place) as db:

            def fetch(sql: str, *names: str) -> list[tuple[Any, ...]]:
                return db.execute(sql, {name: held[name] for name in names}).fetchall()

            roles = {role for (role,) in fetch("select role_id from read_parquet($roles)", "roles")}
            constraints = fetch(_TEXTS, "systems")
            turns = fetch("select dialogue_id, query from read_parquet($turns)", "turns")
        seen = self._fetch(_SEEN_TEXTS, "systems", "reversals")
        seen_texts, seen_checks = {text for text, _ in seen}, {check for _, check in seen} - {None}
        seen_queries = self.queries()
        texts, queries = {text for text, _ in constraints}, {query for _, query in turns}
        left_out = sorted({dialogue for dialogue, query in turns if query in seen_queries})
        return HeldOut(
            roles=len(roles),
            roles_seen=len(roles & {role for role, _, _ in self.roles()}),
            texts=len(texts),
            texts_seen=len(texts & seen_texts),
            checks_seen=len({text for text, check in constraints if check in seen_checks}),
            queries=len(queries),
            queries_seen=len(queries & seen_queries),
            dialogues=len({dialogue for dialogue, _ in turns} - set(left_out)),
            dialogues_left_out=left_out,
        )

    def _fetch(self, sql: str, *names: str) -> list[tuple[Any, ...]]:
        with connect(self._store.place) as db:
            return db.execute(sql, {name: self._files[name] for name in names}).fetchall()

    def _paths(self, dataset: str, parts: Sequence[PartRef]) -> list[str]:
        # an empty list of files is an error: the zero-row schema file is always one of them
        refs = [ref for ref in dict.fromkeys(parts) if ref.dataset == dataset]
        return [self._store.schema_address(dataset), *current_files(self._store, refs)]
