"""Checks on words, sentences and letters beyond IFEval's."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import Field

from models.base import Language
from models.constraints.base import BaseCheck
from models.constraints.extras_wording import SizeCount
from models.constraints.states import FlagCheck, FlagTexts

# Han, kana and Hangul are written without spaces between words, so a character is what can be counted.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_TOKEN = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+(?:['’-][^\W{_CJK}]+)*")
_HAN_RUN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
_LATIN_WORD = re.compile(r"[A-Za-z]{4,}")
_LATIN_LETTER = re.compile(r"[A-Za-zÀ-ÖØ-öø-ɏ]")
# A full stop inside a number or a name ("3.5", "example.org") ends no sentence.
_SENTENCE_END = re.compile(r"[!?。！？\n]|\.(?=\s|\Z)")


def simple_sentences(text: str) -> list[list[str]]:
    """The words of each sentence; a CJK character is a word, and a line break ends a sentence."""
    pieces = (_TOKEN.findall(piece) for piece in _SENTENCE_END.split(text))
    return [words for words in pieces if words]


def _any_word(*words: str) -> str:
    return rf"(?<![^\W{_CJK}])(?:{'|'.join(words)})(?![^\W{_CJK}])"


class LongestSentence(SizeCount):
    """Words of the longest sentence; a Chinese character is a word."""

    kind: Literal["longest_sentence"] = "longest_sentence"
    the: ClassVar[dict[Language, str]] = {
        "en": "the longest sentence of your response",
        "zh": "回答中最长的一句话",
    }
    item: ClassVar[str] = "word"
    item_zh: ClassVar[str] = "字（标点不计，一个英文单词算一个字）"

    def measure(self, response: str, query: str = "") -> int:
        """Words of the longest sentence; 0 for a response without words."""
        return max((len(words) for words in simple_sentences(response)), default=0)


class LongestWord(SizeCount):
    """Letters and digits of the longest word; meant for languages with spaces."""

    kind: Literal["longest_word"] = "longest_word"
    the: ClassVar[dict[Language, str]] = {"en": "the longest word of your response", "zh": "回答中最长的单词"}
    item: ClassVar[str] = "character"
    item_zh: ClassVar[str] = "字符"

    def measure(self, response: str, query: str = "") -> int:
        """Characters of the longest word; 0 for a response without words."""
        return max((len(word) for word in _TOKEN.findall(response)), default=0)


class PronounCheck(FlagCheck):
    """Any of a few pronouns of one language."""

    language: Language = Field(description="The language whose pronouns are looked for.")

    pronouns: ClassVar[dict[Language, re.Pattern[str]]]
    listed: ClassVar[dict[tuple[Language, Language], str]]
    """The pronouns as a text lists them: (language of the text, language of the pronouns)."""

    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            "Use at least one of the words {listed}.",
            "Your response must contain at least one of the words {listed}.",
            "At least one of the words {listed} must appear in your response.",
        ),
        ("en", "must_not"): (
            "Do not use any of the words {listed}.",
            "Your response must contain none of the words {listed}.",
            "None of the words {listed} may appear in your response.",
        ),
        ("zh", "must"): ("请使用{listed}。", "回答中必须出现{listed}。", "回答必须包含{listed}。"),
        ("zh", "must_not"): ("请不要使用{listed}。", "回答中不得出现{listed}。", "回答不能包含{listed}。"),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether any of the pronouns occurs."""
        return self.pronouns[self.language].search(response) is not None

    def words(self, language: Language) -> dict[str, str]:
        """The list of pronouns for the templates."""
        return {"listed": self.listed[language, self.language]}


class FirstPerson(PronounCheck):
    """The response speaks of itself in the first person."""

    kind: Literal["first_person"] = "first_person"
    # a small i is a list number or "i.e." more often than a pronoun
    pronouns: ClassVar[dict[Language, re.Pattern[str]]] = {
        "en": re.compile(_any_word("I", "(?i:me|my|mine|myself)")),
        "zh": re.compile("我"),
    }
    listed: ClassVar[dict[tuple[Language, Language], str]] = {
        ("en", "en"): '"I", "me", "my", "mine" and "myself"',
        ("en", "zh"): '"我" and those with "我" in them',
        ("zh", "en"): "英文第一人称代词（I、me、my、mine、myself中的任何一个）",
        ("zh", "zh"): "“我”字（包括“我们”）",
    }


class SecondPerson(PronounCheck):
    """The response addresses the user."""

    kind: Literal["second_person"] = "second_person"
    pronouns: ClassVar[dict[Language, re.Pattern[str]]] = {
        "en": re.compile(_any_word("you", "your", "yours", "yourself", "yourselves"), re.IGNORECASE),
        "zh": re.compile("[你您]"),
    }
    listed: ClassVar[dict[tuple[Language, Language], str]] = {
        ("en", "en"): '"you", "your", "yours", "yourself" and "yourselves"',
        ("en", "zh"): '"你" and "您", alone or inside other words,',
        ("zh", "en"): "英文第二人称代词（you、your、yours、yourself、yourselves中的任何一个）",
        ("zh", "zh"): "“你”或“您”字",
    }


