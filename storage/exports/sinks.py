"""A table's rows on their way into the files of one format."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from models.settings import ExportFormat
from storage.exports.batch import Table
from storage.exports.parquet import SCHEMAS, ParquetShards
from storage.exports.rows import ExportRow, sharegpt_row

SPLITS = ("train", "validation")
# ends of lines to some readers, and JSON lets them stand
_LINE_ENDS = {"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def encode_line(row: ExportRow) -> str:
    """A row as one line of JSON.

    Raises:
        ValueError: A number of it is not JSON: a bare NaN no reader would take.
    """
    line = json.dumps(row, ensure_ascii=False, allow_nan=False)
    for char, escaped in _LINE_ENDS.items():
        line = line.replace(char, escaped)
    return line + "\n"


class Sink(ABC):
    """Where the rows of a table go.

    Args:
        name: The format.
        table: The table.
    """

    pattern: str
    """Its files in the export's folder; ``{split}`` stands for the split."""

    def __init__(self, name: ExportFormat, table: Table) -> None:
        self.format, self.table = name, table
        self.rows = Counter(dict.fromkeys(SPLITS, 0))

    @abstractmethod
    def write(self, split: str, row: ExportRow, line: str) -> None:
        """Add a row, which is also given as a line of JSON."""


class JsonLines(Sink):
    """A table as one JSON-lines file a split, open as long as ``files`` is."""

    def __init__(self, name: ExportFormat, table: Table, folder: Path, files: ExitStack) -> None:
        super().__init__(name, table)
        self.pattern = f"{name}/{'rpo_' if name == 'llamafactory' else ''}{{split}}.jsonl"
        (folder / name).mkdir(parents=True)
        paths = {split: folder / self.pattern.format(split=split) for split in SPLITS}
        self._files = {
            split: files.enter_context(path.open("w", encoding="utf-8", newline="\n")) for split, path in paths.items()
        }

    def write(self, split: str, row: ExportRow, line: str) -> None:
        """Add a row."""
        self._files[split].write(encode_line(sharegpt_row(row)) if self.format == "llamafactory" else line)
        self.rows[split] += 1


class Parquet(Sink):
    """A table as Parquet files, which are whole when ``files`` is closed."""

    def __init__(self, table: Table, folder: Path, files: ExitStack) -> None:
        super().__init__("parquet", table)
        self.pattern = f"parquet/{table}/{{split}}-*.parquet"
        place = folder / "parquet" / table
        place.mkdir(parents=True)
        self._shards = {split: files.enter_context(ParquetShards(place, split, SCHEMAS[table])) for split in SPLITS}

    def write(self, split: str, row: ExportRow, line: str) -> None:
        """Add a row."""
        self._shards[split].write(row, len(line))
        self.rows[split] += 1


def describe_sharegpt(file_name: str) -> dict[str, Any]:
    """What LLaMA-Factory's ``dataset_info.json`` says of a file of ``sharegpt_row``."""
    return {
        "file_name": file_name,
        "formatting": "sharegpt",
        "ranking": True,
        "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
        "tags": {
            "role_tag": "from",
            "content_tag": "value",
            "user_tag": "human",
            "assistant_tag": "gpt",
            "system_tag": "system",
        },
    }
