"""Whether one part is whole.

A part carries a checksum for every page. What they do not cover (the headers of pages, the footer with its statistics,
by which readers skip rows) is compared with what this program writes for the same rows: equal rows are equal bytes.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from models.records import PartRef
from storage.encoding import UNREADABLE, damaged_part, encode_part
from storage.parts import PartStore

if TYPE_CHECKING:
    from typing_extensions import Buffer


def check_part(store: PartStore, ref: PartRef) -> tuple[int, bool]:
    """Read a part, verify its checksums, and compare its bytes with what this program writes for the same rows.

    Returns:
        Its rows, and whether the bytes could be compared: another version of the factory or of its Parquet library
        writes others.

    Raises:
        StorageError: The part is damaged or missing, or was written by a newer version.
    """
    place = store.locate(ref)
    with store.open_whole(ref) as file:
        table = store.read_table(ref, file)
        try:
            footer = pq.read_metadata(file, memory_map=False)
            writer, stored = footer.created_by, footer.metadata or {}
            if b"rpo.inputs" not in stored:
                raise ValueError("its footer does not say what it was made from")
            inputs = [PartRef.model_validate(item) for item in json.loads(stored[b"rpo.inputs"])]
        except UNREADABLE as error:
            raise damaged_part(place, error) from error
        if writer != f"parquet-cpp-arrow version {pa.cpp_version}":
            return table.num_rows, False
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        comparison = _Comparison(file)
        encode_part(comparison, ref.dataset, table, inputs=inputs, what=f"Part {place}")
    # damage does not change the length of a file that can still be read; another version of the factory does
    if comparison.tell() != size:
        return table.num_rows, False
    if comparison.differs_at is not None:
        raise damaged_part(place, ValueError(f"byte {comparison.differs_at} is not as it was written"))
    return table.num_rows, True


class _Comparison(io.BytesIO):
    """Takes what is written, keeps nothing of it, and says where it differs from a file."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file, self._written = file, 0
        self.differs_at: int | None = None

    def write(self, data: Buffer, /) -> int:
        new = bytes(data)
        there = self._file.read(len(new))
        if self.differs_at is None and new != there:
            same = next((place for place, pair in enumerate(zip(new, there, strict=False)) if pair[0] != pair[1]), 0)
            self.differs_at = self._written + same
        self._written += len(new)
        return len(new)

    def tell(self) -> int:
        return self._written
