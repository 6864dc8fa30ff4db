"""Runs: a manifest says which parts belong to a run; the folders hold the parts of all runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, overload

from pydantic import AwareDatetime, Field, ValidationError, field_validator

from models.base import Strict
from models.endpoints import RoleName
from models.errors import SettingsError, StorageError
from models.records import PartRef
from models.settings import RESERVED_RUNS
from storage.files import atomic_file
from storage.roots import Root, list_stems

RunStatus = Literal["running", "complete", "failed", "partial"]


class ImportedFrom(Strict):
    """The file that a run was imported from."""

    file: str = Field(description="Its name.")
    layout: str = Field(description="How it was read.")
    history: str | None = Field(default=None, description="After whose history it was answered: gt or own (SysBench).")
    verdicts: bool = Field(description="Whether its verdicts were taken; else the factory has judged.")

    @property
    def what(self) -> str:
        """What it holds, in words."""
        return "imported responses with verdicts" if self.verdicts else "imported responses"

    @property
    def asked(self) -> tuple[RoleName, ...]:
        """The roles that the run asks, where its settings have them; the others have no part in it."""
        return ("author",) if self.verdicts else ("author", "judge")

    @property
    def command(self) -> str:
        """What imports it again; the file's folder and the name of the run are left to the person."""
        history = f" --history {self.history}" if self.history else ""
        what = f"verdicts {self.file} --layout {self.layout}{history}" if self.verdicts else f"responses {self.file}"
        return f"rpo import {what}"


class Manifest(Strict):
    """A run and the parts that belong to it: ``DATA/runs/<run>.json``."""

    run: str = Field(pattern=r"^[a-z][a-z0-9_]{0,47}$", description="Name of the run.")
    evaluates: str | None = Field(
        default=None, description="The run whose models this one measures; null: a factory run."
    )
    benchmark: str | None = Field(
        default=None, description="The benchmark that this one measures models on; null: none."
    )
    estimates: str | None = Field(
        default=None, description="The run that this one is a sample of (`rpo run --dry-run`); null: of none."
    )
    policy: str | None = Field(
        default=None, description="The training run whose policy this round samples from; null: the settings' own."
    )
    previous: str | None = Field(
        default=None, description="The run that the policy was trained on: the round before; null: this is the first."
    )
    imported: ImportedFrom | None = Field(
        default=None, description="The file whose dialogues and responses it holds; null: the factory made them."
    )
    settings_hash: str = Field(description="Hash of the settings.")
    settings: dict[str, Any] = Field(description="The settings, as JSON.")
    started_at: AwareDatetime = Field(description="When the run started.")
    finished_at: AwareDatetime | None = Field(default=None, description="When it ended; null: it has not.")
    status: RunStatus = Field(
        default="running", description="running, complete, failed, or partial: some of its stages were made."
    )
    failure: str | None = Field(
        default=None, description="Why it failed, in the words of the error; null: it did not, or its process died."
    )
    parts: list[PartRef] = Field(default=[], description="The parts of the run, in the order they were added.")
    summary: dict[str, Any] | None = Field(default=None, description="What the run made; null until it is complete.")

    @field_validator("run")
    @classmethod
    def _not_reserved(cls, run: str) -> str:
        if run in RESERVED_RUNS:
            raise ValueError(f"a run cannot be called {run}: the catalog has a schema of that name already")
        return run

    @property
    def is_factory_run(self) -> bool:
        """Whether it is a whole run of the factory: neither an evaluation nor a sample."""
        return not self.is_evaluation and self.estimates is None

    @property
    def is_evaluation(self) -> bool:
        """Whether it measures models."""
        return self.evaluates is not None or self.benchmark is not None

    def parts_of(self, dataset: str) -> list[PartRef]:
        """The run's parts of one dataset, in the order they were added."""
        return [part for part in self.parts if part.dataset == dataset]


RUNS_FOLDER = "runs"
LOCK_SUFFIX = ".lock"
"""Beside the manifest of a run: who works on it."""


