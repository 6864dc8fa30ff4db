"""The reminder that a responder gets with a query: the triggered constraints once more (paper, appendix)."""

from __future__ import annotations

from collections.abc import Collection

from models.base import Language, digest
from models.prompting import constraint_line
from models.records import SystemProfile

VERSION = 1
"""Goes up when the way the reminder is laid out changes; the wording is hashed by itself."""

_REMINDER: dict[Language, str] = {
    "en": "{query}\n\n(While answering, keep to all of these:\n{constraints})",
    "zh": "{query}\n\n（回答时请遵守以下全部要求：\n{constraints}）",
}


def identity() -> str:
    """Hash of the version and the wording: it belongs to the part key of the turns."""
    return digest([VERSION, _REMINDER])


def with_reminder(query: str, system: SystemProfile, triggered: Collection[str]) -> str:
    """The query with the triggered constraints appended; the query alone where nothing is triggered."""
    lines = [
        f"- {constraint_line(item, system.language)}" for item in system.constraints if item.constraint_id in triggered
    ]
    if not lines:
        return query
    return _REMINDER[system.language].format(query=query, constraints="\n".join(lines))
