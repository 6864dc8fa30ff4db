"""Which parts are used: what manifests list, and all that it was made from."""

from __future__ import annotations

from collections.abc import Iterable

from models.errors import StorageError
from models.records import PartRef
from storage.files import is_temporary
from storage.manifests import RUNS_FOLDER, Manifest, list_runs
from storage.parts import PartStore
from storage.places import for_each, list_entries
from storage.roots import Root


def find_used(store: PartStore, manifests: Iterable[Manifest]) -> set[PartRef]:
    """The parts that manifests list, and all that those were made from.

    Raises:
        StorageError: A used part is damaged: what it was made from is not known.
    """
    return find_lineage(store, (ref for manifest in manifests for ref in manifest.parts))


def find_lineage(store: PartStore, refs: Iterable[PartRef]) -> set[PartRef]:
    """Some parts, and all that those were made from; what is not there any more was made from nothing.

    Raises:
        StorageError: A part is damaged: what it was made from is not known.
    """
    generation = set(refs)
    found = set(generation)
    while generation:
        inputs = for_each(store.place, lambda ref: store.inputs(ref, missing_ok=True), generation)
        generation = {ref for made_from in inputs for ref in made_from} - found
        found |= generation
    return found


def read_all_manifests(root: Root) -> list[Manifest]:
    """All manifests, where all can be read: a file that may be one and cannot be read is refused.

    Raises:
        StorageError: A manifest is damaged, was moved aside, or there is none.
    """
    folder = root / RUNS_FOLDER
    paths = [entry.path for entry in list_entries(folder)]
    strangers = [
        path for path in paths
        if ".json" in path.name and not path.name.endswith(".json") and not is_temporary(path)
    ]  # fmt: skip
    if strangers:
        raise StorageError(
            f"{strangers[0]} may be the manifest of a run: which parts it uses is not known.",
            safe="Nothing was deleted.",
            next_step="Run it again with the same settings, which makes its manifest anew, or delete the file; then "
            "type the same command again.",
        )
    try:
        manifests = list_runs(root)
    except StorageError as error:
        raise StorageError(
            f"{error.what} Which parts that run uses is not known.",
            safe="Nothing was deleted.",
            next_step=error.next_step,
        ) from error
    if not manifests:
        raise StorageError(
            f"There is no manifest of a run in {folder}: which parts are used is not known.",
            safe="Nothing was deleted.",
            next_step="Check --data. Where no run is to be kept, delete the folder itself.",
        )
    return manifests