@overload
def manifest_path(root: Path, run: str) -> Path: ...
@overload
def manifest_path(root: Root, run: str) -> Root: ...
def manifest_path(root: Root, run: str) -> Root:
    """Where the manifest of a run rests."""
    return root / RUNS_FOLDER / f"{run}.json"


def save(root: Root, manifest: Manifest) -> None:
    """Write a manifest: synced and whole, or as it was before.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    path, content = manifest_path(root, manifest.run), manifest.model_dump_json(indent=1).encode("utf-8")
    if not isinstance(path, Path):
        path.write_bytes(content)
        return
    with atomic_file(path, f"Manifest of run {manifest.run}") as file:
        file.write(content)


def load(root: Root, run: str) -> Manifest:
    """The manifest of a run.

    Raises:
        StorageError: There is no such run, or its manifest is damaged.
    """
    path = manifest_path(root, run)
    # a run's name comes from the command line: never read what is not a child of runs/
    if "/" in run or not path.is_file():
        known = ", ".join(list_stems(root / RUNS_FOLDER, ".json")) or "none"
        raise StorageError(f"There is no run {run!r} in {root}; known runs: {known}.")
    return _read(path)


def list_runs(root: Root) -> list[Manifest]:
    """All runs, the newest last.

    Raises:
        StorageError: A manifest is damaged; the message names it.
    """
    manifests = [_read(manifest_path(root, run)) for run in list_stems(root / RUNS_FOLDER, ".json")]
    return sorted(manifests, key=lambda manifest: (manifest.started_at, manifest.run))


def newest_run(root: Root) -> str:
    """The run that a command is about where none is named: the newest one of the factory.

    Raises:
        SettingsError: There is none.
        StorageError: A manifest is damaged; the message names it.
    """
    runs = [manifest for manifest in list_runs(root) if manifest.is_factory_run]
    if not runs:
        raise SettingsError(f"There is no run in {root} yet.", next_step="Type: rpo demo")
    return runs[-1].run


def _read(path: Root) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise _damaged(path, str(error)) from error
    if manifest.run != path.stem:
        raise _damaged(path, f"it says that it is run {manifest.run}")
    return manifest


def _damaged(path: Root, why: str) -> StorageError:
    move = "mv" if isinstance(path, Path) else "aws s3 mv"
    return StorageError(
        f"Manifest {path} is damaged: {why}.",
        safe="All parts and completed calls are whole.",
        next_step=f"Move it away ({move} '{path}' '{path}.damaged') and run again with the same settings: "
        "finished parts are found again and nothing is paid twice.",
    )


class RunBook:
    """The manifest of a run under way, for all threads that finish parts; every change is saved at once.

    Args:
        root: The data folder.
        manifest: The run; it is saved as it is.
        require_lock: Raises where the run is no longer this process's to write.
    """

    def __init__(self, root: Root, manifest: Manifest, *, require_lock: Callable[[], None] = lambda: None) -> None:
        self._root, self._manifest, self._require_lock = root, manifest, require_lock
        self._known = set(manifest.parts)
        self._lock = threading.Lock()
        save(self._root, manifest)

    @property
    def manifest(self) -> Manifest:
        """The run as it now is."""
        return self._manifest

    def add(self, refs: Iterable[PartRef]) -> None:
        """Register parts; those that are registered already change nothing."""
        with self._lock:
            new = [ref for ref in dict.fromkeys(refs) if ref not in self._known]
            if new:
                self._save(parts=[*self._manifest.parts, *new])
                self._known.update(new)

    def finish(
        self,
        status: Literal["complete", "failed", "partial"],
        summary: dict[str, Any] | None = None,
        *,
        failure: str | None = None,
    ) -> Manifest:
        """Close the run, now."""
        with self._lock:
            self._save(status=status, summary=summary, failure=failure, finished_at=datetime.now(UTC))
            return self._manifest

    def _save(self, **changes: Any) -> None:
        # what could not be saved is not remembered, so that the next add tries again
        changed = self._manifest.model_copy(update=changes)
        self._require_lock()
        save(self._root, changed)
        self._manifest = changed
