"""Objects in an S3-compatible store, by the few operations that parts, manifests and calls need.

Not a general file system: every operation here is one request, and its errors say what to do. `s3fs` does the talking,
because DuckDB reads through it too; pathlib stays what a local DATA is read and written with, and never imports this
library (`universal-pathlib` would give one type to both, but neither conditional writes nor our errors).

An object appears whole or not at all, so nothing is renamed. What S3 gives beyond a file system is the conditional
write: ``create`` fails where there is an object, ``replaces`` where it is no longer the one that was read.
"""

from __future__ import annotations

import contextlib
import email.utils
import functools
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from models.errors import FactoryError, SettingsError, StorageError

if TYPE_CHECKING:
    from s3fs import S3FileSystem

SCHEME = "s3://"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEY = re.compile(r"[A-Za-z0-9._=-]+(/[A-Za-z0-9._=-]+)*")
_BLOCK_BYTES = 1 << 20


class ConditionError(Exception):
    """A conditional write came too late: another writer's object is there."""


class Listed(NamedTuple):
    """An object, or a prefix of more, as a listing says it."""

    name: str
    kind: Literal["file", "folder"]
    size: int
    modified: float
    """Seconds since 1970 by the store's clock; of a prefix 0."""
    tag: str


class Upload(NamedTuple):
    """A large object that was not put to its end: it is not seen, and its pieces are billed."""

    path: ObjectPath
    upload_id: str
    size: int
    modified: float
    """When the last piece came."""


