"""Checks that a model proposes: read exactly, or left out with a reason."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import Language
from models.constraints import ALL_CHECKS, BaseCheck
from models.constraints.numerals import numbers_in
from models.constraints.proposals import (
    ProposedCheck,
    ProposedParameter,
    ReadCheck,
    offered_checks,
    read_check,
    render_offer,
)
from tests.strategies import checks, texts


def propose(kind: str, *parameters: tuple[str, str | int]) -> ProposedCheck:
    return ProposedCheck(
        kind=kind, parameters=[ProposedParameter(name=name, value=value) for name, value in parameters]
    )


def propose_again(check: BaseCheck) -> ProposedCheck:
    return propose(
        check.kind,
        *(
            (name, item)
            for name, value in check.parameters().items()
            for item in (value if isinstance(value, list | tuple) else [value])
            if item is not None
        ),
    )


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_is_offered_can_be_given_back(language: Language) -> None:
    offered = list(offered_checks(language))
    assert len(offered) > 0.8 * len(ALL_CHECKS)
    assert render_offer(language).count("\n") == len(offered) - 1
    for check in offered:
        assert read_check(propose_again(check), check.describe(language), language) == ReadCheck(check, None)


@given(checks(), st.sampled_from(["en", "zh"]))
@settings(max_examples=200, deadline=None)
def test_a_kept_check_is_one_line_in_its_language(check: BaseCheck, language: Language) -> None:
    found, refusal = read_check(propose_again(check), check.describe(language), language)
    assert (found is None) == (refusal is not None)
    if found is not None:
        assert found == check
        assert found.describe(language).isprintable()
        assert found.parameters().get("language", language) == language or found.kind == "response_language"


@given(texts, texts, texts, texts)
@settings(max_examples=200, deadline=None)
def test_nothing_raises(kind: str, name: str, value: str, text: str) -> None:
    for tried in (kind, "bullet_count", "starts_with"):
        assert read_check(propose(tried, (name, value), ("count", value)), text, "en").check is None


BULLETS = (("relation", "at_least"), ("count", 3))


@pytest.mark.parametrize(
    ("proposed", "text", "language", "refusal"),
    [
        (propose("bullet_count", *BULLETS), "Give three bullet points or more.", "en", None),
        (propose("bullet_count", *BULLETS), "Give more than two bullet points.", "en", None),
        (propose("bullet_count", *BULLETS), "至少列出三个项目符号。", "zh", None),
        (propose("bullet_count", *BULLETS), "Give at least five bullet points.", "en", "check_contradicts_text"),
        (propose("emoji_count", ("relation", "at_most"), ("count", 0)), "No emoji in your 5 tips.", "en", None),
        (propose("forbidden_words", ("forbidden", "cash")), "Never write 'cash'.", "en", None),
        (propose("forbidden_words", ("forbidden", "cash")), "Never write 'money'.", "en", "check_contradicts_text"),
        (propose("paragraph_count", ("paragraphs", 2)), "Write four paragraphs.", "en", "check_contradicts_text"),
        (propose("bullet_counts", *BULLETS), "Give at least 3 bullets.", "en", "invalid_check"),
        (propose("bullet_count", ("relation", "at_least")), "Give at least 3 bullets.", "en", "invalid_check"),
        (propose("bullet_count", *BULLETS, *BULLETS), "Give at least 3 bullets.", "en", "invalid_check"),
        (propose("no_comma", ("count", 3)), "Use no comma, 3 times.", "en", "invalid_check"),
        (propose("starts_with", ("phrase", "Hi\n- new")), "Begin with Hi\n- new", "en", "invalid_check"),
        (propose("all_capitals"), "全部使用大写字母。", "zh", "check_in_other_language"),
        (propose("word_count", *BULLETS), "至少写3个词。", "zh", "check_in_other_language"),
        (propose("first_person", ("language", "zh")), "Speak of yourself as 我.", "en", "check_in_other_language"),
        (propose("response_language", ("language", "fr")), "Answer in French.", "en", None),
    ],
)
def test_readings(proposed: ProposedCheck, text: str, language: Language, refusal: str | None) -> None:
    found = read_check(proposed, text, language)
    assert (found.refusal, found.check is None) == (refusal, refusal is not None)


def test_numbers() -> None:
    assert numbers_in("twenty-five, one hundred and fifty, 1,200 and two or three; once") == {25, 150, 1200, 2, 3, 1}
    assert numbers_in("二十五个字，三百行，两句，十条，一百五十字") == {25, 300, 2, 10, 150}
    assert numbers_in("") == numbers_in("none") == set()
