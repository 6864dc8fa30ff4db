"""Fences: text from models and files stands in a prompt as material that cannot end its own quotation."""

from __future__ import annotations

from models.base import digest

_DIGITS = 8


def fence(name: str, text: str) -> str:
    """The text between ``<name CODE>`` and ``</name CODE>``, untouched.

    The code is a hash of the text: the same every time, so that the call cache finds the answer again, and one that
    the text does not hold, so that no line of it can be the closing one.
    """
    code = digest(text, length=_DIGITS)
    while code in text:
        code = digest([code, text], length=_DIGITS)
    return f"<{name} {code}>\n{text}\n</{name} {code}>"


def on_one_line(text: str) -> str:
    """The text without line breaks, so that an entry of a numbered list cannot begin another entry."""
    return " ".join(text.split())
