"""Where DATA is: a folder, or ``s3://bucket/prefix``; and what stays on a machine even then.

What must be shared to make one run from several machines is in DATA: parts, manifests, run locks, completed calls, and
flags. All else is of a machine, and can be made anew from those: the catalog (views), the index of `rpo browse`,
exports (equal byte for byte wherever they are made), Prefect's remembered results (the part is the truth), server logs,
scratch, the call cache's database (SQLite needs a disk of its own), trained models (they are served from a disk). With
a local DATA both are one folder.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from models.base import digest
from models.errors import SettingsError
from storage.objects import ObjectPath, endpoint_address, parse_address

RESULTS_FOLDER = "prefect"
"""Folder of DATA, or of this machine where DATA is a store, with Prefect's references to the parts of finished tasks.

Another machine does without it: its task finds the part, which is the truth, and is done."""

Root = Path | ObjectPath
"""DATA, or a file in it."""

_usable: set[tuple[str, str]] = set()


def data_root(address: str | Path) -> Root:
    """The data folder of a setting or an option; a store is asked once a process whether it can be used.

    Raises:
        SettingsError: It may not be read, is a file or another kind of address, or the extra ``s3`` is not installed.
        StorageError: The store has no such bucket, refuses, or does not answer.
    """
    if isinstance(address, Path):
        return address
    if "://" not in address:
        return _folder(address)
    root = parse_address(address)
    door = (endpoint_address(), root.bucket)
    if door not in _usable:
        root.require_bucket()
        _usable.add(door)
    return root


def _folder(address: str) -> Path:
    """A folder that is not there yet is one too."""
    folder = Path(address)
    try:
        is_folder, is_open = stat.S_ISDIR(folder.stat().st_mode), os.access(folder, os.R_OK | os.X_OK)
    except PermissionError:
        is_folder, is_open = True, False
    except OSError:
        return folder
    if is_folder and is_open:
        return folder
    raise SettingsError(
        f"The data folder {folder} may not be read by this user." if is_folder else f"The data {folder} is a file.",
        safe="Nothing was changed.",
        next_step="Give another folder: --data, or `data` in the settings.",
    )


def machine_dir(root: Root | str) -> Path:
    """The folder of this machine for a DATA: DATA itself where it is a folder.

    Else a folder under ``XDG_CACHE_HOME`` (``~/.cache``): the standard variable moves it to a larger disk.
    """
    if isinstance(root, str):
        root = parse_address(root) if "://" in root else Path(root)
    if isinstance(root, Path):
        return root
    cache = os.environ.get("XDG_CACHE_HOME")
    # one bucket name on two servers is two stores
    name = f"{root.bucket}-{root.name or 'all'}-{digest([endpoint_address(), str(root)], length=8)}"
    return (Path(cache) if cache else Path.home() / ".cache") / "rpo-factory" / name


def list_stems(folder: Root, suffix: str) -> list[str]:
    """The names, without the suffix, of the visible files in a folder that end in it."""
    if isinstance(folder, Path):
        return sorted(file.name.removesuffix(suffix) for file in folder.glob(f"[!.]*{suffix}"))
    return [name.removesuffix(suffix) for name in folder.list_names() if name.endswith(suffix) and name[0] != "."]
