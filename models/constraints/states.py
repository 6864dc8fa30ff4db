"""The two families of checks: how many of something, and whether something is so."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from models.base import Language
from models.constraints.base import BaseCheck

MAX_COUNT = 100_000

Relation = Literal["at_least", "at_most", "exactly", "not_exactly", "between", "outside"]

_OPPOSITE: dict[Relation, Relation] = {
    "exactly": "not_exactly",
    "not_exactly": "exactly",
    "between": "outside",
    "outside": "between",
}

CountTexts = dict[Language, tuple[str, ...]]

# the English noun stands inside the phrase, since "any number of words except 3" has it in the middle
_COUNTED: dict[tuple[Language, Relation], tuple[str, ...]] = {
    ("en", "at_least"): ("at least {n} {noun}", "{n} or more {nouns}", "no fewer than {n} {noun}"),
    ("en", "at_most"): ("at most {n} {noun}", "no more than {n} {noun}", "not more than {n} {noun}"),
    ("en", "exactly"): ("exactly {n} {noun}", "precisely {n} {noun}", "{n} {noun} (no more and no fewer)"),
    ("en", "not_exactly"): (
        "any number of {nouns} except {n}",
        "fewer or more than {n} {noun} (not exactly {n})",
        "a number of {nouns} other than {n}",
    ),
    ("en", "between"): (
        "between {n} and {m} {nouns}",
        "from {n} to {m} {nouns}",
        "at least {n} and at most {m} {nouns}",
    ),
    ("en", "outside"): (
        "fewer than {n} {noun} or more than {m} {nouns}",
        "either fewer than {n} or more than {m} {nouns}",
        "less than {n} {noun} or over {m} {nouns}",
    ),
    ("zh", "at_least"): ("至少{n}{c}{noun}", "不少于{n}{c}{noun}", "{n}{c}或更多{noun}"),
    ("zh", "at_most"): ("至多{n}{c}{noun}", "不超过{n}{c}{noun}", "最多{n}{c}{noun}"),
    ("zh", "exactly"): ("正好{n}{c}{noun}", "恰好{n}{c}{noun}", "不多不少{n}{c}{noun}"),
    ("zh", "not_exactly"): (
        "任意多{c}{noun}（但不能正好{n}{c}）",
        "多于或少于{n}{c}{noun}（不能正好{n}{c}）",
        "少于{n}{c}或多于{n}{c}{noun}",
    ),
    ("zh", "between"): (
        "{n}到{m}{c}{noun}",
        "至少{n}{c}、至多{m}{c}{noun}",
        "不少于{n}{c}且不超过{m}{c}{noun}",
    ),
    ("zh", "outside"): (
        "少于{n}{c}或多于{m}{c}{noun}",
        "不足{n}{c}或超过{m}{c}{noun}",
        "不到{n}{c}或多于{m}{c}{noun}",
    ),
}

_QUANTITY: dict[tuple[Language, Relation], tuple[str, ...]] = {
    ("en", "at_least"): ("at least {n}", "{n} or more", "no fewer than {n}"),
    ("en", "at_most"): ("at most {n}", "no more than {n}", "not more than {n}"),
    ("en", "exactly"): ("exactly {n}", "precisely {n}", "{n}, neither more nor fewer,"),
    ("en", "not_exactly"): (
        "any number except {n} of",
        "fewer or more than {n} (but not exactly {n})",
        "not exactly {n}",
    ),
    ("en", "between"): ("between {n} and {m}", "from {n} to {m}", "at least {n} and at most {m}"),
    ("en", "outside"): (
        "fewer than {n} or more than {m}",
        "less than {n} or over {m}",
        "either under {n} or above {m}",
    ),
    ("zh", "at_least"): ("至少{n}{c}", "不少于{n}{c}", "{n}{c}或更多"),
    ("zh", "at_most"): ("至多{n}{c}", "不超过{n}{c}", "最多{n}{c}"),
    ("zh", "exactly"): ("正好{n}{c}", "恰好{n}{c}", "不多不少{n}{c}"),
    ("zh", "not_exactly"): ("不等于{n}{c}", "多于或少于{n}{c}（不能正好{n}{c}）", "并非正好{n}{c}"),
    ("zh", "between"): ("{n}到{m}{c}", "介于{n}与{m}{c}之间（含两端）", "至少{n}{c}且至多{m}{c}"),
    ("zh", "outside"): (
        "少于{n}{c}或多于{m}{c}",
        "不足{n}{c}或超过{m}{c}",
        "{n}{c}以下（不含）或{m}{c}以上（不含）",
    ),
}


class CountCheck(BaseCheck):
    """How many of something the response has, against a bound.

    ``at_least n`` and ``at_most n - 1`` are each other's complements, as are ``exactly`` and ``not_exactly``,
    ``between`` and ``outside`` (both ends belong to ``between``).
    """

    relation: Relation = Field(description="How the count is compared.")
    count: int = Field(ge=0, le=MAX_COUNT, description="The bound; the lower end of a range.")
    upper: int | None = Field(default=None, ge=0, le=MAX_COUNT, description="The upper end of a range.")

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        ranged = self.relation in ("between", "outside")
        if ranged != (self.upper is not None):
            raise ValueError(f"relation {self.relation!r} {'needs' if ranged else 'takes no'} upper")
        if self.upper is not None and self.upper < self.count:
            raise ValueError("upper is smaller than count")
        if self.relation == "at_least" and self.count == 0:
            raise ValueError("at_least 0 holds for every response and has no complement")
        if self.relation == "at_most" and self.count == MAX_COUNT:
            raise ValueError(f"at_most {MAX_COUNT} has no complement within the bounds")
        return self

    @abstractmethod
    def measure(self, response: str, query: str = "") -> int:
        """The number that is compared."""

    def follows(self, response: str, query: str = "") -> bool:
        """Whether the measured number satisfies the relation."""
        number = self.measure(response, query)
        match self.relation:
            case "at_least":
                return number >= self.count
            case "at_most":
                return number <= self.count
            case "exactly":
                return number == self.count
            case "not_exactly":
                return number != self.count
        assert self.upper is not None  # noqa: S101  (the validator holds it; narrows the type)
        inside = self.count <= number <= self.upper
        return inside if self.relation == "between" else not inside

    def complement(self) -> Self:
        """The same count against the opposite bound."""
        if self.relation == "at_least":
            return self.model_copy(update={"relation": "at_most", "count": self.count - 1})
        if self.relation == "at_most":
            return self.model_copy(update={"relation": "at_least", "count": self.count + 1})
        return self.model_copy(update={"relation": _OPPOSITE[self.relation]})

    def quantity(self, language: Language, phrasing: int = 0, *, classifier: str = "") -> str:
        """The bound in words: "at least 3", "至少3个"; ``classifier`` is the Chinese measure word."""
        options = _QUANTITY[language, self.relation]
        return options[phrasing % len(options)].format(n=self.count, m=self.upper, c=classifier)

    def plain(self) -> tuple[Relation, int, int | None]:
        """The same demand as a person says it: "at least 1" for "not exactly 0", "at most 3" for "0 to 3"."""
        match self.relation, self.count, self.upper:
            case "not_exactly", 0, _:
                return "at_least", 1, None
            case "exactly", 0, _:
                return "at_most", 0, None
            case "between", low, high if low == high:
                return ("exactly", low, None) if low else ("at_most", 0, None)
            case "between", 0, high:
                return "at_most", high or 0, None
            case "outside", 0, high:
                return "at_least", (high or 0) + 1, None
            case "outside", low, high if low == high:
                return "not_exactly", low, None
        return self.relation, self.count, self.upper

    def counted(self, language: Language, phrasing: int = 0, *, noun: str, nouns: str = "", unit: str = "") -> str:
        """The bound with what is counted: "at least 3 words", "至少3个句子".

        Args:
            language: Language of the phrase.
            phrasing: Which of the ways to say it.
            noun: What is counted; in English its singular.
            nouns: Its English plural.
            unit: The Chinese measure word.
        """
        relation, count, upper = self.plain()
        options = _COUNTED[language, relation]
        form = noun if language == "zh" or count == 1 else nouns
        text = options[phrasing % len(options)]
        return text.format(n=count, m=upper, c=unit, noun=form, nouns=nouns)


Polarity = Literal["must", "must_not"]
FlagTexts = dict[tuple[Language, Polarity], tuple[str, ...]]


class CountedCheck(CountCheck):
    """A count whose sentence is filled from templates; ``{counted}`` stands for "at least 3 words"."""

    nouns: ClassVar[tuple[str, str]]
    """What is counted, in the English singular and plural."""

    noun_zh: ClassVar[tuple[str, str]]
    """The Chinese measure word, and the noun (empty where the measure word says it all)."""

    texts: ClassVar[CountTexts]
    """The phrasings in a language."""

    none_texts: ClassVar[CountTexts]
    """The phrasings for "none at all"."""

    def describe(self, language: Language, phrasing: int = 0) -> str:
        """The demand as one sentence, filled from ``texts`` or ``none_texts``."""
        words = self.words(language)
        if self.plain()[:2] == ("at_most", 0):
            options = self.none_texts[language]
            return options[phrasing % len(options)].format(**words)
        if language == "zh":
            unit, noun = self.noun_zh
            counted = self.counted("zh", phrasing, noun=noun.format(**words), unit=unit)
        else:
            one, many = (form.format(**words) for form in self.nouns)
            counted = self.counted("en", phrasing, noun=one, nouns=many)
        options = self.texts[language]
        return options[phrasing % len(options)].format(counted=counted, **words)

    def words(self, language: Language) -> dict[str, str]:
        """What fills the templates beside the count; override where a parameter needs a form of its own."""
        return {name: str(value) for name, value in self.parameters().items() if name not in _STATE}


_STATE = frozenset({"relation", "count", "upper"})


class FlagCheck(BaseCheck):
    """Whether something is so. ``must_not`` is the complement of ``must``."""

    polarity: Polarity = Field(default="must", description="must: it has to be so; must_not: it has to be otherwise.")

    texts: ClassVar[FlagTexts]
    """The phrasings a language and polarity; ``{field}`` stands for a parameter."""

    @abstractmethod
    def holds(self, response: str, query: str = "") -> bool:
        """Whether it is so."""

    def follows(self, response: str, query: str = "") -> bool:
        """Whether it is as the polarity demands."""
        return self.holds(response, query) == (self.polarity == "must")

    def complement(self) -> Self:
        """The same question with the opposite demand."""
        return self.model_copy(update={"polarity": "must_not" if self.polarity == "must" else "must"})

    def describe(self, language: Language, phrasing: int = 0) -> str:
        """The demand as one sentence, filled from ``texts``."""
        options = self.options(language)
        return options[phrasing % len(options)].format(**self.words(language))

    def options(self, language: Language) -> tuple[str, ...]:
        """The templates of the present polarity; override where they depend on a parameter."""
        return self.texts[language, self.polarity]

    def words(self, language: Language) -> dict[str, str]:
        """What fills the templates; override where a parameter needs a form of its own in a language."""
        return {name: str(value) for name, value in self.parameters().items()}