class RepeatsQueryWord(FlagCheck):
    """The response takes up the user's words: English ones of four letters, or two Chinese characters."""

    kind: Literal["repeats_query_word"] = "repeats_query_word"
    language: Language = Field(description="The language whose words are looked for.")
    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            "Take up {unit} from the user's message.",
            "Your response must repeat {unit} from the user's message.",
            "Make sure that {unit} from the user's message appears in your response.",
        ),
        ("en", "must_not"): (
            "Do not take up any {units} from the user's message.",
            "Your response must not repeat any {units} from the user's message.",
            "Make sure that no {units} from the user's message appear in your response.",
        ),
        ("zh", "must"): (
            "请沿用用户消息中的{unit}。",
            "回答必须重复用户消息里的{unit}。",
            "请确保用户消息中的{unit}出现在回答里。",
        ),
        ("zh", "must_not"): (
            "请不要沿用用户消息中的任何{units}。",
            "回答不得重复用户消息里的任何{units}。",
            "请确保用户消息中的任何{units}都不出现在回答里。",
        ),
    }
    _UNITS: ClassVar[dict[tuple[Language, Language], tuple[str, str]]] = {
        ("en", "en"): (
            "at least one word of four or more English letters",
            "words of four or more English letters",
        ),
        ("en", "zh"): ("at least two consecutive Chinese characters", "two consecutive Chinese characters"),
        ("zh", "en"): (
            "至少一个由四个以上（含四个）英文字母组成的单词",
            "由四个以上（含四个）英文字母组成的单词",
        ),
        ("zh", "zh"): ("至少两个连续的汉字", "两个连续的汉字"),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether query and response share a word."""
        return not self._units(response).isdisjoint(self._units(query))

    def _units(self, text: str) -> set[str]:
        if self.language == "en":
            return set(_LATIN_WORD.findall(text.lower()))
        return {run[i : i + 2] for run in _HAN_RUN.findall(text) for i in range(len(run) - 1)}

    def words(self, language: Language) -> dict[str, str]:
        """The unit for the templates."""
        one, many = self._UNITS[language, self.language]
        return {"unit": one, "units": many}


class AsciiOnly(FlagCheck):
    """Every character is ASCII."""

    kind: Literal["ascii_only"] = "ascii_only"
    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            "Use ASCII characters only.",
            "Your response must consist of ASCII characters only.",
            "Do not use any character outside ASCII, such as emoji or curly quotation marks.",
        ),
        ("en", "must_not"): (
            "Use at least one character outside ASCII, such as an emoji or a curly quotation mark.",
            "Your response must contain at least one character that is not ASCII.",
            "Do not write in ASCII characters alone.",
        ),
        ("zh", "must"): (
            "请只使用ASCII字符。",
            "回答必须全部由ASCII字符组成。",
            "回答中不得出现非ASCII字符。",
        ),
        ("zh", "must_not"): (
            "请至少使用一个非ASCII字符。",
            "回答必须包含非ASCII字符。",
            "回答不能全部由ASCII字符组成。",
        ),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether every character is ASCII."""
        return response.isascii()


class LatinLetters(FlagCheck):
    """A Latin letter occurs: of interest in Chinese responses."""

    kind: Literal["latin_letters"] = "latin_letters"
    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            "Use at least one Latin letter.",
            "Your response must contain at least one Latin letter.",
            "There must be a Latin letter somewhere in your response.",
        ),
        ("en", "must_not"): (
            "Do not use any Latin letters.",
            "Your response must not contain a single Latin letter.",
            "There must be no Latin letters in your response.",
        ),
        ("zh", "must"): ("请至少使用一个拉丁字母。", "回答必须包含拉丁字母。", "回答中要出现拉丁字母。"),
        ("zh", "must_not"): (
            "请不要使用拉丁字母。",
            "回答不能包含任何拉丁字母。",
            "回答中不得出现拉丁字母。",
        ),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether a Latin letter, accented or not, occurs."""
        return _LATIN_LETTER.search(response) is not None


class UniqueSentenceStarts(FlagCheck):
    """No two sentences begin with the same word (in Chinese: the same character)."""

    kind: Literal["unique_sentence_starts"] = "unique_sentence_starts"
    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            "Begin every sentence with a different word.",
            "No two sentences of your response may start with the same word.",
            "Each sentence of your response must open with a word that no other sentence opens with.",
        ),
        ("en", "must_not"): (
            "Begin at least two sentences with the same word.",
            "Some two sentences of your response must start with the same word.",
            "At least one sentence of your response must open with a word that another sentence opens with.",
        ),
        ("zh", "must"): (
            "每句话都要以不同的字或单词开头。",
            "回答中任何两句话都不得以同一个字或单词开头。",
            "请让各句开头的字或单词互不相同。",
        ),
        ("zh", "must_not"): (
            "请让至少两句话以同一个字或单词开头。",
            "回答中必须有两句话以同一个字或单词开头。",
            "各句开头的字或单词不能全都互不相同。",
        ),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether the first words of the sentences differ, in whatever case."""
        starts = [words[0].casefold() for words in simple_sentences(response)]
        return len(set(starts)) == len(starts)


CHECKS: tuple[type[BaseCheck], ...] = (
    LongestSentence,
    LongestWord,
    FirstPerson,
    SecondPerson,
    RepeatsQueryWord,
    AsciiOnly,
    LatinLetters,
    UniqueSentenceStarts,
)
