"""What every record and every setting is made of."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Language = Literal["en", "zh"]

Verdict = Literal["followed", "violated", "not_applicable", "unscored"]
"""Whether a response follows a constraint; unscored: nobody could say, and a reason stands beside it."""


class Strict(BaseModel):
    """A frozen pydantic model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def digest(value: Any, *, length: int = 32) -> str:
    """The hexadecimal SHA-256 of a JSON-able value, the same on every machine and in every process.

    Args:
        value: Anything ``json.dumps`` takes; keys of mappings are sorted.
        length: Hexadecimal digits to keep (4 bits each): 32 for part keys, 16 for the ids of rows.
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # surrogatepass: a model may answer with a lone surrogate, and an id must not fail on it
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:length]
