"""Capital and small letters."""

from __future__ import annotations

from typing import ClassVar, Literal

from models.constraints.base import BaseCheck
from models.constraints.states import CountedCheck, CountTexts, FlagCheck, FlagTexts
from models.constraints.text import count_capital_words, detect_language


class CapitalWordCount(CountedCheck):
    """Words whose letters are all capital."""

    kind: Literal["capital_word_count"] = "capital_word_count"

    nouns = ("word in all capital letters", "words in all capital letters")
    noun_zh = ("个", "全大写的英文单词")
    texts: ClassVar[CountTexts] = {
        "en": (
            'Use {counted} in your response, such as "NASA", "I" or "VERY".',
            'Your response must contain {counted} (for example "NASA", "I" or "VERY").',
            'Write {counted}; "NASA", "I" and "VERY" are such words.',
        ),
        "zh": (
            "请在回复中使用{counted}，例如“NASA”“I”或“VERY”。",
            "你的回复必须包含{counted}（例如“NASA”“I”或“VERY”）。",
            "请写出{counted}，“NASA”“I”和“VERY”都算。",
        ),
    }
    none_texts: ClassVar[CountTexts] = {
        "en": (
            'Do not use any word in all capital letters, such as "NASA", "I" or "VERY".',
            'Your response must not contain words in all capital letters (for example "NASA", "I" or "VERY").',
            'Avoid words in all capital letters completely, even "NASA" or "I".',
        ),
        "zh": (
            "请不要使用任何全大写的英文单词，例如“NASA”“I”或“VERY”。",
            "你的回复不得包含全大写的英文单词（例如“NASA”“I”或“VERY”）。",
            "请完全避免全大写的英文单词，包括“NASA”和“I”。",
        ),
    }

    def measure(self, response: str, query: str = "") -> int:
        """NLTK's tokens in capitals, as IFEval counts."""
        return count_capital_words(response)


def _english_or_unknown(text: str) -> bool:
    # the reference lets text pass in which langdetect finds nothing to go by
    return detect_language(text) in ("en", None)


class AllCapitals(FlagCheck):
    """English, and no small letter."""

    kind: Literal["all_capitals"] = "all_capitals"

    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            "Write your entire response in English and in all capital letters.",
            "Your whole response must be in English, with capital letters only and no lowercase ones.",
            "Answer in English and use nothing but capital letters.",
        ),
        ("en", "must_not"): (
            "Do not write your entire response in English capital letters: "
            "use at least one lowercase letter or another language.",
            "Your response must not be both in English and in all capital letters.",
            "Avoid an answer that is English in nothing but capital letters; "
            "lowercase letters or another language are fine.",
        ),
        ("zh", "must"): (
            "请用英文书写整个回复，并且全部使用大写字母。",
            "你的全部回复必须是英文，只用大写字母，不得有小写字母。",
            "请用英文回答，且只使用大写字母。",
        ),
        ("zh", "must_not"): (
            "请不要把整个回复写成全大写的英文：至少使用一个小写字母，或使用其他语言。",
            "你的回复不得既是英文又全部使用大写字母。",
            "请避免全大写的英文回答，使用小写字母或其他语言均可。",
        ),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether there are letters, none of them small, in English."""
        return response.isupper() and _english_or_unknown(response)


class AllLowerCase(FlagCheck):
    """English, and no capital letter."""

    kind: Literal["all_lower_case"] = "all_lower_case"

    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            "Write your entire response in English and in all lowercase letters, without any capital letter.",
            "Your whole response must be in English, with lowercase letters only.",
            "Answer in English and do not use a single capital letter.",
        ),
        ("en", "must_not"): (
            "Do not write your entire response in English lowercase letters: "
            "use at least one capital letter or another language.",
            "Your response must not be both in English and in all lowercase letters.",
            "Avoid an answer that is English in nothing but lowercase letters; "
            "capital letters or another language are fine.",
        ),
        ("zh", "must"): (
            "请用英文书写整个回复，并且全部使用小写字母，不得有大写字母。",
            "你的全部回复必须是英文，只用小写字母。",
            "请用英文回答，不要使用任何大写字母。",
        ),
        ("zh", "must_not"): (
            "请不要把整个回复写成全小写的英文：至少使用一个大写字母，或使用其他语言。",
            "你的回复不得既是英文又全部使用小写字母。",
            "请避免全小写的英文回答，使用大写字母或其他语言均可。",
        ),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether there are letters, none of them capital, in English."""
        return response.islower() and _english_or_unknown(response)


CHECKS: tuple[type[BaseCheck], ...] = (CapitalWordCount, AllCapitals, AllLowerCase)
