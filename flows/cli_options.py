"""Options that commands share."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

Data = Annotated[str, Parameter(help="Folder of parts, manifests, cache, catalog and exports; or s3://bucket/prefix.")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="One JSON document on standard output.")]
RunToRead = Annotated[str | None, Parameter(help="Name of the run; without: the newest one.")]
