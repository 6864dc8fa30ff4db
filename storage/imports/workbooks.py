"""Rows of one sheet of a spreadsheet (.xlsx), one at a time. Formulas are text, and are not evaluated."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from models.errors import ImportFileError
from models.imports import ReadLimits
from storage.imports.opening import refuse_bomb
from storage.imports.rows import Refused, Row, refuse

_MOST_BYTES = 1 << 30
"""Unpacked; the texts of a spreadsheet are in memory all at once."""


def read_sheet(path: Path, sheet: str, limits: ReadLimits) -> Iterator[Row | Refused]:
    """The rows below the first one of a sheet, which names the columns; numbered as the spreadsheet does.

    Raises:
        ImportFileError: It is no spreadsheet, lacks the sheet, unpacks to more than the limits allow, or the extra
            ``sheets`` is not installed.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise ImportFileError(
            f"{path} is a spreadsheet, and the extra `sheets` is not installed.",
            safe="Nothing was written.",
            next_step="pip install 'openpyxl>=3.1' (or '.[sheets]' in the factory's folder).",
        ) from error
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        most = min(_MOST_BYTES, limits.max_unpacked_bytes)
        refuse_bomb(path, unpacked, path.stat().st_size, limits.model_copy(update={"max_unpacked_bytes": most}))
        book = openpyxl.load_workbook(path, read_only=True)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ImportFileError(
            f"{path} cannot be read as a spreadsheet: {error}.",
            safe="Nothing was written.",
            next_step="Check the file.",
        ) from error
    try:
        if sheet not in book.sheetnames:
            raise ImportFileError(
                f"{path} has no sheet {sheet}; it has: {', '.join(book.sheetnames)}.", safe="Nothing was written."
            )
        rows = book[sheet].iter_rows(values_only=True)
        names = [str(name) for name in next(rows, ())]
        for number, cells in enumerate(rows, start=2):
            values = dict(zip(names, cells, strict=False))
            if any(isinstance(cell, str) and len(cell) > limits.max_field_chars for cell in cells):
                yield refuse(number, "field_too_long", f"more than {limits.max_field_chars:,} characters", "")
            elif any(cell is not None for cell in cells):
                yield Row(number, values)
    finally:
        book.close()
