"""Which checks cannot be demanded together.

A check is reduced to a *demand* (``demands``): what any response that follows it must have, what it must not have, and
how many words it takes. Two demands that exclude each other are a conflict. The rules are sufficient for what they
name, not complete: two checks without a conflict here can usually be met together, but no response that meets
both is constructed.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from models.constraints.base import BaseCheck
from models.constraints.demands import CLOSINGS, Demand, demand, span
from models.constraints.states import CountCheck, FlagCheck

FAMILIES: dict[str, frozenset[str]] = {
    "length": frozenset({"word_count", "character_count"}),
    "sentence": frozenset({"sentence_count", "longest_sentence", "unique_sentence_starts"}),
    "layout": frozenset(
        {"paragraph_count", "first_word_of_paragraph", "single_paragraph", "section_count", "line_count"}
        | {"bullet_count", "numbered_list_count", "heading_count", "table", "json_format", "code_block_count"}
        | {"two_responses", "longest_line", "repeat_prompt", "one_of"}
    ),
    "case": frozenset({"all_capitals", "all_lower_case", "capital_word_count"}),
    "keyword": frozenset({"keyword_present", "keyword_count", "forbidden_words", "repeats_query_word"}),
    "comma": frozenset({"no_comma", "comma_count"}),
    "opening": frozenset({"starts_with", "title"}),
    "closing": frozenset({"ends_with", "ends_with_question", "ends_with_period", "postscript"}),
    "quotation": frozenset({"quoted", "quotation_count"}),
    "emphasis": frozenset({"highlight_count", "bold_count"}),
    "script": frozenset({"response_language", "ascii_only", "latin_letters"}),
}
"""Kinds that ask about the same side of a response. A kind that is not listed is a family of its own."""

_FAMILY_OF = {kind: family for family, kinds in FAMILIES.items() for kind in kinds}


def family(kind: str) -> str:
    """The family of a kind."""
    return _FAMILY_OF.get(kind, kind)


# Kinds of which each one counted is one of these too: three items of a numbered list are three numbers in three lines.
_EACH_IS: dict[str, frozenset[str]] = {
    "numbered_list_count": frozenset({"number_count", "line_count"}),
    "section_count": frozenset({"number_count"}),
    "bullet_count": frozenset({"line_count"}),
    "heading_count": frozenset({"line_count"}),
    "code_block_count": frozenset({"line_count"}),
    "url_count": frozenset({"colon_count"}),
}

# Checks that more text cannot mend once a part of the response breaks them.
_UNMENDABLE_FLAGS: frozenset[tuple[str, str]] = frozenset(
    {
        ("no_comma", "must"),
        ("forbidden_words", "must"),
        ("keyword_present", "must_not"),
        ("ascii_only", "must"),
    }
    | {("latin_letters", "must_not"), ("first_person", "must_not"), ("second_person", "must_not")}
)


def conflicts(a: BaseCheck, b: BaseCheck) -> bool:
    """Whether no sensible response follows both checks, as far as the rules of this module see."""
    if a.kind == b.kind and _contradict(a, b):
        return True
    one, other = demand(a), demand(b)
    if one.needs & other.bans or other.needs & one.bans:
        return True
    if _outside(one.words, other.words) or _outside(other.words, one.words):
        return True
    if _too_many(a, b) or _too_many(b, a):
        return True
    return _breaks(one, b) or _breaks(other, a)


def _contradict(a: BaseCheck, b: BaseCheck) -> bool:
    """Whether two checks of a kind are about the same thing and leave no common ground."""
    state = {"relation", "count", "upper", "polarity"}
    if a.model_dump(exclude=state) != b.model_dump(exclude=state):
        return False
    if isinstance(a, CountCheck) and isinstance(b, CountCheck):
        # both sets are unions of intervals that end at a bound: the neighbours of bounds stand for all numbers
        bounds = {bound for check in (a, b) for bound in (check.count, check.upper or 0)}
        numbers = {0} | {bound + step for bound in bounds for step in (-1, 0, 1) if bound + step >= 0}
        return not any(_admits(a, number) and _admits(b, number) for number in numbers)
    return a.parameters().get("polarity") != b.parameters().get("polarity")


def _admits(check: CountCheck, number: int) -> bool:
    upper = check.count if check.upper is None else check.upper
    match check.relation:
        case "at_least":
            return number >= check.count
        case "at_most":
            return number <= check.count
        case "exactly" | "between":
            return check.count <= number <= upper
    return not check.count <= number <= upper


def _outside(a: tuple[int, int | None], b: tuple[int, int | None]) -> bool:
    return a[1] is not None and b[0] > a[1]


def _too_many(a: BaseCheck, b: BaseCheck) -> bool:
    """Whether the fewest that one check asks for are more than the other lets pass of what each of them is."""
    if not isinstance(a, CountCheck) or not isinstance(b, CountCheck):
        return False
    return b.kind in _EACH_IS.get(a.kind, ()) and _outside((0, span(b)[1]), span(a))


def _breaks(given: Demand, check: BaseCheck) -> bool:
    """Whether what a demand fixes in the response already breaks a check."""
    own = demand(check)
    # two openings go together where one begins the other, two closings where one ends the other
    if check.kind == "starts_with" and not own.opening.startswith(given.opening):
        return not check.follows(given.opening)
    if check.kind in CLOSINGS and not _half(own.closing).endswith(_half(given.closing)):
        return not check.follows(given.closing)
    texts = [*given.contains, given.opening, given.closing]
    return any(text and _unmendable(check, text) for text in texts)


def _half(text: str) -> str:
    """A closing as it is compared: in lower case, with half-width marks."""
    return text.lower().replace("？", "?").replace("。", ".")


def _unmendable(check: BaseCheck, text: str) -> bool:
    if isinstance(check, CountCheck):
        high = span(check)[1]
        return high is not None and check.measure(text) > high
    if isinstance(check, FlagCheck) and (check.kind, check.polarity) in _UNMENDABLE_FLAGS:
        return not check.follows(text)
    return False


def reversible(a: BaseCheck, b: BaseCheck) -> bool:
    """Whether the two stay free of conflict however they are reversed: both, either, none."""
    return not any(conflicts(x, y) for x in (a, a.complement()) for y in (b, b.complement()))


def conflicting_pairs(checks: Iterable[BaseCheck]) -> list[tuple[BaseCheck, BaseCheck]]:
    """The pairs of a set that conflict."""
    return [(a, b) for a, b in combinations(checks, 2) if conflicts(a, b)]
