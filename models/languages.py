"""Which language a text is in, fast where that is plain."""

from __future__ import annotations

import re

from models.constraints.text import detect_language

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_OTHER_EAST_ASIAN = re.compile("[\u3040-\u30ff\u1100-\u11ff\uac00-\ud7af]")
_LATIN_WORD = re.compile("[A-Za-z]+(?:['’][a-z]+)?")
# words that no other language writes often
_SMALL_WORDS = (
    "the and you with that this your who from which their they are will have has should would what when she our my it "
    "not about can i'm you'll don't how he his into them we by"
)
_ENGLISH = frozenset(_SMALL_WORDS.split())
_MANY_ENGLISH = 0.08
_READ_CHARS = 400
"""Characters that are looked at: a text that begins in one language and goes on in another is in the first."""


def guess_language(text: str) -> str:
    """The main language of a text as a code such as en, zh or fr; empty where there is nothing to go by.

    Chinese is told by its script and English by its small words, both in microseconds; what is neither is left to
    langdetect (seeded), which takes a thousand times as long.
    """
    text = text[:_READ_CHARS]
    han, words = len(_HAN.findall(text)), _LATIN_WORD.findall(text.lower())
    if han > len(words) and len(_OTHER_EAST_ASIAN.findall(text)) * 20 < han:
        return "zh"
    english = [word for word in words if word in _ENGLISH]
    if han < len(words) and len(set(english)) > 1 and len(english) >= _MANY_ENGLISH * len(words) and not _mixed(text):
        return "en"
    detected = detect_language(text) or ""
    return detected.partition("-")[0]


def _mixed(text: str) -> bool:
    """Whether most of the letters are no plain Latin ones."""
    letters = [char for char in text if char.isalpha()]
    return sum(char.isascii() for char in letters) * 2 < len(letters)
