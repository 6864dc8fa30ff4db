"""Numbers that a text names, in digits or words, English or Chinese."""

from __future__ import annotations

import re

_ONES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_TEENS = ("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_WORDS: dict[str, int] = {
    **{word: number for number, word in enumerate((*_ONES, *_TEENS))},
    **{word: 10 * number for number, word in enumerate(_TENS, start=2)},
    **{"once": 1, "twice": 2, "single": 1, "pair": 2, "dozen": 12},
}
_MULTIPLES = {"hundred": 100, "thousand": 1000}
_HAN_DIGITS = {mark: number for number, mark in enumerate("零一二三四五六七八九")} | {"两": 2}
_HAN_UNITS = {"十": 10, "百": 100, "千": 1000}
_TOKEN = re.compile(r"[0-9][0-9,]*|[A-Za-z]+|[零一二两三四五六七八九十百千]+|[^\s-]")


def numbers_in(text: str) -> set[int]:
    """The whole numbers that a text names."""
    found: set[int] = set()
    # an English number while it is read, word by word
    spoken = -1
    for token in _TOKEN.findall(text):
        word = token.casefold()
        if spoken > 0 and word in _MULTIPLES:
            spoken *= _MULTIPLES[word]
        elif word in _WORDS:
            if not _continues(spoken, _WORDS[word]):
                found.add(spoken)
                spoken = 0
            spoken += _WORDS[word]
        elif word != "and":
            found.add(spoken)
            spoken = _MULTIPLES.get(word, -1)
            if token[0] in "0123456789":
                found.add(int(token.replace(",", "")))
            elif token[0] in _HAN_DIGITS or token[0] in _HAN_UNITS:
                found.add(_read_han(token))
    return (found | {spoken}) - {-1}


def _continues(spoken: int, number: int) -> bool:
    """Whether a number goes on: "twenty" with "five", "one hundred" with "fifty", not "two" with "three"."""
    return any(spoken >= unit and spoken % unit == 0 and number < unit for unit in (10, 100)) and spoken != 10


def _read_han(token: str) -> int:
    total, digit = 0, 0
    for mark in token:
        if mark in _HAN_UNITS:
            total, digit = total + (digit or 1) * _HAN_UNITS[mark], 0
        else:
            digit = _HAN_DIGITS[mark]
    return total + digit
