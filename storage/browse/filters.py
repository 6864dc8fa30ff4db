"""What a person asks the pairs of a run for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from models.base import Strict

_Number = Annotated[int, Field(ge=1, lt=2**32)]
"""What the index can hold."""


class PairFilters(Strict):
    """Which pairs to show; what is null does not matter."""

    role: str | None = Field(default=None, description="Role seed of the system prompt.")
    kind: str | None = Field(default=None, description="Kind of a constraint on which the two responses differ.")
    judge: str | None = Field(default=None, description="Who judged a constraint on which the two responses differ.")
    margin: _Number | None = Field(default=None, description="Constraints on which the two responses differ.")
    case: int | None = Field(default=None, ge=1, le=6, description="Noise case of the two under plain DPO.")
    turn: _Number | None = Field(default=None, description="Turn of the dialogue.")
    text: str | None = Field(
        default=None, min_length=1, max_length=500, description="Text in the query or a response; case is ignored."
    )
    flagged: Literal["yes", "no"] | None = Field(default=None, description="Whether the pair is flagged.")
