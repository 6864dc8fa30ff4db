"""Which language a text is in, fast where that is plain."""

from __future__ import annotations

import re

from models.constraints.text import detect_language

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_OTHER_EAST_ASIAN = re.compile("[\u3040-\u30ff\u1100-\u11ff\uac00-\ud7af]")
_WORD = re.compile(r"[^\W\d_]+(?:['’][a-z]+)?")

# small words: those of English alone, those of English and some others, and those of others alone
_ENGLISH = (
    "the and you with that this your who whose from which their they are will have has should would what when she our "
    "my it not about can i'm you'll don't how his into them we by"
)
_SHARED = "a an in of for on to is as at or be he i me"
_OTHER = (
    "de la le les des du et un une est dans pour que qui il je tu el los las y con por para del una en di che per "
    "non sono della der die das und ein eine ist mit nicht ich zu von het een van dat niet voor och att som det "
    "og ikke av af til em um uma não os az egy és hogy nem w z na się nie jest yang dan untuk dengan di và của là"
)
_POINTS = dict.fromkeys(_SHARED.split(), 1) | dict.fromkeys(_ENGLISH.split(), 2) | dict.fromkeys(_OTHER.split(), -2)
_FEW = 2
_PLAIN = 0.12
"""Points that make a text plainly English; where it has small words of another language, so many for each word."""
_READ_CHARS = 400
"""Characters that are looked at: a text that begins in one language and goes on in another is in the first."""


def guess_language(text: str) -> str:
    """The main language of a text as a code such as en, zh or fr; empty where there is nothing to go by.

    Chinese is told by its script and English by its small words, both in microseconds; what is neither is left to
    langdetect (seeded), which takes a thousand times as long.
    """
    text = text[:_READ_CHARS]
    han, words = len(_HAN.findall(text)), _WORD.findall(text.lower())
    if han and len(_OTHER_EAST_ASIAN.findall(text)) * 20 < han and han > len(words):
        return "zh"
    points = [_POINTS[word] for word in words if word in _POINTS]
    enough = _FEW if min(points, default=-1) > 0 else max(_FEW, _PLAIN * len(words))
    if sum(points) >= enough and _is_latin(text):
        return "en"
    return (detect_language(text) or "").partition("-")[0]


def _is_latin(text: str) -> bool:
    """Whether its letters are those of English, but for a few."""
    if text.isascii():
        return True
    letters = [char for char in text if char.isalpha()]
    return sum(not char.isascii() for char in letters) * 20 < len(letters)
