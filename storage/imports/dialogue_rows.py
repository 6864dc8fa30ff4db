"""Rows of the factory's own layout: a dialogue each, with its responses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from models.answers import AnswersFile, GivenDialogue
from models.errors import ImportFileError
from storage.imports.reading import read_rows, unpack_cells
from storage.imports.rows import Refused, Row


class Found(NamedTuple):
    """A dialogue and where it begins in its file."""

    line: int
    dialogue: GivenDialogue


class RowCounts:
    """What became of the rows of a file: how many were read, which were refused and why.

    Args:
        report: Told of every row that is refused.
    """

    def __init__(self, report: Callable[[Refused], None]) -> None:
        self._report = report
        self.rows = 0
        """Rows that were read."""
        self.passed_over = 0
        """Rows that were not asked for."""
        self.stand_ins = 0
        """Turns whose history has an answer that is not in the file, and a response in its place."""
        self.refused: Counter[str] = Counter()
        """By reason."""
        self.first: Refused | None = None

    def read(self, path: Path, columns: Collection[str] | None = None) -> Iterator[Row]:
        """The rows of a file that can be read; the others are refused. ``columns`` as for ``read_rows``.

        Raises:
            ImportFileError: The file cannot be read at all.
        """
        for item in read_rows(path, columns=columns):
            self.rows += 1
            if isinstance(item, Refused):
                self._refuse(item)
            else:
                yield item

    def refuse(self, line: int, reason: str, field: str, what: str) -> None:
        """A row that can be read and not be used."""
        self._refuse(Refused(line, reason, field, what, ""))

    def nothing_in(self, path: Path) -> ImportFileError:
        """What to say of a file that no row can be used of."""
        what = f"None of the {self.rows} rows of {path} can be used." if self.rows else f"{path} has no rows."
        if self.first is not None:
            what += (
                f" The first to be refused is line {self.first.line}, {self.first.field or 'row'}: {self.first.what}."
            )
        elif self.passed_over:
            what += f" {self.passed_over} were not asked for (--history)."
        return ImportFileError(
            what, safe="Nothing was written.", next_step="The layouts are in docs/importing-answers.md."
        )

    def _refuse(self, refused: Refused) -> None:
        self.refused[refused.reason] += 1
        self.first = self.first or refused
        self._report(refused)


def read_dialogues(file: AnswersFile, counts: RowCounts, *, judged: bool) -> Iterator[Found]:
    """The dialogues of a file in the factory's own layout.

    Args:
        file: The file.
        counts: What became of the rows; complete at the end.
        judged: Whether their verdicts are wanted; else a row that has some is refused, as they would be lost.

    Raises:
        ImportFileError: The file cannot be read at all.
    """
    for row in counts.read(Path(file.path)):
        item = unpack_cells(row, ("constraints", "turns"))
        if isinstance(item, Refused):
            counts.refuse(item.line, item.reason, item.field, item.what)
            continue
        try:
            # where JSON has no field, CSV has an empty one
            dialogue = GivenDialogue.model_validate({name: value for name, value in item.values.items() if value != ""})
        except ValidationError as error:
            counts.refuse(item.line, "wrong_value", *explain(error))
            continue
        if not judged and any(response.verdicts for turn in dialogue.turns for response in turn.responses):
            counts.refuse(item.line, "has_verdicts", "turns", "it has verdicts: `rpo import verdicts` takes them")
        else:
            yield Found(item.line, dialogue)


def explain(error: ValidationError) -> tuple[str, str]:
    """The field of a validation error, as ``turns.1.responses.2.text``, and what is wrong with it."""
    first = error.errors(include_url=False)[0]
    return ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
