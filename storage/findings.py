"""What `rpo doctor --store` says of one thing."""

from __future__ import annotations

from pydantic import Field

from models.base import Strict
from models.errors import StorageError


class StoreFinding(Strict):
    """One thing that was looked at."""

    ok: bool = Field(description="Whether nothing is wrong with it.")
    what: str = Field(description="What was found.")
    safe: str = Field(default="", description="What is not affected.")
    fix: str = Field(default="", description="What to type next; of something that is well: what may be done.")


def explain(error: StorageError, fix: str = "") -> StoreFinding:
    """The finding for an error; ``fix`` is what to type, where that is known better."""
    # libraries explain themselves in several lines
    return StoreFinding(ok=False, what=" ".join(error.what.split()), safe=error.safe, fix=fix or error.next_step)
