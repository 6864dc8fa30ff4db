"""Opening a file that others made: compressed or not, in any Unicode encoding, always as a stream of UTF-8."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from models.errors import ImportFileError, SettingsError
from models.imports import ReadLimits

DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)
"""What reading a compressed file raises where it is cut off or damaged."""

SMALL_BYTES = 64 << 20
"""A file that unpacks to less is harmless, whatever its ratio."""

_GZIP = b"\x1f\x8b"
# the longer mark of UTF-32 begins like that of UTF-16
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_OTHERS = {
    b"PK\x03\x04": "a zip archive (or a spreadsheet); unpack it, or save the sheet as CSV",
    b"BZh": "compressed with bzip2; unpack it",
    b"\xfd7zXZ\x00": "compressed with xz; unpack it",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it",
    b"PAR1": "Parquet; give it a name that ends in .parquet",
    b"ARROW1": "an Arrow file; write it as Parquet",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet; save it as CSV",
}
_CHUNK = 1 << 16


@contextmanager
def open_text(path: Path, limits: ReadLimits) -> Iterator[IO[bytes]]:
    """A file as a stream of UTF-8 without a byte-order mark, unpacked where it is gzip (whatever its name is).

    Text that is no Unicode (a lone surrogate in UTF-16, half a character) comes as bytes that are no UTF-8, so that
    the row it stands in is refused, and no other.

    Raises:
        ImportFileError: The file cannot be opened, is none of text, or unpacks to more than the limits allow (while it
            is read).
    """
    if path.is_dir():
        raise folder_given(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise ImportFileError(
            f"{path} cannot be read: {error.strerror}.", safe="Nothing was written.", next_step="Check the path."
        ) from error
    with file:
        stream: IO[bytes] = file
        if file.peek(2).startswith(_GZIP):
            stream = io.BufferedReader(_Unpacked(path, file, limits), _CHUNK)
        yield _as_utf8(path, stream)


def folder_given(path: Path) -> ImportFileError:
    """What to say of a folder in the place of a file."""
    return ImportFileError(
        f"{path} is a folder.", safe="Nothing was written.", next_step="Give one of the files in it, one at a time."
    )


def require_file(path: Path) -> None:
    """Refuse a pipe where a file is read twice: of what was taken from it the first time nothing comes again.

    Raises:
        SettingsError: It is one.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise SettingsError(
            f"{path} is no file that can be read twice.",
            safe="Nothing was written.",
            next_step="Write it to a file first.",
        )


def _as_utf8(path: Path, stream: IO[bytes]) -> IO[bytes]:
    try:
        head: bytes = stream.peek(8)[:8]  # type: ignore[attr-defined]
    except DAMAGED as error:
        raise ImportFileError(f"{path} is damaged: {error}.", safe="Nothing was written.") from error
    for start, what in _OTHERS.items():
        if head.startswith(start):
            raise ImportFileError(f"{path} is {what}.", safe="Nothing was written.")
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            stream.read(len(mark))
            return stream if encoding == "utf-8" else io.BufferedReader(_Transcoded(stream, encoding), _CHUNK)
    if b"\0" in head[:4]:
        raise ImportFileError(
            f"{path} is not UTF-8; it may be UTF-16 without a byte-order mark, or no text at all.",
            safe="Nothing was written.",
            next_step=f"Convert it: iconv -f UTF-16LE -t UTF-8 {path}",
        )
    return stream


class _Raw(io.RawIOBase):
    def readable(self) -> bool:
        return True


class _Unpacked(_Raw):
    """The contents of a gzip file, as long as they are in proportion to it."""

    def __init__(self, path: Path, file: BinaryIO, limits: ReadLimits) -> None:
        self._path, self._file, self._limits = path, file, limits
        self._gzip = gzip.GzipFile(fileobj=file)
        self._size = 0

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._gzip.read1(len(buffer))
        buffer[: len(data)] = data
        self._size += len(data)
        refuse_bomb(self._path, self._size, self._file.tell(), self._limits)
        return len(data)


def refuse_bomb(path: Path, unpacked: int, packed: int, limits: ReadLimits) -> None:
    """Refuse a file that unpacks to more than the limits allow.

    Args:
        path: The file.
        unpacked: Bytes so far.
        packed: Bytes that they were made of.
        limits: How much is allowed.

    Raises:
        ImportFileError: It does.
    """
    if unpacked > limits.max_unpacked_bytes:
        what = f"to more than {limits.max_unpacked_bytes:,} bytes"
    elif unpacked > SMALL_BYTES and unpacked > limits.max_ratio * packed:
        what = f"to more than {limits.max_ratio:g} times its size"
    else:
        return
    raise ImportFileError(
        f"{path} unpacks {what}: that is no text, and it was not read to the end.",
        safe="Nothing was written.",
        next_step="If you trust the file, unpack it first, or raise --max-ratio.",
    )


class _Transcoded(_Raw):
    """A stream in another encoding as UTF-8; what is no Unicode comes as bytes that are no UTF-8."""

    def __init__(self, source: IO[bytes], encoding: str) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        self._rest = b""
        self._ended = False

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest and not self._ended:
            data = self._source.read(_CHUNK)
            self._ended = not data
            try:
                text = self._decoder.decode(data, final=self._ended)
                self._rest = text.encode("utf-8", "surrogatepass")
            except UnicodeDecodeError:  # half a character at the end, or a number that is no character
                self._rest, self._ended = b"\xff", True
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)
