"""Which checks cannot be demanded together.

A check is reduced to a *demand*: what any response that follows it must have, what it must not have, and how
many words it takes. Two demands that exclude each other are a conflict. The rules are sufficient for what they
name, not complete: two checks without a conflict here can usually be met together, but no response that meets
both is constructed. Estimates of words are those of English.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations

from models.constraints.base import BaseCheck
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


# Fewest words that one of something takes in a response that a person would accept.
_WORDS_EACH: dict[str, int] = {
    "word_count": 1,
    "longest_sentence": 1,
    "sentence_count": 4,
    "paragraph_count": 8,
    "first_word_of_paragraph": 8,
    "section_count": 6,
    "line_count": 2,
    "bullet_count": 2,
    "numbered_list_count": 2,
    "heading_count": 1,
    "highlight_count": 1,
    "bold_count": 1,
    "quotation_count": 1,
    "parenthesis_count": 1,
    "placeholder_count": 1,
    "contraction_count": 1,
    "url_count": 1,
    "number_count": 1,
    "capital_word_count": 1,
    "keyword_count": 1,
}
_CHARACTERS_A_WORD = 8  # an upper estimate, so that a character count promises no more words than it takes

# What a count of one or more has in the response, and "none at all" bans.
_COUNTED: dict[str, str] = {
    "comma_count": "comma",
    "exclamation_count": "exclamation mark",
    "question_count": "question mark",
    "number_count": "numeral",
    "emoji_count": "emoji",
    "colon_count": "colon",
    "semicolon_count": "semicolon",
    "dash_count": "em dash",
    "quotation_count": "double quotation mark",
    "contraction_count": "contraction",
    "url_count": "url",
    "hashtag_count": "hashtag",
    "bullet_count": "bullet",
    "numbered_list_count": "numbered list",
    "heading_count": "heading",
    "bold_count": "bold",
    "highlight_count": "highlight",
    "placeholder_count": "placeholder",
    "capital_word_count": "capital word",
}

# What comes with something: it is there whenever the first is there.
_COMES_WITH: dict[str, tuple[str, ...]] = {
    "emoji": ("non-ASCII",),
    "em dash": ("non-ASCII",),
    "cjk": ("non-ASCII",),
    "contraction": ("English word",),
    "in English": ("English word",),
    "English word": ("Latin letter",),
    "url": ("colon", "Latin letter"),
    "numbered list": ("numeral",),
    # IFEval's highlight is *anything between asterisks*, and so is every bold passage
    "bold": ("highlight",),
    "capital word": ("capital",),
    "capital": ("Latin letter",),
    "small letter": ("Latin letter",),
}

# Kinds of which each one counted is one of these too: three items of a numbered list are three numbers in three lines.
_EACH_IS: dict[str, frozenset[str]] = {
    "numbered_list_count": frozenset({"number_count", "line_count"}),
    "section_count": frozenset({"number_count"}),
    "bullet_count": frozenset({"line_count"}),
    "heading_count": frozenset({"line_count"}),
    "code_block_count": frozenset({"line_count"}),
    "url_count": frozenset({"colon_count"}),
}

# Flags: (kind, polarity) -> what the response must have, and what it must not have.
_FLAGS: dict[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...]]] = {
    ("no_comma", "must"): ((), ("comma",)),
    ("no_comma", "must_not"): (("comma",), ()),
    ("all_capitals", "must"): (("capital", "in English"), ("small letter",)),
    ("all_lower_case", "must"): (("small letter", "in English"), ("capital",)),
    ("ascii_only", "must"): ((), ("non-ASCII",)),
    ("ascii_only", "must_not"): (("non-ASCII",), ()),
    ("latin_letters", "must"): (("Latin letter",), ()),
    ("latin_letters", "must_not"): ((), ("Latin letter",)),
    ("single_paragraph", "must"): ((), ("blank line",)),
    ("single_paragraph", "must_not"): (("blank line",), ()),
    ("quoted", "must"): (("double quotation mark",), ()),
    # a line of JSON cannot begin as these do
    ("json_format", "must"): ((), ("bullet", "numbered list", "heading", "table", "title")),
    ("table", "must"): (("table",), ()),
    ("table", "must_not"): ((), ("table",)),
    ("title", "must"): (("title",), ()),
    ("title", "must_not"): ((), ("title",)),
    ("ends_with_question", "must"): (("question mark",), ()),
}

_PRONOUNS: dict[str, str] = {"first_person": "first person", "second_person": "second person"}
# Fields that hold a text which the response has to contain (in must) wherever it stands.
_CONTAINED: dict[str, str] = {"keyword_present": "keywords", "postscript": "marker"}
_LATIN = re.compile("[A-Za-z]")
_CJK = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")
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


@dataclass
class Demand:
    """What a check asks of any response that follows it."""

    words: tuple[int, int | None] = (0, None)
    needs: set[str] = field(default_factory=set)
    bans: set[str] = field(default_factory=set)
    contains: list[str] = field(default_factory=list)
    opening: str = ""
    closing: str = ""


def span(check: CountCheck) -> tuple[int, int | None]:
    """The lowest and the highest number that the check lets pass (None: no bound)."""
    relation, n, m = check.plain()
    match relation:
        case "at_least":
            return n, None
        case "at_most":
            return 0, n
        case "exactly":
            return n, n
        case "between":
            return n, m
    return 0, None


def demand(check: BaseCheck) -> Demand:
    """The demand of a check."""
    found = Demand()
    if isinstance(check, CountCheck):
        _demand_of_count(check, found)
    if isinstance(check, FlagCheck):
        _demand_of_flag(check, found)
    waiting = list(found.needs)
    while waiting:
        for other in _COMES_WITH.get(waiting.pop(), ()):
            if other not in found.needs:
                found.needs.add(other)
                waiting.append(other)
    return found


def _demand_of_count(check: CountCheck, found: Demand) -> None:
    low, high = span(check)
    if thing := _COUNTED.get(check.kind):
        if low:
            found.needs.add(thing)
        if high == 0:
            found.bans.add(thing)
    if check.kind in ("character_count", "longest_line"):
        # a character is at most a word
        found.words = low // _CHARACTERS_A_WORD, high if check.kind == "character_count" else None
    else:
        found.words = low * _WORDS_EACH.get(check.kind, 0), high if check.kind == "word_count" else None
    keyword = check.parameters().get("keyword")
    if isinstance(keyword, str) and low:
        found.contains.append(keyword)
        _add_script(keyword, found)


def _demand_of_flag(check: FlagCheck, found: Demand) -> None:
    needs, bans = _FLAGS.get((check.kind, check.polarity), ((), ()))
    found.needs.update(needs)
    found.bans.update(bans)
    values = check.parameters()
    must = check.polarity == "must"
    language = values.get("language")
    if thing := _PRONOUNS.get(check.kind):
        (found.needs if must else found.bans).add(f"{thing} {language}")
    if must and check.kind in (*_PRONOUNS, "repeats_query_word"):
        found.needs.add("English word" if language == "en" else "cjk")
    if check.kind == "response_language":
        _demand_language(str(language), must, found)
    paragraphs = values.get("paragraphs")
    if must and isinstance(paragraphs, int):
        found.words = paragraphs * _WORDS_EACH[check.kind], None
        if paragraphs > 1:
            found.needs.add("blank line")
    if must and check.kind in _CONTAINED:
        value = values.get(_CONTAINED[check.kind], ())
        found.contains.extend([value] if isinstance(value, str) else value)
    if not must and check.kind == "forbidden_words" and len(values["forbidden"]) == 1:
        found.contains.extend(values["forbidden"])
    if must and check.kind == "starts_with":
        found.opening = str(values["phrase"])
        found.needs.update(name for name, test in _CASES if any(map(test, found.opening)))
    if must and check.kind in _CLOSINGS:
        found.closing = _CLOSINGS[check.kind] or str(values["phrase"])
    for text in (*found.contains, found.opening, found.closing):
        _add_script(text, found)


def _demand_language(language: str, must: bool, found: Demand) -> None:
    if language == "en":
        (found.needs if must else found.bans).add("in English")
    elif must:
        found.bans.add("in English")
    if must and language.startswith("zh"):
        found.needs.add("cjk")
        # a Chinese answer may quote an English word; to demand one of it contradicts itself
        found.bans.add("English word")
    elif must and language not in ("ja", "ko"):
        found.bans.add("cjk")


_CASES = (("capital", str.isupper), ("small letter", str.islower))
# what stands at the end in the state must; empty: the parameter phrase
_CLOSINGS = {"ends_with": "", "ends_with_question": "?", "ends_with_period": "."}


def _add_script(text: str, found: Demand) -> None:
    if _LATIN.search(text):
        found.needs.add("English word")
    if _CJK.search(text):
        found.needs.add("cjk")


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
    if check.kind in _CLOSINGS and not _half(own.closing).endswith(_half(given.closing)):
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
