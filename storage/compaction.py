"""One file instead of hundreds of parts: what the catalog reads of a dataset of a run that has many.

The parts stay: they are the truth, and what the next run finds again. A compacted file stands beside them under a key
that is a hash of the list of their keys, so it never has to be recorded or invalidated: where a manifest lists other
parts, the key is another one, and the catalog reads the parts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final

import pyarrow as pa
from pydantic import Field

from models.base import Strict, digest
from models.errors import StorageError
from models.records import PartRef
from storage.manifests import Manifest, list_runs
from storage.parts import PartStore
from storage.roots import Root

COMPACTED_FOLDER: Final = "compacted"
"""Folder under DATA of the compacted files; it can be deleted at any time."""

MANY_PARTS: Final = 500
"""Above so many parts a query spends its time on opening files."""


class Compaction(Strict):
    """A dataset of a run, in one file."""

    run: str = Field(description="The run.")
    dataset: str = Field(description="The dataset.")
    parts: int = Field(ge=0, description="Parts that it stands for.")
    rows: int = Field(ge=0, description="Their rows.")
    parts_size: int = Field(ge=0, description="Bytes of the parts, which stay.")
    size: int = Field(ge=0, description="Bytes of the compacted file.")
    seconds: float = Field(ge=0, description="What it took; 0: it was there already.")


def compact_key(refs: Sequence[PartRef]) -> str:
    """The key of the compacted file of a list of parts, in their order."""
    return digest(["compacted", [ref.key for ref in refs]])


def find_compacted(store: PartStore, dataset: str, refs: Sequence[PartRef]) -> Root | None:
    """The compacted file that holds exactly these parts, in today's columns; None: there is none.

    A damaged one is none: the parts are there.
    """
    compacted = compacted_store(store)
    ref = PartRef(dataset=dataset, key=compact_key(refs), rows=sum(part.rows for part in refs))
    try:
        if compacted.find(dataset, ref.key) != ref or not compacted.is_current(ref):
            return None
    except StorageError:
        return None
    return compacted.locate(ref)


def compact_runs(root: Root, *, run: str | None = None, above: int = MANY_PARTS) -> list[Compaction]:
    """Compact the datasets of finished runs that have more than ``above`` parts; what is compacted already stays.

    Args:
        root: The data folder.
        run: Only this run; None: all.
        above: Datasets with at most so many parts are left as they are.

    Raises:
        StorageError: A manifest or part is damaged or missing, there is no such finished run, or the disk is full.
    """
    store = PartStore(root)
    finished = [manifest for manifest in list_runs(root) if manifest.status == "complete"]
    chosen = [manifest for manifest in finished if run in (None, manifest.run)]
    if run is not None and not chosen:
        known = ", ".join(manifest.run for manifest in finished) or "none"
        raise StorageError(
            f"There is no finished run {run!r} in {root}; finished ones: {known}.", safe="Nothing was compacted."
        )
    return [done for manifest in chosen for done in _compact_run(store, manifest, above)]


def compacted_store(store: PartStore) -> PartStore:
    """The compacted files."""
    return store.beside(COMPACTED_FOLDER)


def _compact_run(store: PartStore, manifest: Manifest, above: int) -> Iterator[Compaction]:
    for dataset in dict.fromkeys(ref.dataset for ref in manifest.parts):
        refs = manifest.parts_of(dataset)
        if len(refs) <= above:
            continue
        sizes = {entry.path.stem: entry.size for entry in store.list_parts(dataset)}
        began, found = time.monotonic(), find_compacted(store, dataset, refs)
        seconds = 0.0
        compacted = PartRef(dataset=dataset, key=compact_key(refs), rows=sum(ref.rows for ref in refs))
        if found is None:
            _compact(store, dataset, refs, manifest.run)
            seconds = round(time.monotonic() - began, 3)
        yield Compaction(
            run=manifest.run,
            dataset=dataset,
            parts=len(refs),
            rows=compacted.rows,
            parts_size=sum(sizes.get(ref.key, 0) for ref in refs),
            size=compacted_store(store).size(compacted),
            seconds=seconds,
        )


def _compact(store: PartStore, dataset: str, refs: Sequence[PartRef], run: str) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        for ref in refs:
            table = store.read_table(ref)
            if table.num_rows != ref.rows:
                raise StorageError(
                    f"Part {store.address(ref)} has {table.num_rows} rows, and run {run!r} was told {ref.rows}.",
                    safe="Nothing was compacted; queries read the parts.",
                    next_step="Type: rpo doctor --store",
                )
            yield from table.to_batches()

    compacted_store(store).write_table(dataset, compact_key(refs), batches(), inputs=refs)
