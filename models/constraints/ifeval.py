"""IFEval's 25 instructions as checks, and its strict and loose way to ask.

Zhou et al. 2023, "Instruction-Following Evaluation for Large Language Models", arXiv:2311.07911. The semantics are
those of its reference code, with two exceptions: keywords are text, not regular expressions, and where the reference
draws a missing argument at random there is an error here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from models.constraints.base import BaseCheck
from models.constraints.case import AllCapitals, AllLowerCase, CapitalWordCount
from models.constraints.combination import EndsWith, NoComma, Postscript, Quoted, RepeatPrompt, TwoResponses
from models.constraints.formats import (
    BulletCount,
    HighlightCount,
    JsonFormat,
    PlaceholderCount,
    SectionCount,
    Title,
)
from models.constraints.keywords import ForbiddenWords, KeywordCount, KeywordPresent, LetterCount, OneOf
from models.constraints.languages import ResponseLanguage
from models.constraints.lengths import FirstWordOfParagraph, ParagraphCount, SentenceCount, WordCount

IFEVAL_KINDS: dict[str, type[BaseCheck]] = {
    "keywords:existence": KeywordPresent,
    "keywords:frequency": KeywordCount,
    "keywords:forbidden_words": ForbiddenWords,
    "keywords:letter_frequency": LetterCount,
    "language:response_language": ResponseLanguage,
    "length_constraints:number_sentences": SentenceCount,
    "length_constraints:number_paragraphs": ParagraphCount,
    "length_constraints:number_words": WordCount,
    "length_constraints:nth_paragraph_first_word": FirstWordOfParagraph,
    "detectable_content:number_placeholders": PlaceholderCount,
    "detectable_content:postscript": Postscript,
    "detectable_format:number_bullet_lists": BulletCount,
    "detectable_format:constrained_response": OneOf,
    "detectable_format:number_highlighted_sections": HighlightCount,
    "detectable_format:multiple_sections": SectionCount,
    "detectable_format:json_format": JsonFormat,
    "detectable_format:title": Title,
    "combination:two_responses": TwoResponses,
    "combination:repeat_prompt": RepeatPrompt,
    "startend:end_checker": EndsWith,
    "change_case:capital_word_frequency": CapitalWordCount,
    "change_case:english_capital": AllCapitals,
    "change_case:english_lowercase": AllLowerCase,
    "punctuation:no_comma": NoComma,
    "startend:quotation": Quoted,
}
"""The check class of each of IFEval's instruction ids."""

_ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")

_Fields = dict[str, Any]


def _bound(relation: Any, number: Any) -> _Fields:
    # IFEval's "less than n" leaves n out
    if relation == "at least":
        return {"relation": "at_least", "count": number}
    if relation == "less than":
        return {"relation": "at_most", "count": number - 1}
    raise ValueError(f"the relation {relation!r} is neither 'at least' nor 'less than'")


_FIELDS: dict[str, Callable[[Mapping[str, Any]], _Fields]] = {
    "keywords:existence": lambda k: {"keywords": tuple(k["keywords"])},
    "keywords:frequency": lambda k: {"keyword": k["keyword"].strip(), **_bound(k["relation"], k["frequency"])},
    "keywords:forbidden_words": lambda k: {"forbidden": tuple(sorted(set(k["forbidden_words"])))},
    "keywords:letter_frequency": lambda k: {
        "letter": k["letter"].strip().lower(),
        **_bound(k["let_relation"], k["let_frequency"]),
    },
    "language:response_language": lambda k: {"language": k["language"]},
    "length_constraints:number_sentences": lambda k: _bound(k["relation"], k["num_sentences"]),
    "length_constraints:number_paragraphs": lambda k: {"paragraphs": k["num_paragraphs"]},
    "length_constraints:number_words": lambda k: _bound(k["relation"], k["num_words"]),
    "length_constraints:nth_paragraph_first_word": lambda k: {
        "paragraphs": k["num_paragraphs"],
        "nth": k["nth_paragraph"],
        "word": k["first_word"].lower(),
    },
    "detectable_content:number_placeholders": lambda k: _bound("at least", k["num_placeholders"]),
    "detectable_content:postscript": lambda k: {"marker": k["postscript_marker"].strip()},
    "detectable_format:number_bullet_lists": lambda k: {"relation": "exactly", "count": k["num_bullets"]},
    "detectable_format:constrained_response": lambda k: {"statements": _ANSWERS},
    "detectable_format:number_highlighted_sections": lambda k: _bound("at least", k["num_highlights"]),
    "detectable_format:multiple_sections": lambda k: {
        "marker": k["section_spliter"].strip(),
        **_bound("at least", k["num_sections"]),
    },
    "combination:repeat_prompt": lambda k: {"request": k["prompt_to_repeat"]},
    "startend:end_checker": lambda k: {"phrase": k["end_phrase"].strip()},
    "change_case:capital_word_frequency": lambda k: _bound(k["capital_relation"], k["capital_frequency"]),
}


def check_from_ifeval(instruction_id: str, kwargs: Mapping[str, Any], prompt: str) -> BaseCheck:
    """The check of an IFEval instruction.

    Args:
        instruction_id: IFEval's id, such as ``keywords:existence``.
        kwargs: The instruction's arguments by IFEval's names; those that are None are taken as absent.
        prompt: The whole prompt; errors name it.

    Raises:
        ValueError: The id is unknown, or the arguments make no check (IFEval's reference draws random ones then).
    """
    kind = IFEVAL_KINDS.get(instruction_id)
    if kind is None:
        raise ValueError(
            f"{instruction_id!r} is none of IFEval's {len(IFEVAL_KINDS)} instructions: {sorted(IFEVAL_KINDS)}"
        )
    given = {name: value for name, value in kwargs.items() if value is not None}
    fields = _FIELDS.get(instruction_id)
    try:
        return kind(**fields(given) if fields else {})
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        missing = f"the argument {error} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"IFEval's {instruction_id} cannot be checked with {given} (prompt: {prompt[:80]!r}): {missing}"
        ) from error


def follows_strict(check: BaseCheck, response: str, query: str = "") -> bool:
    """IFEval's strict verdict: an empty response follows nothing."""
    return bool(response.strip()) and check.follows(response, query)


def follows_loose(check: BaseCheck, response: str, query: str = "") -> bool:
    """IFEval's loose verdict: whether any of eight variants of the response follows; an empty one follows nothing."""
    return any(follows_strict(check, variant, query) for variant in loose_variants(response))


def loose_variants(response: str) -> list[str]:
    """The response with and without its first line, its last line and its asterisks; each text once."""
    lines = response.split("\n")
    cut = [response, *("\n".join(kept).strip() for kept in (lines[1:], lines[:-1], lines[1:-1]))]
    return list(dict.fromkeys([*cut, *(text.replace("*", "") for text in cut)]))
