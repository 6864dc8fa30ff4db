"""Whether the flags that people put on pairs can be read, and mean something."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from models.errors import StorageError
from models.records import Flag
from storage.findings import StoreFinding, explain
from storage.flags import flag_file, list_flag_files, read_flag_file
from storage.manifests import Manifest
from storage.parts import PartStore
from storage.places import delete_command, for_each
from storage.roots import Root

_NAMED: Final = 3
_DELETED: Final = 20
"""Flags in one command to type."""


def check_flags(store: PartStore, manifests: Iterable[Manifest]) -> Iterator[StoreFinding]:
    """Look at all flags: some cannot be read, and some are of pairs that no run has.

    Args:
        store: The parts.
        manifests: Those of all runs; none: it is not known which pairs there are.
    """
    flags: list[Flag] = []
    places = list_flag_files(store.place)
    for found in for_each(store.place, lambda place: _check_flag(store.place, place), places):
        if isinstance(found, Flag):
            flags.append(found)
        elif found is not None:
            yield found
    if flags:
        yield StoreFinding(ok=True, what=f"flags: {len(flags)} readable")
        yield from _check_flagged(store, flags, manifests)


def _check_flag(root: Root, place: Root) -> Flag | StoreFinding | None:
    try:
        flag = read_flag_file(place)
    except StorageError as error:
        return explain(error, f"{delete_command(place)}, and flag the pair again: `rpo browse`")
    if flag is None or place == flag_file(root, flag.pair_id):
        return flag
    return StoreFinding(
        ok=False,
        what=f"The flag {place} is of pair {flag.pair_id!r}, whose flag has another name: `rpo browse` cannot take it "
        "off.",
        safe="Pairs and other flags are not affected.",
        fix=delete_command(place),
    )


def _check_flagged(store: PartStore, flags: Iterable[Flag], manifests: Iterable[Manifest]) -> Iterator[StoreFinding]:
    lost = {flag.pair_id: flag for flag in flags}
    manifests = list(manifests)
    parts = dict.fromkeys(ref for manifest in manifests for ref in manifest.parts_of("pairs"))
    for ref in parts:
        if not lost:
            return
        try:
            pairs = store.read_table(ref).column("pair_id").to_pylist()
        except StorageError:
            return  # that was said; which pairs it had is not known
        lost = {pair_id: lost[pair_id] for pair_id in lost.keys() - set(pairs)}
    if not lost or not manifests:
        return
    gone = sorted(lost.values(), key=lambda flag: (flag.run, flag.pair_id))
    names = ", ".join(f"{flag.pair_id!r} (flagged in run {flag.run})" for flag in gone[:_NAMED])
    more = f" and {len(gone) - _NAMED} more" if len(gone) > _NAMED else ""
    unfinished = [manifest.run for manifest in manifests if manifest.status != "complete"]
    if unfinished:
        fix = f"First finish {', '.join(unfinished)}: what is not finished may have them again."
    else:
        again = "; then this command again, for the others" if len(gone) > _DELETED else ""
        delete = delete_command(*(flag_file(store.place, flag.pair_id) for flag in gone[:_DELETED]))
        fix = f"They can stay. Where they are not wanted: {delete}{again}"
    yield StoreFinding(
        ok=True,
        what=f"{len(gone)} flags are of pairs that no run has now: {names}{more}",
        safe="They change nothing, and count again when a run has these pairs again.",
        fix=fix,
    )
