"""Checks on how a response begins and ends, beyond IFEval's."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from models.constraints.base import BaseCheck
from models.constraints.keywords import goes_on
from models.constraints.states import FlagCheck, FlagTexts


class StartsWith(FlagCheck):
    """The response begins with a phrase, in exactly this spelling: "In short" does not begin with "I"."""

    kind: Literal["starts_with"] = "starts_with"
    phrase: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)] = Field(
        description="The first words, in exactly this spelling."
    )
    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            'Begin your response with exactly "{phrase}".',
            'Your response must start with "{phrase}", spelled exactly like this.',
            'The first thing in your response must be "{phrase}", in exactly this spelling.',
        ),
        ("en", "must_not"): (
            'Do not begin your response with "{phrase}".',
            'Your response must not start with "{phrase}", spelled exactly like this.',
            'The first thing in your response must be something other than "{phrase}".',
        ),
        ("zh", "must"): (
            "请以“{phrase}”开头。",
            "回答必须以“{phrase}”开始，写法完全一致。",
            "回答最前面的内容必须正好是“{phrase}”。",
        ),
        ("zh", "must_not"): (
            "请不要以“{phrase}”开头。",
            "回答不得以“{phrase}”开始。",
            "回答最前面的内容不能是“{phrase}”。",
        ),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether the response, without leading whitespace, begins with the phrase and no longer word."""
        text = response.lstrip()
        return text.startswith(self.phrase) and not goes_on(self.phrase, text[len(self.phrase) :])


class EndsWithQuestion(FlagCheck):
    """The last character is a question mark."""

    kind: Literal["ends_with_question"] = "ends_with_question"
    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            "End your response with a question mark.",
            "The last character of your response must be a question mark.",
            "Finish with a question, so that a question mark is the very last character.",
        ),
        ("en", "must_not"): (
            "Do not end your response with a question mark.",
            "The last character of your response must not be a question mark.",
            "Finish with something other than a question mark as the very last character.",
        ),
        ("zh", "must"): (
            "请以问号结尾。",
            "回答的最后一个字符必须是问号。",
            "请用一个问句收尾，最后一个字符是问号。",
        ),
        ("zh", "must_not"): (
            "请不要以问号结尾。",
            "回答的最后一个字符不能是问号。",
            "请不要让问号成为回答的最后一个字符。",
        ),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether the last character that is not whitespace is a question mark."""
        return response.rstrip().endswith(("?", "？"))


class EndsWithPeriod(FlagCheck):
    """The last character is a full stop."""

    kind: Literal["ends_with_period"] = "ends_with_period"
    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            "End your response with a full stop.",
            "The last character of your response must be a period.",
            "Finish your response with a period and nothing after it.",
        ),
        ("en", "must_not"): (
            "Do not end your response with a full stop.",
            "The last character of your response must not be a period.",
            "Finish your response with something other than a period.",
        ),
        ("zh", "must"): (
            "请以句号结尾。",
            "回答的最后一个字符必须是句号。",
            "回答要用句号收尾，其后不再有任何内容。",
        ),
        ("zh", "must_not"): (
            "请不要以句号结尾。",
            "回答的最后一个字符不能是句号。",
            "回答要用句号以外的字符收尾。",
        ),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether the last character that is not whitespace is a full stop."""
        return response.rstrip().endswith((".", "。"))


CHECKS: tuple[type[BaseCheck], ...] = (StartsWith, EndsWithQuestion, EndsWithPeriod)