@dataclass(frozen=True)
class ObjectPath:
    """An object, or the prefix of some: ``s3://bucket/key``."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{SCHEME}{self._place}"

    def __truediv__(self, name: str) -> ObjectPath:
        return ObjectPath(self.bucket, f"{self.key}/{name}" if self.key else name)

    @property
    def name(self) -> str:
        """The last part of the key."""
        return PurePosixPath(self.key).name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.key).stem

    @property
    def parent(self) -> ObjectPath:
        """The prefix that it stands under."""
        return ObjectPath(self.bucket, self.key.rpartition("/")[0])

    @property
    def _place(self) -> str:
        return f"{self.bucket}/{self.key}" if self.key else self.bucket

    def is_file(self) -> bool:
        """Whether there is such an object."""
        return self.size() is not None

    def size(self) -> int | None:
        """Its bytes; None: it is not there."""
        with _errors(self, "be looked up"):
            try:
                found = filesystem().call_s3("head_object", Bucket=self.bucket, Key=self.key)
            except FileNotFoundError:
                return None
            return int(found["ContentLength"])

    def read_bytes(self) -> bytes:
        """All of it.

        Raises:
            FileNotFoundError: It is not there.
        """
        with _errors(self, "be read"):
            # one request: to read in pieces at once it would ask for the size first
            content: bytes = filesystem().cat_file(self._place, max_concurrency=1)
            return content

    def read_tagged(self) -> tuple[bytes, str]:
        """All of a small object, and the tag that ``replaces`` takes.

        Raises:
            FileNotFoundError: It is not there.
        """
        from fsspec.asyn import sync

        with _errors(self, "be read"):
            fs = filesystem()
            content: tuple[bytes, str] = sync(fs.loop, _read_tagged, fs, self)
            return content

    def read_tail(self, count: int) -> bytes:
        """Its last bytes, all where it is shorter.

        Raises:
            FileNotFoundError: It is not there.
        """
        with _errors(self, "be read"):
            content: bytes = filesystem().cat_file(self._place, start=-count)
            return content

    def open(self) -> IO[bytes]:
        """The object as a file to read from here and there, for Parquet readers that want some columns or rows."""
        with _errors(self, "be read"):
            file: IO[bytes] = filesystem().open(self._place, "rb")
            return file

    def write_bytes(self, content: bytes, *, create: bool = False, replaces: str | None = None) -> str:
        """Put the object; returns its tag.

        Args:
            content: All of it.
            create: Only where there is none.
            replaces: Only where it still has this tag.

        Raises:
            ConditionError: The condition does not hold.
        """
        condition = {"IfNoneMatch": "*"} if create else {}
        if replaces is not None:
            condition = {"IfMatch": replaces}
        with _errors(self, "be written"), _conditional():
            stored = filesystem().call_s3("put_object", Bucket=self.bucket, Key=self.key, Body=content, **condition)
            return str(stored["ETag"])

    def put_from(self, file: Path, *, create: bool) -> bool:
        """Put a local file, in several requests where it is large.

        Args:
            file: The file.
            create: Only where there is no object; what is there stays, and the answer is False.
        """
        with _errors(self, "be written"):
            try:
                with _conditional():
                    filesystem().put_file(str(file), self._place, mode="create" if create else "overwrite")
            except ConditionError:
                return False
            return True

    def unlink(self) -> None:
        """Delete it, if it is there."""
        with _errors(self, "be deleted"):
            filesystem().call_s3("delete_object", Bucket=self.bucket, Key=self.key)

    def list_names(self) -> list[str]:
        """The names of the objects directly under this prefix, sorted."""
        return sorted(self.list_tags())

    def list_tags(self) -> dict[str, str]:
        """The objects directly under this prefix: a tag, which changes with the content, by name."""
        return {item.name: item.tag for item in self.list_entries() if item.kind == "file"}

    def list_entries(self) -> list[Listed]:
        """The objects and prefixes directly under this prefix, sorted by name."""
        with _errors(self, "be listed"):
            try:
                found = filesystem().ls(self._place, detail=True, refresh=True)
            except FileNotFoundError:
                return []
            # consoles put an object "name/" for a folder that somebody makes
            return [_listed(item) for item in found if not item["name"].endswith("/")]

    def list_uploads(self) -> list[Upload]:
        """Uploads under this prefix that were not finished, at most a thousand, also those under way."""
        with _errors(self, "be asked for unfinished uploads"):
            prefix = f"{self.key}/" if self.key else ""
            found = filesystem().call_s3("list_multipart_uploads", Bucket=self.bucket, Prefix=prefix)
            uploads = [(ObjectPath(self.bucket, item["Key"]), item) for item in found.get("Uploads", [])]
            return [upload for path, item in uploads if (upload := path._read_upload(item))]

    def abort_upload(self, upload_id: str) -> None:
        """Give up an upload, if it is still there."""
        with _errors(self, "be given up"), contextlib.suppress(FileNotFoundError):
            filesystem().call_s3("abort_multipart_upload", Bucket=self.bucket, Key=self.key, UploadId=upload_id)

    def _read_upload(self, item: dict[str, Any]) -> Upload | None:
        """What has come of an upload; None: it has just ended."""
        upload_id = str(item["UploadId"])
        try:
            found = filesystem().call_s3("list_parts", Bucket=self.bucket, Key=self.key, UploadId=upload_id)
        except FileNotFoundError:
            return None
        pieces = found.get("Parts", [])
        times = [item["Initiated"], *(piece["LastModified"] for piece in pieces)]
        return Upload(self, upload_id, sum(piece["Size"] for piece in pieces), max(times).timestamp())

    def read_clock(self) -> float:
        """The store's time, in seconds since 1970: what it dates objects by.

        Raises:
            StorageError: It does not say.
        """
        with _errors(self, "be used"):
            reply = filesystem().call_s3("head_bucket", Bucket=self.bucket)
        said = reply["ResponseMetadata"]["HTTPHeaders"].get("date")
        if said is None:
            raise StorageError(
                f"The store of {self} does not say what time it is: how old its objects are is not known.",
                safe="Nothing was deleted.",
                next_step="Let what stands between here and the store pass on the header Date.",
            )
        return email.utils.parsedate_to_datetime(said).timestamp()

    def require_bucket(self) -> None:
        """One request that tells whether the store can be used at all.

        Raises:
            StorageError: There is no such bucket, no right to it, no key, or no server.
        """
        with _errors(self, "be used"):
            filesystem().call_s3("head_bucket", Bucket=self.bucket)


def parse_address(address: str) -> ObjectPath:
    """The prefix that ``s3://bucket/prefix`` names.

    Raises:
        SettingsError: It is no such address.
    """
    bucket, _, key = address.removeprefix(SCHEME).strip("/").partition("/")
    if not address.startswith(SCHEME) or not _BUCKET.fullmatch(bucket) or (key and not _KEY.fullmatch(key)):
        # never shown: a person may have put a key into it
        raise SettingsError(
            "The address in `data` is neither a folder nor s3://bucket/prefix (letters, digits, . _ = - and /).",
            safe="Nothing was started.",
            next_step="Keys do not belong in it: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for a server other "
            "than AWS also AWS_ENDPOINT_URL.",
        )
    return ObjectPath(bucket, key)


def endpoint_address() -> str:
    """The server's address without what might be secret in it; empty: AWS itself."""
    given = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    parts = urlsplit(given)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if given else ""


