"""The report of an import: every row that did not become a seed, with its line and why."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from storage.files import atomic_file
from storage.imports.rows import Refused

Outcome = Literal["refused", "duplicate", "filtered"]
COLUMNS = ("line", "outcome", "reason", "field", "what", "excerpt")

# what a spreadsheet takes for the beginning of a formula
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def report_path(machine: Path, run: str) -> Path:
    """Where the rows stand that were refused when a run was imported; ``machine`` is the folder of this machine."""
    return machine / "imports" / f"{run}.refused.jsonl"


class Report:
    """Writes a row for each row that was left out."""

    def __init__(self, file: io.TextIOBase, *, as_csv: bool) -> None:
        self._file = file
        self._csv = csv.writer(file) if as_csv else None
        if self._csv is not None:
            self._csv.writerow(COLUMNS)

    def add(self, outcome: Outcome, row: Refused) -> None:
        """One row that was left out."""
        cells = [row.line, outcome, row.reason, row.field, row.what, row.excerpt]
        if self._csv is not None:
            self._csv.writerow([neutralise(cell) if isinstance(cell, str) else cell for cell in cells])
        else:
            self._file.write(json.dumps(dict(zip(COLUMNS, cells, strict=True)), ensure_ascii=False) + "\n")


def neutralise(cell: str) -> str:
    """A cell that a spreadsheet shows as it stands there, and does not compute."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


@contextmanager
def open_report(path: Path) -> Iterator[Report]:
    """A report that is there when the body ends well: CSV by its name, else JSON lines.

    Raises:
        StorageError: It cannot be written.
    """
    with atomic_file(path, "Report of the import") as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        yield Report(text, as_csv=path.suffix.lower() == ".csv")
        text.detach()  # flushed; the file is closed, and synced, by who opened it
