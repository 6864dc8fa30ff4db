"""How the checks measure text: words, sentences, capital words, the language.

Where IFEval has a definition, this is it: its reference code decides what a word or a sentence is. Two of its tools
are rebuilt in linear time and without data downloads: punkt sentences (``sentences``), and the part of NLTK's word
tokenizer that decides how many words are in capital letters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from threading import Lock

from langdetect import LangDetectException
from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

from models.base import Language

_WORD = re.compile(r"\w+")

_langdetect_lock = Lock()


def count_words(text: str) -> int:
    """Runs of letters, digits and underscores, as IFEval counts: "don't" is two."""
    return len(_WORD.findall(text))


def split_sentences(text: str) -> list[str]:
    """The sentences of English ``text`` as NLTK's punkt model splits them, on which IFEval counts."""
    # imported here: 2 MB that few runs need
    from models.constraints.sentences import sentence_splitter

    return sentence_splitter().tokenize(text)


def detect_language(text: str) -> str | None:
    """The main language of ``text`` as langdetect's code ("en", "zh-cn"); None where it finds nothing to go by."""
    # a response is asked again by each constraint on its language and by each of IFEval's loose variants
    return _detected(text)


@lru_cache(maxsize=512)
def _detected(text: str) -> str | None:
    detector = _language_detectors().create()
    detector.append(text)
    try:
        return str(detector.detect())
    except LangDetectException:
        return None


def _language_detectors() -> DetectorFactory:
    with _langdetect_lock:
        return _load_detectors()


@cache
def _load_detectors() -> DetectorFactory:
    # our own factory: langdetect's own is a global that loads lazily without a lock and draws random numbers;
    # sorted, since the order of the languages takes part in the rounding
    factory = DetectorFactory()
    profiles = sorted(path for path in Path(PROFILES_DIRECTORY).iterdir() if path.is_file())
    factory.load_json_profile([path.read_text(encoding="utf-8") for path in profiles])
    factory.set_seed(0)
    return factory


# --- words in capital letters ---------------------------------------------------------------------------------------
# NLTK's word tokenizer pads punctuation with spaces, rule after rule. Only tokens with a letter can be in capitals, so
# what becomes of the marks themselves does not matter here; what splits two letters does, and the order of the rules.

_OPENING = re.compile(r"[«“‘„`]+")
_OPENING_APOSTROPHE = re.compile(r"(?<!\w)'(?!(?:re|ve|ll|m|t|s|d|n)\b)(?=\w)", re.IGNORECASE)
_CLOSERS = "])}>\"' »”’"
_COLON = re.compile(r"([:,])(?=\D|$)")
_SPLITTING = re.compile(r"\.{2,}|[;@#$%&‒–—―?!*]")
_APOSTROPHE_SPACE = re.compile(r"([^'])' ")
_BRACKETS = re.compile(r"[\[\](){}<>]|--")
_CLOSING = re.compile(r"[»”’\"]|''")
_SPACES = re.compile(r"\s+")
_SHORT_CLITIC = re.compile(r"([^' ])('[sSmMdD]|') ")
_LONG_CLITIC = re.compile(r"([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ")
_MERGED = re.compile(
    r"\b(?:(can)(not)|(d)('ye)|(gim)(me)|(gon)(na)|(got)(ta)|(lem)(me)|(more)('n)|(wan)(na)(?=\s))\b", re.I
)


def count_capital_words(text: str) -> int:
    """Words in capital letters, as NLTK tokenises: a hyphenated word is one, "DON'T" is two ("DO" and "N'T")."""
    if not any(map(str.isupper, text)):
        return 0
    return sum(_capital_words(sentence) for sentence in split_sentences(text))


def _capital_words(sentence: str) -> int:
    text = _OPENING.sub(" ` ", sentence)
    text = _OPENING_APOSTROPHE.sub("' ", text)
    # the full stop that ends the sentence is no part of its last word
    tail = text.rstrip().rstrip(_CLOSERS)
    if tail.endswith(".") and not tail.endswith("..") and len(tail) > 1:
        text = f"{tail[:-1]} . {text[len(tail) :]}"
    text = _COLON.sub(" ", text)
    text = _SPLITTING.sub(" ", text)
    text = _APOSTROPHE_SPACE.sub(r"\1 ' ", text)
    text = _BRACKETS.sub(" ", text)
    text = _SPACES.sub(" ", _CLOSING.sub(" ", f" {text} "))
    text = _SHORT_CLITIC.sub(r"\1 \2 ", text)
    text = _LONG_CLITIC.sub(r"\1 \2 ", text)
    text = _MERGED.sub(lambda match: " ".join(["", *filter(None, match.groups()), ""]), text)
    return sum(map(str.isupper, text.split()))


# --- words of the descriptions --------------------------------------------------------------------------------------


def quote(language: Language, phrase: str) -> str:
    """A phrase in quotation marks."""
    return f"“{phrase}”" if language == "zh" else f'"{phrase}"'


def quote_all(language: Language, phrases: Sequence[str], joint: str) -> str:
    """Phrases in quotation marks as a list; ``joint`` ("and", "或") stands before the last."""
    quoted = [quote(language, phrase) for phrase in phrases]
    if len(quoted) == 1:
        return quoted[0]
    comma = "、" if language == "zh" else ", "
    space = "" if language == "zh" else " "
    return f"{comma.join(quoted[:-1])}{space}{joint}{space}{quoted[-1]}"


def ordinal(number: int) -> str:
    """1 as "1st"."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
