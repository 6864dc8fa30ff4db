"""Multi-IF's instructions where a language makes a difference."""

from __future__ import annotations

from typing import Any

import pytest

from models.constraints.multi_if import count_sentences_of, count_words_of, follows_multi_if

CHINESE = "今天天气很好，我们去公园！你要来吗？Yes, 带上 two 个朋友😀。"
HINDI = "मैं आज बाज़ार जा रहा हूँ। क्या तुम आओगे? हाँ!"
RUSSIAN = "Сегодня хорошая погода. Мы идём в парк, а потом домой. Ты пойдёшь с нами?"
THAI = "วันนี้อากาศดีมาก เราไปสวนสาธารณะกันเถอะ"


def follows(kind: str, text: str, language: str = "English", **kwargs: Any) -> bool | None:
    return follows_multi_if(kind, kwargs, "the prompt", language)(text)


def test_words_and_sentences_are_counted_by_the_language_of_the_text() -> None:
    # 19 characters, "Yes", "two" and the emoji
    assert count_words_of(CHINESE) == 23
    assert count_sentences_of(CHINESE) == 3
    assert count_words_of("今天a，b天气很好我们去公园") == 12  # marks vanish, so a and b are one word
    # ten words: Python's \w has no vowel signs, so the reference counts more, and so does this
    assert count_words_of(HINDI) == 14
    assert count_sentences_of(HINDI) == 3
    assert (count_words_of(RUSSIAN), count_sentences_of(RUSSIAN)) == (14, 3)
    assert (count_words_of(""), count_sentences_of("")) == (0, 0)


def test_what_has_no_meaning_for_a_language_is_not_guessed() -> None:
    bound = {"relation": "at least", "num_words": 3}
    assert follows("length_constraints:number_words", THAI, "Thai", **bound) is None
    assert follows("length_constraints:number_words", RUSSIAN, "Thai", **bound) is True
    sentences = {"relation": "less than", "num_sentences": 3}
    assert follows("length_constraints:number_sentences", THAI, "Thai", **sentences) is None
    capital: dict[str, Any] = {"capital_relation": "at least", "capital_frequency": 1}
    for language, expected in {"Chinese": None, "Hindi": None, "Russian": True, "English": True}.items():
        assert follows("change_case:capital_word_frequency", "NASA", language, **capital) is expected
    first: dict[str, Any] = {"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "然后"}
    assert follows("length_constraints:nth_paragraph_first_word", "然后我们走了。", "Chinese", **first) is None


@pytest.mark.parametrize(
    ("text", "expected"), [("“你好”", True), ("「はい」", True), ('"yes"', True), ("“mixed」", False), ("“", False)]
)
def test_quotation_marks_of_other_scripts(text: str, expected: bool) -> None:
    assert follows("startend:quotation", text, "Chinese") is expected


def test_a_letter_of_another_script_is_counted() -> None:
    bound: dict[str, Any] = {"let_relation": "at least", "let_frequency": 2}
    assert follows("keywords:letter_frequency", "Привет, Пётр", "Russian", letter="п", **bound) is True
    assert follows("keywords:letter_frequency", "Привет", "Russian", letter="П", **bound) is False
    assert follows("keywords:letter_frequency", "aAb", letter="a", **bound) is True
    less: dict[str, Any] = {"let_relation": "less than", "let_frequency": 2}
    assert follows("keywords:letter_frequency", "Привет", "Russian", letter="п", **less) is True
    # the reference draws a letter for these
    for odd in ("#", "пр", ""):
        with pytest.raises(ValueError, match="letter"):
            follows("keywords:letter_frequency", "x", "Russian", letter=odd, **bound)


def test_all_else_is_ifevals() -> None:
    assert follows("punctuation:no_comma", "你好，世界", "Chinese") is True
    assert follows("keywords:existence", "Он идёт ДОМОЙ", "Russian", keywords=["домой"]) is True
    assert follows("keywords:forbidden_words", "我们去公园吧", "Chinese", forbidden_words=["公园"]) is False
    with pytest.raises(ValueError, match="none of IFEval's"):
        follows("keywords:nothing", "x")
    with pytest.raises(ValueError, match="neither"):
        follows("length_constraints:number_words", "x", relation="about", num_words=3)
