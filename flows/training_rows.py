"""The released training rows, as an export for TRL."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from models.base import Strict
from models.errors import SettingsError
from models.settings import FactorySettings
from storage.exports.files import EXPORTS_FOLDER
from storage.imports.dialogue_rows import RowCounts
from storage.imports.report import open_report, report_path
from storage.imports.training_rows import export_training_rows
from storage.manifests import manifest_path
from storage.roots import data_root, machine_dir


class ImportedRows(Strict):
    """What became of a file of training rows."""

    rows: int
    refused: dict[str, int]
    """By reason."""
    report: str
    """File with a line for each refused row."""
    folder: str
    exported: dict[str, int]
    """Rows by split."""


def import_training_rows(file: Path, settings: FactorySettings, validation_share: float) -> ImportedRows:
    """Write training rows under the exports of a name that no run has.

    Args:
        file: The rows.
        settings: Where, and under which name.
        validation_share: Share of the dialogues that is held out.

    Raises:
        SettingsError: A run has that name, or the share is none.
        ImportFileError: The file cannot be read, or no row of it can be used.
    """
    if not 0 <= validation_share < 1:
        raise SettingsError(f"--validation-share is {validation_share}; it is at least 0 and less than 1.")
    if manifest_path(data_root(settings.data), settings.run).is_file():
        raise SettingsError(
            f"{settings.run!r} is a run in {settings.data}, and has exports of its own.",
            safe="Nothing was written.",
            next_step="Give another name: `--run NAME`.",
        )
    machine = machine_dir(settings.data)
    folder = machine / EXPORTS_FOLDER / settings.run / "trl"
    path = report_path(machine, settings.run)
    with open_report(path) as report:
        counts = RowCounts(partial(report.add, "refused"))
        exported = export_training_rows(file, folder, validation_share, counts)
    return ImportedRows(
        rows=counts.rows, refused=dict(counts.refused), report=str(path), folder=str(folder), exported=exported
    )
