"""The catalog: every run's tables in DuckDB, as views over its parts. It can be deleted at any time."""

from __future__ import annotations

import errno
import glob
import itertools
import json
import math
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel

from models.arrow import arrow_schema
from models.errors import StorageError
from models.records import DATASETS, TABLES, Flag, PartRef
from storage.compaction import find_compacted
from storage.duck import connect
from storage.files import atomic_path
from storage.flags import flags_glob
from storage.locks import in_turn
from storage.manifests import RUNS_FOLDER, Manifest, list_runs
from storage.migrated import find_current
from storage.parts import PartStore
from storage.roots import Root, data_root, machine_dir

if TYPE_CHECKING:
    import duckdb  # imported where it is used: a stage that asks models and makes no pairs does without its 40 MB

CATALOG_FILE = "catalog.duckdb"
CATALOG_LOCK = "catalog.lock"
"""Held by the process that builds it."""
_STATE_FILE = "catalog.runs.json"
"""What the runs of a store were when the catalog was built; of a folder the catalog itself says that."""

_EXPLAIN = re.compile(r"\s*EXPLAIN\s+(ANALYZE\s+)?", re.IGNORECASE)


class QueryResult(NamedTuple):
    """Rows with the names of their columns."""

    columns: list[str]
    rows: list[tuple[Any, ...]]
    truncated: bool = False

    def to_json(self) -> str:
        """A list with an object a row; what JSON has no word for is written as text.

        Of two columns of one name the second is ``NAME_1``: an object holds a name once.
        """
        names: list[str] = []
        for name in self.columns:
            tried = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(1)))
            names.append(next(free for free in tried if free not in names))
        rows = [dict(zip(names, map(_as_json, row), strict=True)) for row in self.rows]
        return json.dumps(rows, ensure_ascii=False, allow_nan=False, default=str)


