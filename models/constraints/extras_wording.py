"""The sentences of the count checks beyond IFEval: one table of whole sentences a language and relation.

Whole sentences rather than a quantity put into a frame: "Use any number except 3 of commas" is what
frames give.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from models.base import Language
from models.constraints.states import CountCheck

Said = Literal["none", "at_least", "at_most", "exactly", "not_exactly", "between", "outside"]
"""A relation, after ``CountCheck.plain``, with "at most 0" apart."""

_ITEMS: dict[tuple[Language, Said], tuple[str, str, str]] = {
    ("en", "none"): (
        "Do not {verb} any {items}.",
        "Your response must not contain any {items}.",
        "There must be no {items} in your response.",
    ),
    ("en", "at_least"): (
        "{Verb} at least {n} {item_n}.",
        "Your response must contain {n} or more {items}.",
        "There must be no fewer than {n} {item_n} in your response.",
    ),
    ("en", "at_most"): (
        "{Verb} at most {n} {item_n}.",
        "Your response must contain no more than {n} {item_n}.",
        "There must be {n} or fewer {items} in your response.",
    ),
    ("en", "exactly"): (
        "{Verb} exactly {n} {item_n}.",
        "Your response must contain precisely {n} {item_n}.",
        "There must be {n} {item_n} in your response, neither more nor fewer.",
    ),
    ("en", "not_exactly"): (
        "Do not {verb} exactly {n} {item_n}; any other number is fine.",
        "Your response must contain either fewer or more than {n} {item_n}, but not exactly {n}.",
        "The number of {items} in your response must not be {n}.",
    ),
    ("en", "between"): (
        "{Verb} between {n} and {m} {items} (inclusive).",
        "Your response must contain from {n} to {m} {items}.",
        "There must be at least {n} and at most {m} {items} in your response.",
    ),
    ("en", "outside"): (
        "{Verb} fewer than {n} or more than {m} {items}.",
        "The number of {items} in your response must be either below {n} or above {m}.",
        "Do not {verb} between {n} and {m} {items} (inclusive); fewer or more is fine.",
    ),
    ("zh", "none"): ("请不要{verb}{items}。", "回答中不得出现{items}。", "回答不能包含任何{items}。"),
    ("zh", "at_least"): (
        "请至少{verb}{n}{c}{items}。",
        "回答中的{items}不得少于{n}{c}。",
        "回答必须包含{n}{c}或更多{items}。",
    ),
    ("zh", "at_most"): (
        "请最多{verb}{n}{c}{items}。",
        "回答中的{items}不得超过{n}{c}。",
        "回答里{items}的数量不能多于{n}{c}。",
    ),
    ("zh", "exactly"): (
        "请正好{verb}{n}{c}{items}。",
        "回答必须包含恰好{n}{c}{items}。",
        "回答中的{items}必须是{n}{c}，不多也不少。",
    ),
    ("zh", "not_exactly"): (
        "请不要正好{verb}{n}{c}{items}，其他数量都可以。",
        "回答中{items}的数量不得等于{n}{c}。",
        "回答中的{items}必须多于或少于{n}{c}，不能恰好是{n}{c}。",
    ),
    ("zh", "between"): (
        "请{verb}{n}到{m}{c}{items}（含{n}和{m}）。",
        "回答必须包含至少{n}{c}、至多{m}{c}{items}。",
        "回答中{items}的数量应介于{n}与{m}{c}之间（含两端）。",
    ),
    ("zh", "outside"): (
        "请{verb}少于{n}{c}或多于{m}{c}{items}。",
        "回答中{items}的数量必须小于{n}{c}或者大于{m}{c}。",
        "回答中{items}的数量不得介于{n}与{m}{c}之间（含两端）。",
    ),
}

_SIZES: dict[tuple[Language, Said], tuple[str, str, str]] = {
    ("en", "none"): (
        "{The} must have no {items}.",
        "Make sure that {the} has no {items} at all.",
        "{The} must have zero {items}.",
    ),
    ("en", "at_least"): (
        "{The} must have at least {n} {item_n}.",
        "Make sure that {the} has {n} or more {items}.",
        "{The} must have no fewer than {n} {item_n}.",
    ),
    ("en", "at_most"): (
        "{The} must have at most {n} {item_n}.",
        "Make sure that {the} has no more than {n} {item_n}.",
        "{The} must have {n} or fewer {items}.",
    ),
    ("en", "exactly"): (
        "{The} must have exactly {n} {item_n}.",
        "Make sure that {the} has precisely {n} {item_n}.",
        "{The} must have {n} {item_n}, neither more nor fewer.",
    ),
    ("en", "not_exactly"): (
        "{The} must not have exactly {n} {item_n}.",
        "Make sure that {the} has fewer or more than {n} {item_n}, but not exactly {n}.",
        "{The} must have a number of {items} other than {n}.",
    ),
    ("en", "between"): (
        "{The} must have between {n} and {m} {items} (inclusive).",
        "Make sure that {the} has from {n} to {m} {items}.",
        "{The} must have at least {n} and at most {m} {items}.",
    ),
    ("en", "outside"): (
        "{The} must have fewer than {n} or more than {m} {items}.",
        "Make sure that {the} has either fewer than {n} or more than {m} {items}.",
        "{The} must not have between {n} and {m} {items} (inclusive).",
    ),
    ("zh", "none"): ("{the}不能有任何{items}。", "请确保{the}没有{items}。", "{the}的{items}数必须为零。"),
    ("zh", "at_least"): (
        "{the}至少要有{n}{c}{items}。",
        "请确保{the}不少于{n}{c}{items}。",
        "{the}必须有{n}{c}或更多{items}。",
    ),
    ("zh", "at_most"): (
        "{the}最多只能有{n}{c}{items}。",
        "请确保{the}不超过{n}{c}{items}。",
        "{the}不能多于{n}{c}{items}。",
    ),
    ("zh", "exactly"): (
        "{the}必须正好有{n}{c}{items}。",
        "请确保{the}恰好有{n}{c}{items}。",
        "{the}必须有{n}{c}{items}，不多也不少。",
    ),
    ("zh", "not_exactly"): (
        "{the}不能正好有{n}{c}{items}。",
        "请确保{the}多于或少于{n}{c}{items}，不能恰好是{n}{c}。",
        "{the}的{items}数不得等于{n}。",
    ),
    ("zh", "between"): (
        "{the}应有{n}到{m}{c}{items}（含{n}和{m}）。",
        "请确保{the}至少有{n}{c}、至多有{m}{c}{items}。",
        "{the}的{items}数应介于{n}与{m}之间（含两端）。",
    ),
    ("zh", "outside"): (
        "{the}必须少于{n}{c}或多于{m}{c}{items}。",
        "请确保{the}要么少于{n}{c}{items}，要么多于{m}{c}{items}。",
        "{the}的{items}数不得介于{n}与{m}之间（含两端）。",
    ),
}


class ItemCount(CountCheck):
    """How many of something the response contains."""

    verb: ClassVar[dict[Language, str]] = {"en": "use", "zh": "使用"}
    item: ClassVar[str]
    """The thing in English, one of it; ``items`` where the plural is not ``item`` and an s."""
    items: ClassVar[str] = ""
    item_zh: ClassVar[str]
    classifier: ClassVar[str] = "个"

    def describe(self, language: Language, phrasing: int = 0) -> str:
        """The demand as one sentence."""
        return self._sentence(_ITEMS, language, phrasing)

    def _sentence(
        self,
        table: dict[tuple[Language, Said], tuple[str, str, str]],
        language: Language,
        phrasing: int,
        the: str = "",
    ) -> str:
        relation, n, m = self.plain()
        said: Said = "none" if (relation, n) == ("at_most", 0) else relation
        options = table[language, said]
        verb = self.verb[language]
        plural = (self.items or f"{self.item}s") if language == "en" else self.item_zh
        return options[phrasing % len(options)].format(
            n=n,
            m=m,
            c=self.classifier,
            verb=verb,
            Verb=verb.capitalize(),
            items=plural,
            item_n=self.item if n == 1 else plural,
            the=the,
            The=the[:1].upper() + the[1:],
        )


class SizeCount(ItemCount):
    """How big one part of the response is, counted in items."""

    the: ClassVar[dict[Language, str]]
    """The part: "the longest line of your response"."""

    def describe(self, language: Language, phrasing: int = 0) -> str:
        """The demand as one sentence."""
        return self._sentence(_SIZES, language, phrasing, self.the[language])