def filesystem() -> S3FileSystem:
    """What talks to the store in this process.

    Its keys, region and endpoint are those of the AWS variables and files, read by botocore.

    Raises:
        SettingsError: The extra ``s3`` is not installed.
    """
    with _opening:
        return _filesystem(os.getpid())


_opening = threading.Lock()


@functools.cache
def _filesystem(_pid: int) -> S3FileSystem:
    # fsspec itself would make one a thread, with connections of its own; a forked process needs its own
    try:
        from storage.s3_filesystem import PartFileSystem
    except ImportError as error:
        raise SettingsError(
            "`data` is an s3:// address, and the extra `s3` is not installed.",
            safe="Nothing was started.",
            next_step="pip install 's3fs>=2026.2' (or '.[s3]' in the factory's folder).",
        ) from error
    # most parts are read whole by the first request for their end, and large ones a block at a time
    return PartFileSystem(skip_instance_cache=True, default_cache_type="blockcache", default_block_size=_BLOCK_BYTES)


def _listed(item: dict[str, Any]) -> Listed:
    name = PurePosixPath(item["name"]).name
    if item["type"] != "file":
        return Listed(name, "folder", 0, 0.0, "")
    return Listed(name, "file", int(item["Size"]), item["LastModified"].timestamp(), str(item["ETag"]))


async def _read_tagged(fs: S3FileSystem, path: ObjectPath) -> tuple[bytes, str]:
    found = await fs._call_s3("get_object", Bucket=path.bucket, Key=path.key)
    async with found["Body"] as body:
        return await body.read(), str(found["ETag"])


@contextlib.contextmanager
def _conditional() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reply = getattr(error.__cause__, "response", None) or {}
        # 409: another conditional write of the object is under way, and S3 lets one of them win
        codes = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
        if isinstance(error, FileExistsError) or reply.get("Error", {}).get("Code") in codes:
            raise ConditionError from error
        raise


@contextlib.contextmanager
def _errors(path: ObjectPath, verb: str) -> Iterator[None]:
    try:
        yield
    except FactoryError:
        raise
    except Exception as error:
        if isinstance(error, FileNotFoundError) and verb == "be read":
            raise
        if isinstance(error, OSError) or type(error).__module__.startswith(("botocore.", "aiobotocore.", "aiohttp.")):
            raise _explain(path, verb, error) from error
        raise


def _explain(path: ObjectPath, verb: str, error: Exception) -> StorageError:
    server, name = endpoint_address() or "AWS", type(error).__name__
    why = str(error).strip() or name
    if isinstance(error, FileNotFoundError):
        why = f"there is no bucket {path.bucket!r} at {server}"
        next_step = "Make the bucket, or mend `data`; for a server other than AWS set AWS_ENDPOINT_URL."
    elif "Credential" in name or "Token" in name:
        why = "no key is set, or it has run out"
        next_step = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE), then type the same command."
    elif isinstance(error, PermissionError):
        why = f"{server} refuses: {why}"
        next_step = (
            "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION; the key needs to get, put, delete and list "
            f"in bucket {path.bucket}."
        )
    else:
        why = f"{server} does not do it: {why}"
        next_step = "Check that the server is up and AWS_ENDPOINT_URL is its address, then type the same command."
    return StorageError(
        f"{path} cannot {verb}: {why}.",
        safe="Every finished part, manifest and call is whole, and calls not yet shared are kept on this machine.",
        next_step=next_step,
    )
