"""What a check demands of any response that follows it: what it must have, what it must not have, how many words.

Estimates of words are those of English.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from models.constraints.base import BaseCheck
from models.constraints.states import CountCheck, FlagCheck

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
    if must and check.kind in CLOSINGS:
        found.closing = CLOSINGS[check.kind] or str(values["phrase"])
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
CLOSINGS = {"ends_with": "", "ends_with_question": "?", "ends_with_period": "."}


def _add_script(text: str, found: Demand) -> None:
    if _LATIN.search(text):
        found.needs.add("English word")
    if _CJK.search(text):
        found.needs.add("cjk")
