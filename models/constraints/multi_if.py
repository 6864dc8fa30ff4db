"""Multi-IF's instructions: IFEval's kinds in many languages.

He et al. 2024, "Multi-IF: Benchmarking LLMs on Multi-Turn and Multilingual Instructions Following", arXiv:2410.15553.
The semantics are those of its reference code, which counts words and sentences by the language that langdetect hears in
the response, with these exceptions, each where its check says nothing about the response:

- not applicable: words and sentences of Thai (the reference has a segmenter for it); words in capital letters where the
  language has none; the first word of a paragraph where the language puts no spaces between words;
- a letter of another script than Latin is counted (the reference draws a random Latin letter instead);
- what ``models.constraints.ifeval`` says: keywords are text, and Chinese ones are found inside a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import emoji

from models.constraints.ifeval import check_from_ifeval
from models.constraints.text import count_words, detect_language, split_sentences

Follows = Callable[[str], bool | None]
"""Whether a text follows an instruction; None: the instruction has no meaning for it."""

WITHOUT_CASE = frozenset({"Chinese", "Hindi", "Thai"})
WITHOUT_SPACES = frozenset({"Chinese", "Thai"})

_SPACED_OUT = ("zh", "zh-cn", "zh-tw", "ja")
_CHARACTER = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")
_MARKS = str.maketrans("", "", "\\.!?．/_,{}<>:;$%^&*(+\"'—！，。？、`~@#￥…（）：；《》“”)[]»〔〕-「」")
_CHINESE_SENTENCE = re.compile(r"[^!?.。！？．]+")
_HINDI_END = re.compile(r"(?<=[।!?])")
_QUOTES = ('""', "“”", "「」")


def follows_multi_if(instruction_id: str, kwargs: Mapping[str, Any], prompt: str, language: str) -> Follows:
    """How a text is asked whether it follows an instruction.

    Args:
        instruction_id: IFEval's id, such as ``keywords:existence``.
        kwargs: The instruction's arguments by IFEval's names.
        prompt: What the user says; errors name it.
        language: Language of the dialogue, as Multi-IF names it: English, Hindi, ...

    Raises:
        ValueError: The id is unknown, or the arguments make no check.
    """
    letter = kwargs.get("letter")
    foreign = isinstance(letter, str) and len(letter) == 1 and letter.isalpha() and not letter.isascii()
    # the check of another letter tells whether all other arguments are right
    check = check_from_ifeval(instruction_id, {**kwargs, "letter": "a"} if foreign else kwargs, prompt)
    if instruction_id in _WITHOUT and language in _WITHOUT[instruction_id]:
        return lambda text: None
    if instruction_id in _COUNTED:
        number, count = _COUNTED[instruction_id]
        return _bounded(kwargs["relation"], kwargs[number], count)
    if foreign:
        lower = str(letter).lower()
        return _bounded(kwargs["let_relation"], kwargs["let_frequency"], lambda text: text.lower().count(lower))
    return _is_quoted if instruction_id == "startend:quotation" else check.follows


def _bounded(relation: str, number: int, count: Callable[[str], int | None]) -> Follows:
    def follows(text: str) -> bool | None:
        found = count(text)
        if found is None:
            return None
        return found < number if relation == "less than" else found >= number

    return follows


def count_words_of(text: str) -> int | None:
    """Words by the language of the text: in Chinese and Japanese a character is one; None: Thai."""
    language = detect_language(text)
    if language == "th":
        return None
    if language not in _SPACED_OUT:
        return count_words(text)
    bare = text.translate(_MARKS)
    others = _CHARACTER.sub(" ", emoji.replace_emoji(bare, ""))
    return len(others.split()) + len(_CHARACTER.findall(bare)) + emoji.emoji_count(bare)


def count_sentences_of(text: str) -> int | None:
    """Sentences by the language of the text: at a danda in Hindi, at full-width marks in Chinese; None: Thai."""
    language = detect_language(text)
    if language == "th":
        return None
    if language == "hi":
        return sum(bool(piece.strip()) for piece in _HINDI_END.split(text))
    if language in _SPACED_OUT:
        return sum(len(_CHINESE_SENTENCE.findall(line.strip())) for line in text.splitlines())
    return len(split_sentences(text))


def _is_quoted(text: str) -> bool:
    bare = text.strip()
    return len(bare) > 1 and bare[0] + bare[-1] in _QUOTES


_WITHOUT = {
    "change_case:capital_word_frequency": WITHOUT_CASE,
    "length_constraints:nth_paragraph_first_word": WITHOUT_SPACES,
}
_COUNTED: dict[str, tuple[str, Callable[[str], int | None]]] = {
    "length_constraints:number_words": ("num_words", count_words_of),
    "length_constraints:number_sentences": ("num_sentences", count_sentences_of),
}