def _as_json(value: Any) -> Any:
    """A value without NaN, Infinity and keys of maps that are no text: JSON has no word for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(name): _as_json(item) for name, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, list | tuple) else value


def build_catalog(root: Root) -> list[str]:
    """Make the catalog anew: one schema a run; in ``main`` the newest factory run, without one the newest evaluation.

    The metrics of a factory run are those of its evaluations.

    It is built beside the old one and renamed into place: who has the old one open keeps reading it. Of a DATA in a
    store every machine has a catalog of its own, as it holds nothing that is not there.

    Returns:
        Warnings: parts that a manifest lists and that are gone or damaged. Their rows are missing in the views.

    Raises:
        StorageError: A manifest is damaged, or the catalog cannot be written.
    """
    store = PartStore(root)
    store.ensure_schemas()
    # whoever builds reads the runs after the one before has built: an older catalog never takes a newer one's place
    with in_turn(machine_dir(root) / CATALOG_LOCK, "The catalog"):
        return _build(root, store)


def _build(root: Root, store: PartStore) -> list[str]:
    import duckdb

    state, runs = _read_state(root), list_runs(root)
    if not isinstance(root, Path):
        for dataset in DATASETS:
            (root / dataset).list_names()  # how large a thousand parts are, in one request
    warnings: dict[PartRef, str] = {}
    with atomic_path(machine_dir(root) / CATALOG_FILE, "The catalog") as path:
        try:
            with connect(root, path) as db:
                for manifest in runs:
                    db.execute(f"CREATE SCHEMA {_name(manifest.run)}")
                    _make_views(db, store, manifest, runs, warnings)
                # an evaluation has no pairs to ask about, and a sample is not what its user wants to see
                factory_runs = [manifest for manifest in runs if manifest.is_factory_run]
                evaluations = [manifest for manifest in runs if manifest.is_evaluation]
                _make_main(db, store, next(iter([*factory_runs[-1:], *evaluations[-1:]]), None))
        except duckdb.Error as error:
            if os.strerror(errno.ENOSPC) in str(error):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            raise StorageError(
                f"The catalog could not be built: {error}.",
                safe="Parts and manifests are not affected.",
                next_step="If a file is named above, delete it; then run the same command again.",
            ) from error
    if state:
        (machine_dir(root) / _STATE_FILE).write_text(state)
    return list(warnings.values())


def _make_views(
    db: duckdb.DuckDBPyConnection,
    store: PartStore,
    manifest: Manifest,
    runs: list[Manifest],
    warnings: dict[PartRef, str],
) -> None:
    evaluations = [other for other in runs if other.evaluates == manifest.run]
    for dataset, model in DATASETS.items():
        refs = manifest.parts_of(dataset)
        compacted = find_compacted(store, dataset, refs) if refs else None
        addresses = [str(compacted)] if compacted else []
        # what was measured of a run's models belongs to the run
        measured = [part for other in evaluations for part in other.parts_of("metrics")] if dataset == "metrics" else []
        parts = [*([] if compacted else refs), *measured]
        for part, place in zip(parts, find_current(store, parts), strict=True):
            # one damaged file would break the whole view
            if isinstance(place, StorageError):
                warnings.setdefault(part, f"Left out of run {manifest.run}: {place}")
            else:
                addresses.append(str(place))
        _make_view(db, f"{_name(manifest.run)}.{_name(dataset)}", model, _select(store, dataset, addresses))


def _make_main(db: duckdb.DuckDBPyConnection, store: PartStore, newest: Manifest | None) -> None:
    for dataset, model in DATASETS.items():
        # a view of the view: binding thousands of files a second time would cost as much as the first
        source = f"FROM {_name(newest.run)}.{_name(dataset)}" if newest else _select(store, dataset, [])
        _make_view(db, f"main.{_name(dataset)}", model, source)
    # looked for at every query: a flag is seen as soon as it is there
    columns = ", ".join(f"{name}: 'VARCHAR'" for name in Flag.model_fields)
    flags = f"FROM read_json({_text(flags_glob(store.place))}, columns = {{{columns}}}, format = 'newline_delimited')"
    _make_view(db, "main.flags", Flag, flags)


def _make_view(db: duckdb.DuckDBPyConnection, view: str, model: type[BaseModel], source: str) -> None:
    db.execute(f"CREATE VIEW {view} AS {source}")
    about = (model.__doc__ or "").strip().splitlines()[0]
    db.execute(f"COMMENT ON VIEW {view} IS {_text(about)}")
    for column in arrow_schema(model):
        comment = (column.metadata or {}).get(b"comment", b"").decode()
        db.execute(f"COMMENT ON COLUMN {view}.{_name(column.name)} IS {_text(comment)}")


def _select(store: PartStore, dataset: str, addresses: list[str]) -> str:
    # an empty list of files is an error, so the zero-row schema file is always first
    addresses = [store.schema_address(dataset), *addresses]
    if isinstance(store.place, Path):
        addresses = [str(Path(address).resolve()) for address in addresses]
    files = ", ".join(map(_text, addresses))
    columns = ", ".join(_name(name) for name in arrow_schema(DATASETS[dataset]).names)
    return f"SELECT {columns} FROM read_parquet([{files}], union_by_name = true)"


def query(
    root: Root, sql: str, parameters: Mapping[str, Any] | None = None, *, limit: int | None = None
) -> QueryResult:
    """Run one reading statement over the catalog, which is made first if it is not there.

    Nothing can be written, and nothing outside ``root`` can be read.

    Args:
        root: The data folder.
        sql: One SELECT, FROM, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN.
        parameters: Values for the names in it, such as ``$ids``.
        limit: Rows to return at most; ``truncated`` says whether there were more.

    Raises:
        StorageError: The statement is not a reading one, or DuckDB refuses it.
    """
    import duckdb

    path = machine_dir(root) / CATALOG_FILE
    try:
        _check_reading(sql)
        if not path.exists() or not _is_current(root):
            build_catalog(root)
        try:
            return _fetch(root, path, sql, parameters, limit)
        except (duckdb.IOException, duckdb.PermissionException):
            # a part was deleted or replaced since, or the folder was moved: look again, once
            build_catalog(root)
            return _fetch(root, path, sql, parameters, limit)
    except duckdb.Error as error:
        runs = ", ".join(manifest.run for manifest in list_runs(root)) or "none"
        raise StorageError(
            f"DuckDB refuses: {str(error).strip()}",
            next_step=f'Tables: {", ".join(TABLES)}. Runs (a schema each): {runs}. Columns: rpo sql "describe pairs".',
        ) from error


def _read_state(root: Root) -> str:
    """The manifests of a store by name and tag; empty for a folder: whoever changes a run builds its catalog."""
    if isinstance(root, Path):
        return ""
    tags = {name: tag for name, tag in (root / RUNS_FOLDER).list_tags().items() if name.endswith(".json")}
    return json.dumps(tags, sort_keys=True)


def _is_current(root: Root) -> bool:
    """Whether no other machine has changed a run since this one built its catalog."""
    built = machine_dir(root) / _STATE_FILE
    return isinstance(root, Path) or (built.is_file() and built.read_text() == _read_state(root))


def _check_reading(sql: str) -> None:
    """Refuse what is not one reading statement. EXPLAIN is judged by what it explains: EXPLAIN ANALYZE runs it."""
    import duckdb

    # extract_statements keeps the text of a comment, and such an EXPLAIN is then refused: the safe side
    statements = duckdb.extract_statements(_EXPLAIN.sub("", sql, count=1) if _EXPLAIN.match(sql) else sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise StorageError(
            "Only one statement that reads is allowed here: SELECT, FROM, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN.",
            safe="Nothing was changed.",
            next_step=f"For anything else open {CATALOG_FILE} in a DuckDB client of your own.",
        )


def _fetch(root: Root, path: Path, sql: str, parameters: Mapping[str, Any] | None, limit: int | None) -> QueryResult:
    # Attached to a database of its own: connections to one file share an instance in a process, and the second
    # thread would find its configuration locked
    with connect(root) as db:
        db.execute(f"ATTACH {_text(str(path.resolve()))} AS catalog (READ_ONLY)")
        db.execute("USE catalog.main")
        allowed = str(path.parent.resolve()) if isinstance(root, Path) else f"{root}/"
        # and as it stands in the pattern of the flags
        db.execute("SET allowed_directories = ?", [[allowed, glob.escape(allowed)]])
        db.execute("SET enable_external_access = false")
        db.execute("SET lock_configuration = true")
        cursor = db.execute(sql, parameters)
        columns = [column[0] for column in cursor.description or []]
        if limit is None:
            return QueryResult(columns, cursor.fetchall())
        rows = cursor.fetchmany(limit + 1)
        return QueryResult(columns, rows[:limit], truncated=len(rows) > limit)


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


if __name__ == "__main__":
    build_catalog(data_root(sys.argv[1]))
