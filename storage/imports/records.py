"""Which of the released RPO records a file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from models.errors import ImportFileError
from storage.imports.opening import require_file
from storage.imports.reading import read_rows
from storage.imports.rows import Row

RecordsKind = Literal["detail", "training"]


def tell_records(path: Path) -> RecordsKind:
    """What a file of released records holds, by the fields of its first row.

    Raises:
        ImportFileError: It holds none, or profiles without dialogues.
        SettingsError: It is a pipe, of which the rows that tell would be missing afterwards.
    """
    require_file(path)
    fields = next((set(row.values) for row in read_rows(path) if isinstance(row, Row)), set())
    if "infer_history" in fields:
        return "detail"
    if {"conversations", "chosen", "rejected"} <= fields:
        return "training"
    if "structure_system_prompt" in fields:
        what, mend = "has system profiles without dialogues", f"Type: rpo import systems {path}"
    else:
        what, mend = "is none of the released records", "The layouts are in docs/importing-answers.md."
    raise ImportFileError(f"{path} {what}.", safe="Nothing was written.", next_step=mend)
