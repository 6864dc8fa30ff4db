"""How a response is framed: its beginning and end, two answers in one, quotation marks, commas."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from models.base import Language
from models.constraints.base import BaseCheck
from models.constraints.states import FlagCheck, FlagTexts

Statement = Annotated[str, Field(min_length=1, max_length=500, pattern=r"\S")]


_POSTSCRIPTS = {"P.S.": re.compile(r"p\.\s?s\."), "P.P.S": re.compile(r"p\.\s?p\.\s?s")}


class Postscript(FlagCheck):
    """A postscript marker occurs, in any case."""

    kind: Literal["postscript"] = "postscript"
    marker: str = Field(
        min_length=1, max_length=50, pattern=r"^\S(.*\S)?$", description="How the postscript starts: P.S. or P.P.S"
    )

    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            'Add a postscript that starts with "{marker}".',
            'Your response must include a postscript beginning with "{marker}".',
            'Write a postscript as well, introduced by "{marker}".',
        ),
        ("en", "must_not"): (
            'Do not add a postscript: "{marker}" must not appear in your response.',
            'Your response must not include "{marker}" or a postscript that begins with it.',
            'Leave out any postscript, and never write "{marker}".',
        ),
        ("zh", "must"): (
            "请添加以“{marker}”开头的附言。",
            "你的回复必须包含一段以“{marker}”开头的附言。",
            "请另写一段附言，用“{marker}”引出。",
        ),
        ("zh", "must_not"): (
            "请不要添加附言：“{marker}”不得出现在回复中。",
            "你的回复不得包含“{marker}”或以其开头的附言。",
            "请勿写任何附言，也不要写“{marker}”。",
        ),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether the marker occurs; spaces between the letters of P.S. and P.P.S are allowed."""
        text = response.lower()
        pattern = _POSTSCRIPTS.get(self.marker)
        return bool(pattern.search(text)) if pattern else self.marker.lower() in text


class TwoResponses(FlagCheck):
    """Two different responses divided by six asterisks."""

    kind: Literal["two_responses"] = "two_responses"

    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            "Give exactly two different responses, separated by six asterisks: ******.",
            "Your output must consist of two different answers with ****** between them.",
            "Answer twice, in two different ways, and divide the two answers with ****** (nothing else).",
        ),
        ("en", "must_not"): (
            "Do not give exactly two different responses separated by six asterisks (******).",
            "Your output must not consist of two different answers with ****** between them.",
            "Avoid dividing your output with ****** into exactly two different answers.",
        ),
        ("zh", "must"): (
            "请给出正好两个不同的回复，用六个星号******隔开。",
            "你的输出必须由两个不同的答案组成，中间用******分隔。",
            "请用两种不同的方式各答一次，并用******分开这两个答案。",
        ),
        ("zh", "must_not"): (
            "请不要给出正好两个用六个星号******隔开的不同回复。",
            "你的输出不得由两个以******分隔的不同答案组成。",
            "请避免用******把输出恰好分成两个不同的答案。",
        ),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether there are two parts that differ, and no empty one between dividers."""
        parts = [part.strip() for part in response.split("******")]
        filled = [part for part in parts if part]
        return all(parts[1:-1]) and len(filled) == 2 and filled[0] != filled[1]


class RepeatPrompt(FlagCheck):
    """The response begins with the request, in any case."""

    kind: Literal["repeat_prompt"] = "repeat_prompt"
    request: str | None = Field(
        default=None,
        min_length=1,
        max_length=20_000,
        pattern=r"\S",
        description="What has to be repeated; null: the user's query.",
    )

    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            "First repeat the user's request word for word, without any change, then give your answer.",
            "Begin your response with a word-for-word repetition of the user's message, and answer after it.",
            "Start by quoting the user's whole message exactly, with nothing before it, and then answer.",
        ),
        ("en", "must_not"): (
            "Do not begin your response by repeating the user's request word for word.",
            "Your response must not start with a word-for-word repetition of the user's message.",
            "Answer without first quoting the user's whole message exactly.",
        ),
        ("zh", "must"): (
            "请先一字不差地重复用户的请求，然后再给出回答。",
            "你的回复必须以逐字重复用户的消息开头，之后再作答。",
            "请先原样复述用户的整条消息，前面不加任何内容，然后回答。",
        ),
        ("zh", "must_not"): (
            "请不要在回复开头一字不差地重复用户的请求。",
            "你的回复不得以逐字重复用户的消息开头。",
            "请直接回答，不要先原样复述用户的整条消息。",
        ),
    }
    given_texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            'First repeat the following request word for word, then give your answer: "{request}"',
            'Begin your response with this text, word for word and with nothing before it: "{request}"',
            'Start by quoting this exactly, and answer after it: "{request}"',
        ),
        ("en", "must_not"): (
            'Do not begin your response by repeating the following request word for word: "{request}"',
            'Your response must not start with this text, word for word: "{request}"',
            'Answer without first quoting this exactly: "{request}"',
        ),
        ("zh", "must"): (
            "请先一字不差地重复以下请求，然后再给出回答：“{request}”",
            "你的回复必须逐字以下面这段文字开头，前面不加任何内容：“{request}”",
            "请先原样引用这段话，然后回答：“{request}”",
        ),
        ("zh", "must_not"): (
            "请不要在回复开头一字不差地重复以下请求：“{request}”",
            "你的回复不得逐字以下面这段文字开头：“{request}”",
            "请直接回答，不要先原样引用这段话：“{request}”",
        ),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether it begins so, spaces at the ends aside."""
        request = query if self.request is None else self.request
        return response.strip().lower().startswith(request.strip().lower())

    def options(self, language: Language) -> tuple[str, ...]:
        """The templates for the user's query or a given text."""
        return (self.texts if self.request is None else self.given_texts)[language, self.polarity]


