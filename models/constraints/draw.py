"""Draws constraints from the algebra: the catalogue author.

The recipes aim at short answers of a small model (60 to 90 tokens): kinds and bounds on which its samples differ, so
that a turn gives pairs. What every drawn set guarantees:

- no two constraints of one family (``conflicts.FAMILIES``);
- any two stay free of conflict however the set is reversed (``conflicts.reversible``), since RPO reverses arbitrary
  subsets; this holds pair by pair, not for three or more together;
- with two constraints or more, at least one that asks for something and one that limits or forbids, half of each.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from models.base import Language, Strict
from models.constraints import Check, Trigger, parse_check
from models.constraints.base import BaseCheck
from models.constraints.conflicts import family, reversible
from models.constraints.triggers import QueryMentions

MIN_UNCONDITIONAL = 3


class DrawnConstraint(Strict):
    """One constraint of a drawn set."""

    text: str
    kind: str
    check: Check
    trigger: Trigger | None


@dataclass(frozen=True)
class Draw:
    """What a recipe can look at."""

    rng: random.Random
    language: Language
    max_words: int
    keywords: Sequence[str]

    def share(self, low: float, high: float) -> int:
        """A number of words (in Chinese: characters) between two shares of the longest answer."""
        return max(2, round(self.max_words * self.rng.uniform(low, high)))


Parameters = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """How to draw the parameters of a kind, in either state."""

    kind: str
    weight: float
    make: Callable[[Draw], Parameters]
    languages: tuple[Language, ...] = ("en", "zh")


# Openings that small models really use, so that following and breaking both happen.
_OPENINGS: dict[Language, tuple[str, ...]] = {
    "en": ("To", "The", "I", "Here", "Sure", "As", "You", "It"),
    "zh": ("您", "你", "我", "当然", "首先", "在", "如果", "好的"),
}
_COMMON_WORDS: dict[Language, tuple[str, ...]] = {
    "en": ("also", "can", "help", "make", "need", "important", "best", "first", "time", "will", "should", "ensure"),
    "zh": ("可以", "需要", "建议", "因此", "首先", "如果", "同时", "注意", "选择", "帮助"),
}
# Share of each letter in English text, for bounds near what an answer has anyway.
_LETTER_SHARE = {"a": 0.082, "o": 0.075, "n": 0.067, "s": 0.063, "r": 0.060, "h": 0.061, "l": 0.040, "c": 0.028}
_LETTERS_A_WORD = 4.7


def _at_least(low: int, high: int) -> Callable[[Draw], Parameters]:
    return lambda draw: {"relation": "at_least", "count": draw.rng.randint(low, high)}


def _lengths(draw: Draw, unit: float = 1.0) -> Parameters:
    low = round(draw.share(0.4, 0.75) * unit)
    if draw.rng.random() < 0.25:
        return {"relation": "between", "count": low, "upper": low + round(draw.share(0.2, 0.4) * unit)}
    return {"relation": "at_least", "count": low}


def _sentences(draw: Draw) -> Parameters:
    most = max(2, min(5, draw.max_words // 14))
    return {"relation": "at_least", "count": draw.rng.randint(2, most)}


def _letters(draw: Draw) -> Parameters:
    letter = draw.rng.choice(list(_LETTER_SHARE))
    expected = _LETTER_SHARE[letter] * _LETTERS_A_WORD * draw.share(0.5, 0.8)
    return {"relation": "at_least", "count": max(1, round(expected)), "letter": letter}


def _keyword(draw: Draw) -> str:
    # half of the time a word of the role's questions, half of the time one that many answers have
    own = draw.keywords and draw.rng.random() < 0.5
    return draw.rng.choice(draw.keywords if own else _COMMON_WORDS[draw.language])


RECIPES: tuple[Recipe, ...] = (
    Recipe("word_count", 4, _lengths, ("en",)),
    Recipe("character_count", 1, lambda draw: _lengths(draw, 5.0), ("en",)),
    Recipe("character_count", 4, _lengths, ("zh",)),
    Recipe("sentence_count", 3, _sentences, ("en",)),
    Recipe("longest_sentence", 2, lambda draw: {"relation": "at_least", "count": draw.rng.randint(16, 28)}),
    Recipe("unique_sentence_starts", 1.5, lambda draw: {}),
    Recipe("comma_count", 2, _at_least(1, 4)),
    Recipe("no_comma", 1, lambda draw: {}, ("en",)),
    Recipe("exclamation_count", 1.5, _at_least(1, 2)),
    Recipe("question_count", 1.5, _at_least(1, 2)),
    Recipe("colon_count", 1.5, _at_least(1, 2)),
    Recipe("number_count", 2, _at_least(1, 3)),
    Recipe("letter_count", 2, _letters, ("en",)),
    Recipe("longest_word", 1, lambda draw: {"relation": "at_least", "count": draw.rng.randint(11, 14)}, ("en",)),
    Recipe("keyword_present", 3, lambda draw: {"keywords": [_keyword(draw)]}),
    Recipe("forbidden_words", 1.5, lambda draw: {"forbidden": [_keyword(draw)]}),
    Recipe("repeats_query_word", 1, lambda draw: {"language": draw.language}),
    Recipe("starts_with", 2, lambda draw: {"phrase": draw.rng.choice(_OPENINGS[draw.language])}),
    Recipe("ends_with_period", 2, lambda draw: {}),
    Recipe("ends_with_question", 1, lambda draw: {}),
    Recipe("first_person", 2, lambda draw: {"language": draw.language}),
    Recipe("second_person", 2, lambda draw: {"language": draw.language}),
    Recipe("bullet_count", 1.5, _at_least(1, 3)),
    Recipe("numbered_list_count", 1.5, _at_least(1, 3)),
    Recipe("line_count", 1.5, _at_least(2, 4)),
    Recipe("single_paragraph", 1.5, lambda draw: {}),
    Recipe("bold_count", 1, _at_least(1, 2)),
    Recipe("emoji_count", 1, _at_least(1, 2)),
    Recipe("quotation_count", 1, _at_least(1, 1)),
    Recipe("parenthesis_count", 1, _at_least(1, 1)),
    Recipe("contraction_count", 1, _at_least(1, 2), ("en",)),
    Recipe("all_lower_case", 0.4, lambda draw: {}, ("en",)),
    Recipe("capital_word_count", 1, _at_least(1, 2), ("en",)),
    Recipe("latin_letters", 1.5, lambda draw: {}, ("zh",)),
)

# Prohibitions by name: in the state must they forbid.
_FORBIDDING = frozenset({"no_comma", "forbidden_words", "single_paragraph", "ascii_only"})
_LIMITS = frozenset({"at_most", "not_exactly", "outside", "must_not"})


def limits(check: BaseCheck) -> bool:
    """Whether a check limits or forbids, rather than asks for something: the polarity that a draw balances."""
    state = getattr(check, "relation", None) or getattr(check, "polarity", None)
    return (state in _LIMITS) != (check.kind in _FORBIDDING)


def draw_constraints(
    rng: random.Random,
    *,
    language: Language,
    count: int,
    max_words: int,
    questions: Sequence[str],
    conditional_share: float = 0.2,
) -> list[DrawnConstraint]:
    """A varied set of constraints without conflicts, in the order of the system prompt.

    Args:
        rng: Decides everything: the same state draws the same set.
        language: Language of the texts and of the responses.
        count: Number of constraints.
        max_words: Length of a long answer, in words (in Chinese: characters); bounds are scaled by it.
        questions: What users ask this role; keywords and triggers are taken from them.
        conditional_share: Share of the constraints that apply only to queries that mention something; a set keeps
            at least three unconditional ones, or all where there are fewer.

    Raises:
        ValueError: There are fewer families of checks in this language than constraints are wanted.
    """
    content = _content_words(questions, language)
    draw = Draw(rng, language, max_words, content)
    checks = _draw_checks(draw, count)
    triggers = _draw_triggers(rng, questions, content, count, conditional_share)
    return [
        DrawnConstraint(
            text=check.describe(language, rng.randrange(check.phrasings)), kind=check.kind, check=check, trigger=trigger
        )
        for check, trigger in zip(checks, triggers, strict=True)
    ]


def _draw_checks(draw: Draw, count: int) -> list[Check]:
    rng = draw.rng
    wanted = [index % 2 == 0 for index in range(count)]
    if count % 2 and rng.random() < 0.5:
        wanted = [not limiting for limiting in wanted]
    rng.shuffle(wanted)
    open_recipes = [recipe for recipe in RECIPES if draw.language in recipe.languages]
    checks: list[Check] = []
    while len(checks) < count:
        if not open_recipes:
            raise ValueError(
                f"cannot draw {count} constraints that stay compatible in {draw.language!r}: "
                f"got {len(checks)}; ask for fewer constraints a system"
            )
        recipe = rng.choices(open_recipes, [recipe.weight for recipe in open_recipes])[0]
        check = parse_check({"kind": recipe.kind, **recipe.make(draw)})
        if limits(check) != wanted[len(checks)]:
            check = check.complement()
        if all(reversible(check, other) for other in checks):
            checks.append(check)
            taken = family(recipe.kind)
            open_recipes = [other for other in open_recipes if family(other.kind) != taken]
        else:
            open_recipes.remove(recipe)
    return checks


def _draw_triggers(
    rng: random.Random, questions: Sequence[str], words: Sequence[str], count: int, share: float
) -> list[QueryMentions | None]:
    """A trigger or None a constraint."""
    wanted = sum(rng.random() < share for _ in range(count))
    conditional = set(rng.sample(range(count), min(wanted, max(0, count - MIN_UNCONDITIONAL))))
    # a trigger that fires always, or never, would be no condition
    candidates = [QueryMentions(words=[word]) for word in words]
    some = [trigger for trigger in candidates if 0 < sum(map(trigger.fires, questions)) < len(questions)]
    return [rng.choice(some) if some and index in conditional else None for index in range(count)]


_LATIN_WORD = re.compile(r"[A-Za-z]{4,}")
_STOP_WORDS = re.compile(
    "about|after|before|could|does|every|from|have|here|into|just|like|make|many|more|most|much|must|only|other|over"
    "|should|some|such|than|that|their|them|then|there|these|they|this|those|what|when|where|which|while|will|with"
    "|without|would|your|yours|best|good|need|want|know|tell|give|help|work|many|long|very|really|without|between"
)
# Han characters except those of particles, pronouns and question words: what is left between those is content.
_HAN_CONTENT = re.compile(
    "(?:(?![的了吗呢吧是在我你您他她它们这那哪什么怎样如何为以会能可要有没不和与或就都也很把被让给对从到个些几多少请问时候用还更好后前于等并且该其此而又再只才想觉得做最所常])"
    "[\u4e00-\u9fff])+"
)


def _content_words(questions: Sequence[str], language: Language) -> list[str]:
    """Words that say what the questions are about, in the order in which they occur."""
    words: dict[str, None] = {}
    for question in questions:
        if language == "zh":
            for run in _HAN_CONTENT.findall(question):
                words.update(dict.fromkeys(_han_words(run)))
        else:
            found = (word.lower() for word in _LATIN_WORD.findall(question))
            words.update(dict.fromkeys(word for word in found if not _STOP_WORDS.fullmatch(word)))
    return list(words)


def _han_words(run: str) -> list[str]:
    """A guess without a dictionary: most Chinese words of content have two characters, some three."""
    if len(run) == 3:
        return [run]
    # in a longer odd run nobody knows where the odd character stands: only its first word is taken
    pairs = [run[index : index + 2] for index in range(0, len(run) - 1, 2)]
    return pairs if len(run) % 2 == 0 else pairs[:1]
