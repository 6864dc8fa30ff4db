"""s3fs, told that parts never change. Imported only where DATA is in a store."""

from __future__ import annotations

from typing import Any

import s3fs


class PartFileSystem(s3fs.S3FileSystem):  # type: ignore[misc]
    """Asks once how large a part is.

    DuckDB asks for that some ten times a file and query; with hundreds of parts that was nearly all of its time. A
    listing says it of a thousand parts at once. Where a part was deleted and made anew, reading it fails (its tag is
    another one), the catalog is built again, and the listing for that says how it is now.
    """

    # other machines write there: what is in a folder is asked every time
    _known: dict[str, dict[str, Any]]

    def __init__(self, **options: Any) -> None:
        super().__init__(use_listings_cache=False, **options)
        self._known = {}

    async def _info(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        if (known := self._known.get(path)) is not None:
            return known
        found: dict[str, Any] = await super()._info(path, *args, **kwargs)
        return self._note(found)

    async def _lsdir(self, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await super()._lsdir(*args, **kwargs)
        return [self._note(item) for item in found]

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget what was known of an object: s3fs calls this when it has put one."""
        super().invalidate_cache(path)
        if path is not None:
            self._known.pop(self._strip_protocol(path), None)

    def _note(self, item: dict[str, Any]) -> dict[str, Any]:
        if item["type"] == "file" and item["name"].endswith(".parquet"):
            self._known[item["name"]] = item
        return item
