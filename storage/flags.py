"""Flags: what a person has marked while looking at pairs. A small file each, so that nobody overwrites another's.

They are no part of a run: a flag belongs to a pair id, which two runs share where they share the two responses.
"""

from __future__ import annotations

import glob
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from models.base import digest
from models.errors import StorageError
from models.records import Flag
from storage.files import atomic_file
from storage.places import for_each
from storage.roots import Root, list_stems

FLAGS_FOLDER: Final = "flags"

_SCHEMA: Final = "_schema"


def write_flag(root: Root, flag: Flag) -> None:
    """Flag a pair, or replace its flag: synced and whole, or as it was before.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    path, content = flag_file(root, flag.pair_id), flag.model_dump_json().encode("utf-8") + b"\n"
    if not isinstance(path, Path):
        path.write_bytes(content)
        return
    with atomic_file(path, f"The flag of pair {flag.pair_id}") as file:
        file.write(content)


def remove_flag(root: Root, pair_id: str) -> None:
    """Take the flag off a pair; one without stays without.

    Raises:
        StorageError: The folder cannot be written.
    """
    path = flag_file(root, pair_id)
    if not isinstance(path, Path):
        path.unlink()
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"The flag of pair {pair_id} could not be taken off: {error}.",
            safe="It stays as it is; pairs and other flags are not affected.",
            next_step=f"Check that {path.parent} may be written, then take it off again.",
        ) from error


def read_flag(root: Root, pair_id: str) -> Flag | None:
    """The flag of a pair; None: it has none.

    Raises:
        StorageError: The file is damaged.
    """
    return read_flag_file(flag_file(root, pair_id))


def read_flags(root: Root) -> dict[str, Flag]:
    """Every flag by its pair.

    Raises:
        StorageError: A file is damaged; the message names it.
    """
    found = for_each(root, read_flag_file, list_flag_files(root))
    return {flag.pair_id: flag for flag in found if flag is not None}


def list_flag_files(root: Root) -> list[Root]:
    """The files of all flags."""
    stems = list_stems(root / FLAGS_FOLDER, ".json")
    return [root / FLAGS_FOLDER / f"{stem}.json" for stem in stems if stem != _SCHEMA]


def flags_glob(root: Root) -> str:
    """The files of all flags as DuckDB takes them, an empty one among them: a glob without any file is an error."""
    place = root / FLAGS_FOLDER / f"{_SCHEMA}.json"
    if not isinstance(place, Path):
        place.write_bytes(b"")
        return f"{root / FLAGS_FOLDER}/*.json"
    if not place.is_file():
        with atomic_file(place, "The file that stands for no flag"):
            pass
    return glob.escape(str(place.parent.resolve())) + "/*.json"


def flag_now(pair_id: str, run: str, note: str = "") -> Flag:
    """A flag of this moment."""
    return Flag(pair_id=pair_id, run=run, note=note, flagged_at=datetime.now(UTC).isoformat(timespec="seconds"))


def flag_file(root: Root, pair_id: str) -> Root:
    """Where the flag of a pair rests, whether there is one or not."""
    # a pair's id is not a file's name: imported ones may hold anything
    return root / FLAGS_FOLDER / f"{digest(pair_id)}.json"


def read_flag_file(place: Root) -> Flag | None:
    """The flag in a file; None: it is not there.

    Raises:
        StorageError: The file is damaged.
    """
    try:
        return Flag.model_validate_json(place.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise StorageError(
            f"The flag {place} is damaged: {error}.",
            safe="Pairs and other flags are not affected.",
            next_step="Delete it, and flag the pair again.",
        ) from error
