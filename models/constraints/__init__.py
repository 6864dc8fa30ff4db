"""The constraint algebra: every kind of check, and the union of them that records and prompts use."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, Union

from pydantic import Field, TypeAdapter, ValidationError

from models.constraints import (
    case,
    combination,
    extras_ends,
    extras_layout,
    extras_marks,
    extras_words,
    formats,
    keywords,
    languages,
    lengths,
)
from models.constraints.base import BaseCheck
from models.constraints.ifeval import check_from_ifeval, follows_loose, follows_strict
from models.constraints.triggers import (
    QueryIsQuestion,
    QueryLongerThan,
    QueryMentions,
    QuerySituation,
    Trigger,
    render_constraint_text,
)

_CLASSES: tuple[type[BaseCheck], ...] = (
    *keywords.CHECKS,
    *lengths.CHECKS,
    *formats.CHECKS,
    *case.CHECKS,
    *languages.CHECKS,
    *combination.CHECKS,
    *extras_marks.CHECKS,
    *extras_layout.CHECKS,
    *extras_words.CHECKS,
    *extras_ends.CHECKS,
)

ALL_CHECKS: dict[str, type[BaseCheck]] = {cls.model_fields["kind"].default: cls for cls in _CLASSES}
"""Every kind of check by its name."""

if TYPE_CHECKING:
    Check: TypeAlias = BaseCheck
else:
    # the union of all, told apart by kind; a type checker needs no more than what they share
    Check = Annotated[Union[_CLASSES], Field(discriminator="kind")]  # noqa: UP007  (built from a tuple)

_ADAPTER: TypeAdapter[BaseCheck] = TypeAdapter(Check)


def parse_check(data: str | dict[str, Any]) -> BaseCheck:
    """The check that a JSON text or a mapping describes.

    Raises:
        ValueError: It is not JSON, its kind is unknown (the message names the nearest known one), or its parameters
            do not fit the kind.
    """
    try:
        values = json.loads(data) if isinstance(data, str) else data
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a check has to be JSON: {error}") from error
    if not isinstance(values, dict) or not isinstance(values.get("kind"), str):
        raise ValueError('a check has to be an object with a "kind", such as {"kind": "no_comma"}')
    kind = values["kind"]
    if kind not in ALL_CHECKS:
        nearest = difflib.get_close_matches(kind, ALL_CHECKS, n=1, cutoff=0.0)[0]
        raise ValueError(f"unknown kind of check {kind!r}; the nearest known one is {nearest!r}")
    try:
        return _ADAPTER.validate_python(values)
    except ValidationError as error:
        reasons = "; ".join(
            f"{'.'.join(map(str, found['loc'][1:])) or 'check'}: {found['msg']}" for found in error.errors()
        )
        raise ValueError(f"check of kind {kind!r} does not fit: {reasons}") from error


__all__ = [
    "ALL_CHECKS",
    "BaseCheck",
    "Check",
    "QueryIsQuestion",
    "QueryLongerThan",
    "QueryMentions",
    "QuerySituation",
    "Trigger",
    "check_from_ifeval",
    "follows_loose",
    "follows_strict",
    "parse_check",
    "render_constraint_text",
]
