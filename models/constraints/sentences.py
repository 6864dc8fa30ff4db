"""The sentences of English texts, as NLTK's punkt model splits them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from threading import Lock

import punkt

_lock = Lock()


class _NltkPunkt(punkt.PunktSentenceTokenizer):
    """The package's splitter without its two improvements on NLTK, which IFEval's counts do not have.

    NLTK takes the last mark of a final "!!!" for a sentence, and each dot of ". . ." for an end.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(punkt.load_model("english"))
        no_runs = replace(punkt.DEFAULT_LANGUAGE_VARS, multi_char_punct_pattern=r"(?!)")
        self._boundaries = punkt.PunktBoundaryDetector(no_runs)

    def _raw_spans(self, text: str) -> Iterator[tuple[int, int]]:
        return self._candidate_spans(text)


def sentence_splitter() -> punkt.PunktSentenceTokenizer:
    """The splitter, loaded once."""
    # tasks run on threads: the lock keeps two of them from loading the model at once
    with _lock:
        return _load_splitter()


@cache
def _load_splitter() -> punkt.PunktSentenceTokenizer:
    return _NltkPunkt()
