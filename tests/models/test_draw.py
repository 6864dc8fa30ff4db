"""What every drawn set of constraints guarantees, over many seeds."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations, product

import pytest
from hypothesis import given, settings

from models.base import Language
from models.constraints import ALL_CHECKS, parse_check
from models.constraints.conflicts import FAMILIES, conflicting_pairs, conflicts, family, reversible
from models.constraints.draw import MIN_UNCONDITIONAL, RECIPES, DrawnConstraint, draw_constraints, limits
from models.constraints.examples import EXAMPLES
from models.constraints.states import CountCheck
from tests.strategies import texts

QUESTIONS: dict[Language, list[str]] = {
    "en": [
        "When should I prune my roses?",
        "My tomato leaves turn yellow. What is wrong?",
        "Which vegetables grow well in shade?",
        "How do I keep slugs away from my lettuce?",
        "Is compost better than fertilizer for roses?",
    ],
    "zh": [
        "玫瑰什么时候修剪？",
        "番茄叶子发黄怎么办？",
        "哪些蔬菜适合阴凉的地方？",
        "如何防止蜗牛吃生菜？",
        "玫瑰用堆肥还是化肥更好？",
    ],
}
both = pytest.mark.parametrize("language", ["en", "zh"])


def _draw(seed: int, language: Language, count: int = 5, share: float = 0.2) -> list[DrawnConstraint]:
    return draw_constraints(
        random.Random(seed),
        language=language,
        count=count,
        max_words=60,
        questions=QUESTIONS[language],
        conditional_share=share,
    )


@both
def test_a_drawn_set_stays_free_of_conflict_however_it_is_reversed(language: Language) -> None:
    for seed in range(700):
        drawn = _draw(seed, language, count=2 + seed % 6)
        checks = [item.check for item in drawn]
        families = [family(item.kind) for item in drawn]
        assert len(set(families)) == len(families)
        for states in product((False, True), repeat=len(checks)) if seed < 40 else [(False,) * len(checks)]:
            rewritten = [c.complement() if flip else c for c, flip in zip(checks, states, strict=True)]
            assert conflicting_pairs(rewritten) == []
        assert all(reversible(a, b) for a, b in combinations(checks, 2))


@both
def test_both_polarities_are_in_every_set_and_half_of_all(language: Language) -> None:
    limiting = total = 0
    for seed in range(600):
        drawn = _draw(seed, language, count=2 + seed % 5)
        limited = sum(limits(item.check) for item in drawn)
        assert abs(2 * limited - len(drawn)) <= 1
        limiting, total = limiting + limited, total + len(drawn)
    assert 0.47 < limiting / total < 0.53


@both
def test_draws_are_decided_by_the_generator_alone(language: Language) -> None:
    assert _draw(7, language) == _draw(7, language)
    assert len({tuple(item.text for item in _draw(seed, language)) for seed in range(200)}) == 200


@both
def test_draws_are_varied(language: Language) -> None:
    kinds = Counter(item.kind for seed in range(600) for item in _draw(seed, language))
    wanted = {recipe.kind for recipe in RECIPES if language in recipe.languages}
    assert set(kinds) == wanted
    assert max(kinds.values()) < 0.2 * kinds.total()


@both
def test_triggers_fire_on_some_questions_and_leave_three_constraints_alone(language: Language) -> None:
    conditional = total = 0
    for seed in range(300):
        drawn = _draw(seed, language, count=6)
        triggers = [item.trigger for item in drawn if item.trigger is not None]
        assert len(drawn) - len(triggers) >= MIN_UNCONDITIONAL
        for trigger in triggers:
            fired = sum(trigger.fires(question) for question in QUESTIONS[language])
            assert 0 < fired < len(QUESTIONS[language])
        conditional, total = conditional + len(triggers), total + len(drawn)
    assert 0.15 < conditional / total < 0.25
    assert all(item.trigger is None for item in _draw(1, language, count=3, share=1.0))
    assert sum(item.trigger is None for item in _draw(1, language, count=7, share=1.0)) == MIN_UNCONDITIONAL
    assert all(item.trigger is None for item in _draw(1, language, share=0.0))


@both
def test_a_drawn_text_is_one_of_its_checks_phrasings(language: Language) -> None:
    for seed in range(100):
        for item in _draw(seed, language):
            assert item.kind == item.check.kind
            assert item.text in [item.check.describe(language, n) for n in range(item.check.phrasings)]


def test_too_many_constraints_are_refused() -> None:
    with pytest.raises(ValueError, match="fewer constraints"):
        _draw(1, "en", count=60)


def test_bounds_follow_the_length_of_answers() -> None:
    counts: dict[int, set[int]] = {30: set(), 300: set()}
    for max_words, found in counts.items():
        for seed in range(300):
            for item in draw_constraints(
                random.Random(seed), language="en", count=4, max_words=max_words, questions=QUESTIONS["en"]
            ):
                if item.kind == "word_count":
                    found.add(item.check.parameters()["count"])
    assert max(counts[30]) <= 30
    assert min(counts[300]) > 100


def test_recipes_and_families_name_known_kinds() -> None:
    assert {recipe.kind for recipe in RECIPES} <= set(ALL_CHECKS)
    listed = [kind for kinds in FAMILIES.values() for kind in kinds]
    assert set(listed) <= set(ALL_CHECKS)
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({"kind": "all_capitals"}, {"kind": "all_lower_case"}),
        ({"kind": "word_count", "relation": "at_most", "count": 29}, {"kind": "paragraph_count", "paragraphs": 5}),
        ({"kind": "json_format"}, {"kind": "bullet_count", "relation": "at_least", "count": 1}),
        ({"kind": "keyword_present", "keywords": ["rose"]}, {"kind": "forbidden_words", "forbidden": ["Rose"]}),
        (
            {"kind": "keyword_present", "keywords": ["rose"], "polarity": "must_not"},
            {"kind": "starts_with", "phrase": "A rose"},
        ),
        ({"kind": "response_language", "language": "zh"}, {"kind": "keyword_present", "keywords": ["rose"]}),
        ({"kind": "response_language", "language": "de"}, {"kind": "all_capitals"}),
        ({"kind": "ascii_only"}, {"kind": "emoji_count", "relation": "at_least", "count": 1}),
        ({"kind": "ascii_only"}, {"kind": "response_language", "language": "zh"}),
        ({"kind": "no_comma"}, {"kind": "comma_count", "relation": "at_least", "count": 2}),
        ({"kind": "no_comma"}, {"kind": "keyword_present", "keywords": ["yes, please"]}),
        ({"kind": "starts_with", "phrase": "I"}, {"kind": "first_person", "language": "en", "polarity": "must_not"}),
        ({"kind": "starts_with", "phrase": "Sure"}, {"kind": "all_lower_case"}),
        ({"kind": "starts_with", "phrase": "The"}, {"kind": "starts_with", "phrase": "There"}),
        ({"kind": "ends_with_question"}, {"kind": "ends_with_period"}),
        ({"kind": "ends_with_question"}, {"kind": "question_count", "relation": "at_most", "count": 0}),
        ({"kind": "ends_with", "phrase": "Any questions?"}, {"kind": "ends_with_period"}),
        (
            {"kind": "numbered_list_count", "relation": "at_least", "count": 2},
            {"kind": "number_count", "relation": "exactly", "count": 0},
        ),
        (
            {"kind": "numbered_list_count", "relation": "at_least", "count": 3},
            {"kind": "number_count", "relation": "at_most", "count": 2},
        ),
        (
            {"kind": "bold_count", "relation": "at_least", "count": 1},
            {"kind": "highlight_count", "relation": "at_most", "count": 0},
        ),
        (
            {"kind": "word_count", "relation": "between", "count": 10, "upper": 20},
            {"kind": "word_count", "relation": "exactly", "count": 21},
        ),
        (
            {"kind": "character_count", "relation": "at_most", "count": 10},
            {"kind": "word_count", "relation": "at_least", "count": 11},
        ),
    ],
)
def test_what_conflicts(a: dict[str, object], b: dict[str, object]) -> None:
    assert conflicts(parse_check(a), parse_check(b))
    assert conflicts(parse_check(b), parse_check(a))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({"kind": "word_count", "relation": "at_least", "count": 40}, {"kind": "no_comma"}),
        ({"kind": "keyword_present", "keywords": ["rose"]}, {"kind": "keyword_present", "keywords": ["soil"]}),
        ({"kind": "ends_with", "phrase": "Any questions?"}, {"kind": "ends_with_question"}),
        ({"kind": "ends_with", "phrase": "对吗？"}, {"kind": "ends_with_question"}),
        ({"kind": "starts_with", "phrase": "Sure"}, {"kind": "starts_with", "phrase": "Sure, here"}),
        ({"kind": "response_language", "language": "de"}, {"kind": "keyword_present", "keywords": ["Rose"]}),
        (
            {"kind": "word_count", "relation": "between", "count": 10, "upper": 20},
            {"kind": "word_count", "relation": "outside", "count": 12, "upper": 14},
        ),
        (
            {"kind": "exclamation_count", "relation": "at_least", "count": 1},
            {"kind": "question_count", "relation": "at_most", "count": 0},
        ),
        (
            {"kind": "numbered_list_count", "relation": "at_least", "count": 2},
            {"kind": "number_count", "relation": "at_most", "count": 2},
        ),
        (
            {"kind": "numbered_list_count", "relation": "at_most", "count": 1},
            {"kind": "number_count", "relation": "at_least", "count": 3},
        ),
    ],
)
def test_what_does_not_conflict(a: dict[str, object], b: dict[str, object]) -> None:
    assert not conflicts(parse_check(a), parse_check(b))
    assert not conflicts(parse_check(b), parse_check(a))


@pytest.mark.parametrize(
    ("part", "whole"),
    [
        ("numbered_list_count", "number_count"),
        ("numbered_list_count", "line_count"),
        ("section_count", "number_count"),
        ("bullet_count", "line_count"),
        ("heading_count", "line_count"),
        ("code_block_count", "line_count"),
        ("url_count", "colon_count"),
    ],
)
@settings(max_examples=60)
@given(text=texts)
def test_what_is_counted_in_another_count_conflicts_with_fewer_of_that(part: str, whole: str, text: str) -> None:
    some = EXAMPLES[part]
    few = parse_check({"kind": whole, "relation": "at_most", "count": 2})
    assert conflicts(some, few)
    # which is no guess: a text never has more of the one than of the other
    assert isinstance(some, CountCheck)
    assert isinstance(few, CountCheck)
    assert some.measure(text) <= few.measure(text)
