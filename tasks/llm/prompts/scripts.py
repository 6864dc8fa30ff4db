"""Which of our languages a text is written in."""

from __future__ import annotations

import re

from models.base import Language

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_LATIN_WORD = re.compile("[A-Za-z]+")


def is_written_in(text: str, language: Language) -> bool:
    """Whether a text is in the language, told by its script: more Chinese characters than Latin words, or not."""
    return (len(_HAN.findall(text)) > len(_LATIN_WORD.findall(text))) == (language == "zh")
