"""One example of every kind of check, for the reference page."""

from __future__ import annotations

from typing import Any

from models.constraints import ALL_CHECKS, BaseCheck, parse_check
from models.constraints.states import CountCheck

# what a kind needs beside its relation or polarity
_PARAMETERS: dict[str, dict[str, Any]] = {
    "ends_with": {"phrase": "Good luck!"},
    "first_person": {"language": "en"},
    "first_word_of_paragraph": {"paragraphs": 3, "nth": 2, "word": "however"},
    "forbidden_words": {"forbidden": ["very", "really"]},
    "keyword_count": {"keyword": "tea"},
    "keyword_present": {"keywords": ["tea", "water"]},
    "letter_count": {"letter": "e"},
    "one_of": {"statements": ["My answer is yes.", "My answer is no."]},
    "paragraph_count": {"paragraphs": 3},
    "postscript": {"marker": "P.S."},
    "repeats_query_word": {"language": "en"},
    "response_language": {"language": "fr"},
    "second_person": {"language": "en"},
    "section_count": {"marker": "Section"},
    "starts_with": {"phrase": "Dear friend"},
}


def _example(kind: str) -> BaseCheck:
    count = {"relation": "at_least", "count": 3} if issubclass(ALL_CHECKS[kind], CountCheck) else {}
    return parse_check({"kind": kind, **count, **_PARAMETERS.get(kind, {})})


EXAMPLES = {kind: _example(kind) for kind in ALL_CHECKS}
