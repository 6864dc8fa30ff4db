"""Tables as Parquet files that ``datasets.load_dataset(folder)`` reads: one folder a table, shards of a split."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage.exports.batch import Table
from storage.exports.rows import ExportRow

# Fixed, so that equal rows are equal bytes; counted in characters of the rows as JSON, so that memory has a bound
# however long the texts are.
GROUP_CHARS = 4 << 20
SHARD_CHARS = 256 << 20

_MESSAGES = pa.list_(pa.struct([pa.field(name, pa.string()) for name in ("role", "content")]))
_CONSTRAINTS = pa.list_(
    pa.struct(
        [pa.field(name, pa.string()) for name in ("constraint_id", "text", "kind", "trigger", "check")]
        + [pa.field(name, pa.bool_()) for name in ("triggered", "reversed")]
    )
)
_ORIGIN = [
    ("refined", pa.bool_()),
    ("dialogue_id", pa.string()),
    ("turn", pa.int64()),
    ("language", pa.string()),
    ("constraints", _CONSTRAINTS),
]
_PREFERENCE = pa.schema(
    [
        ("prompt", _MESSAGES),
        ("chosen", _MESSAGES),
        ("rejected", _MESSAGES),
        ("margin", pa.float64()),
        ("pair_id", pa.string()),
        *_ORIGIN,
    ]
)
SCHEMAS: dict[Table, pa.Schema] = {
    "rpo": _PREFERENCE,
    "dpo": _PREFERENCE,
    "kto": pa.schema(
        [
            ("prompt", _MESSAGES),
            ("completion", _MESSAGES),
            ("label", pa.bool_()),
            ("response_id", pa.string()),
            *_ORIGIN,
        ]
    ),
    "sft": pa.schema([("messages", _MESSAGES), ("response_id", pa.string()), ("followed", pa.int64()), *_ORIGIN]),
}


class ParquetShards:
    """One split of a table: ``train-00000-of-00002.parquet``, ...; no file where it has no rows.

    Args:
        folder: The table's folder.
        split: The split.
        schema: The table's columns.
        group_chars: Size of a row group: rows are held in memory up to it.
        shard_chars: Size of a file.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        schema: pa.Schema,
        *,
        group_chars: int = GROUP_CHARS,
        shard_chars: int = SHARD_CHARS,
    ) -> None:
        self._folder, self._split, self._schema = folder, split, schema
        self._group_chars, self._shard_chars = group_chars, shard_chars
        self._rows: list[ExportRow] = []
        self._chars = self._written = 0
        self._paths: list[Path] = []
        self._file: pq.ParquetWriter | None = None

    def write(self, row: ExportRow, chars: int) -> None:
        """Add a row.

        Args:
            row: The row.
            chars: Characters of the row as JSON.
        """
        self._rows.append(row)
        self._chars += chars
        if self._chars >= self._group_chars:
            self._end_group()

    def __enter__(self) -> ParquetShards:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Write what is held, and give the files the names that say how many they are."""
        if kind is None:
            self._end_group()
        self._close()
        for number, path in enumerate(self._paths):
            path.rename(self._folder / f"{self._split}-{number:05}-of-{len(self._paths):05}.parquet")

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _end_group(self) -> None:
        if not self._rows:
            return
        if self._file is None:
            self._paths.append(self._folder / f"{self._split}-{len(self._paths):05}.tmp")
            # all that pyarrow could choose otherwise in a later version and that changes bytes
            self._file = pq.ParquetWriter(
                self._paths[-1],
                self._schema,
                version="2.6",
                data_page_version="1.0",
                compression="zstd",
                compression_level=3,
                use_dictionary=True,
                write_statistics=True,
                write_page_checksum=True,
                store_schema=False,
            )
        group = pa.Table.from_pylist(self._rows, schema=self._schema)
        self._file.write_table(group, row_group_size=len(self._rows))
        self._written += self._chars
        self._rows, self._chars = [], 0
        if self._written >= self._shard_chars:
            self._close()
            self._written = 0
