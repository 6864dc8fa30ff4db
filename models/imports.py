"""What is imported: how much of a file is taken, and why a row of it is refused."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.base import Strict

Reason = Literal[
    "too_long",
    "not_utf8",
    "not_json",
    "not_an_object",
    "duplicate_key",
    "not_finite",
    "lone_surrogate",
    "nul",
    "too_deep",
    "field_too_long",
    "not_csv",
    "wrong_columns",
    "cut_off",
]
"""Why a row cannot be read at all."""


class ReadLimits(Strict):
    """How much of a file is taken: what is larger is refused, before it is in memory."""

    max_line_bytes: int = Field(
        default=16 << 20, ge=1024, description="Bytes of a row (a line, an element of a list); a longer one is refused."
    )
    max_field_chars: int = Field(default=1_000_000, ge=1, description="Characters of one text of a row.")
    max_ratio: float = Field(
        default=200,
        ge=2,
        description="A compressed file that unpacks to more than so many times its size is refused; text packs to a "
        "tenth or a twentieth.",
    )
    max_unpacked_bytes: int = Field(
        default=64 << 30, ge=1, description="Bytes that a compressed file may unpack to, at most."
    )
