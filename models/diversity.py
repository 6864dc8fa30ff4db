"""How varied some texts are: their openings, their trigrams, and how far they compress together.

Scores that compare every text with every other one (self-BLEU, ROUGE homogenization) are slow. Shaib et al.,
"Standardizing the Measurement of Text Diversity" (arXiv:2403.00553), find that fast compression captures information
similar to such n-gram overlap, and recommend its ratio; it is no stand-in for the value of self-BLEU. All three depend
on how many texts there are and how long they are, so they are taken of at most ``MOST_TEXTS`` texts, and of each no
more than ``MOST_CHARACTERS``: compare runs by them, within one language.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from models.base import Language, Strict

MOST_TEXTS = 500
"""Texts of a language that are measured."""
MOST_CHARACTERS = 500
"""Characters of a text that are measured, from its beginning."""

OPENING_WORDS = 3
OPENING_CHARACTERS = 6

# gzip, which the paper uses, forgets after 32 kB and would compare each text with its neighbours only. This preset
# looks back 1 MiB, which all texts fit into, and takes 9 MB of memory; the format has the smallest header.
_PRESET = 1

Texts = Literal["queries", "responses"]


class Diversity(Strict):
    """How varied the queries or the responses of a run are, in one language."""

    what: Texts = Field(description="queries or responses.")
    language: Language = Field(description="Their language.")
    texts: int = Field(ge=0, description="Texts there are.")
    measured: int = Field(ge=0, description="Texts that were measured: all, or a fixed sample of them.")
    distinct_openings: float = Field(
        ge=0, le=1, description="Different openings (3 words, in Chinese 6 characters) over the texts measured."
    )
    distinct_trigrams: float | None = Field(
        description="Different trigrams (of words, in Chinese of characters) over all trigrams; null: there are none."
    )
    compression_ratio: float = Field(
        ge=0, description="Bytes of the texts over their bytes when compressed together: higher is less varied."
    )


def measure_diversity(what: Texts, language: Language, sample: Sequence[str], *, texts: int) -> Diversity:
    """How varied a sample is.

    Args:
        what: What the texts are.
        language: Their language.
        sample: At least one text; of each, the first ``MOST_CHARACTERS`` count.
        texts: How many there are in all.
    """
    shown = [text[:MOST_CHARACTERS] for text in sample]
    units = [_units(text, language) for text in shown]
    length = OPENING_WORDS if language == "en" else OPENING_CHARACTERS
    trigrams = [gram for found in units for gram in zip(found, found[1:], found[2:], strict=False)]
    return Diversity(
        what=what,
        language=language,
        texts=texts,
        measured=len(shown),
        distinct_openings=len({tuple(found[:length]) for found in units}) / len(shown),
        distinct_trigrams=len(set(trigrams)) / len(trigrams) if trigrams else None,
        compression_ratio=compression_ratio(shown),
    )


def compression_ratio(texts: Sequence[str]) -> float:
    """Bytes of some texts, one a line, over their bytes compressed together (Shaib et al. 2024)."""
    plain = "\n".join(texts).encode("utf-8")
    return len(plain) / len(lzma.compress(plain, format=lzma.FORMAT_ALONE, preset=_PRESET))


def _units(text: str, language: Language) -> list[str]:
    """Words, or in Chinese characters; without punctuation and letter case."""
    return re.findall(r"\w+" if language == "en" else r"\w", text.casefold())