class EndsWith(FlagCheck):
    """The response ends with a phrase, in any case; quotation marks after it do not count."""

    kind: Literal["ends_with"] = "ends_with"
    phrase: Statement = Field(description="The last words.")

    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            'Finish your response with this exact phrase, and let nothing follow it: "{phrase}"',
            'The last words of your response must be: "{phrase}"',
            'End your response with the phrase: "{phrase}"',
        ),
        ("en", "must_not"): (
            'Do not finish your response with this phrase: "{phrase}"',
            'The last words of your response must not be: "{phrase}"',
            'End your response in any way other than with the phrase: "{phrase}"',
        ),
        ("zh", "must"): (
            "请用以下原话结束回复，之后不要再写任何内容：“{phrase}”",
            "你的回复的最后一句必须是：“{phrase}”",
            "请以这句话结尾：“{phrase}”",
        ),
        ("zh", "must_not"): (
            "请不要用以下原话结束回复：“{phrase}”",
            "你的回复不得以这些字结尾：“{phrase}”",
            "请以这句话以外的任何方式结尾：“{phrase}”",
        ),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether it ends so, outer spaces and double quotation marks aside."""
        return response.strip().strip('"').lower().endswith(self.phrase.strip().lower())


class Quoted(FlagCheck):
    """The whole response stands in double quotation marks."""

    kind: Literal["quoted"] = "quoted"

    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            'Wrap your entire response in straight double quotation marks (").',
            'Your response must begin and end with a double quotation mark (").',
            'Put the whole of your answer between double quotation marks, "like this".',
        ),
        ("en", "must_not"): (
            'Do not wrap your entire response in straight double quotation marks (").',
            'Your response must not both begin and end with a double quotation mark (").',
            'Do not put the whole of your answer between double quotation marks, "like this".',
        ),
        ("zh", "must"): (
            '请用英文双引号(")将整个回复括起来。',
            '你的回复必须以英文双引号(")开头并以英文双引号结尾。',
            '请把全部回答放在英文双引号之间，"像这样"。',
        ),
        ("zh", "must_not"): (
            '请不要用英文双引号(")将整个回复括起来。',
            '你的回复不得同时以英文双引号(")开头和结尾。',
            '请不要把全部回答放在英文双引号之间，"像这样"。',
        ),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether the first and the last mark are two straight ones."""
        text = response.strip()
        return len(text) > 1 and text[0] == text[-1] == '"'


class NoComma(FlagCheck):
    """No comma; the full-width one does not count."""

    kind: Literal["no_comma"] = "no_comma"

    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            "Do not use any commas in your response.",
            "Your entire response must be free of commas.",
            "Refrain from using commas anywhere in your answer.",
        ),
        ("en", "must_not"): (
            "Use at least one comma in your response.",
            "Your response must contain one or more commas.",
            "Make sure that there is a comma somewhere in your answer.",
        ),
        ("zh", "must"): (
            "请不要在回复中使用英文逗号(,)。",
            "你的整个回复不得出现半角逗号(,)。",
            "回答中任何地方都请避免英文逗号(,)。",
        ),
        ("zh", "must_not"): (
            "请在回复中至少使用一个英文逗号(,)。",
            "你的回复必须包含一个或多个半角逗号(,)。",
            "请确保回答中有英文逗号(,)。",
        ),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether "," does not occur."""
        return "," not in response


CHECKS: tuple[type[BaseCheck], ...] = (
    Postscript,
    TwoResponses,
    RepeatPrompt,
    EndsWith,
    Quoted,
    NoComma,
)
