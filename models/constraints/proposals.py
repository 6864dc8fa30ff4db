"""Checks that a language model proposes: what it is offered, and how its proposal is read.

A proposal is data from outside. It is parsed as a check and nothing else, and what is not exactly a check of ours is
left out with a reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, NamedTuple, get_args

from pydantic import Field

from models.base import Language, Strict
from models.constraints import ALL_CHECKS, parse_check
from models.constraints.base import BaseCheck
from models.constraints.conflicts import conflicts
from models.constraints.draw import RECIPES
from models.constraints.examples import EXAMPLES
from models.constraints.languages import ResponseLanguage
from models.constraints.numerals import numbers_in
from models.constraints.states import CountCheck

Refusal = Literal["invalid_check", "check_in_other_language", "check_contradicts_text"]
"""Why a proposed check is left out."""

_FIELDS: dict[str, dict[str, bool]] = {
    kind: {name: "array" in str(schema.get("type")) for name, schema in cls.model_json_schema()["properties"].items()}
    for kind, cls in ALL_CHECKS.items()
}
"""The parameters of every kind, and whether each is a list."""

_PARAMETERS = sorted({name for fields in _FIELDS.values() for name in fields} - {"kind"})


class ProposedParameter(Strict):
    """One parameter of a proposed check."""

    name: str = Field(description="Name of the parameter.", json_schema_extra={"enum": [*_PARAMETERS]})
    value: str | int = Field(description="Its value; a list has one entry for each of its items.")


class ProposedCheck(Strict):
    """A check as a model gives it.

    The schema offers the names that there are, but any is read: a slip costs the check, not the answer it stands in.
    """

    kind: str = Field(description="Kind of check.", json_schema_extra={"enum": [*sorted(ALL_CHECKS)]})
    parameters: list[ProposedParameter] = Field(description="Its parameters, those that the kind has.")


class ReadCheck(NamedTuple):
    """A proposed check, or why it is left out."""

    check: BaseCheck | None
    refusal: Refusal | None


def read_check(proposed: ProposedCheck, text: str, language: Language) -> ReadCheck:
    """The check that a model proposes for a constraint.

    Args:
        proposed: The proposal.
        text: The constraint in the model's words, which the check must not contradict.
        language: Language of the constraint and of the responses.
    """
    try:
        check = parse_check(_values(proposed))
        sentence = check.describe(language)
    except ValueError:
        return ReadCheck(None, "invalid_check")
    if not sentence.isprintable():
        # a parameter with a line break would begin a line of its own in the system prompt
        return ReadCheck(None, "invalid_check")
    if not fits_language(check, language):
        return ReadCheck(None, "check_in_other_language")
    if not _is_said(check, text):
        return ReadCheck(None, "check_contradicts_text")
    return ReadCheck(check, None)


def fits_language(check: BaseCheck, language: Language) -> bool:
    """Whether a response in a language can follow the check; to answer in another one is a demand of its own."""
    if isinstance(check, ResponseLanguage):
        return True
    if check.kind in _ELSEWHERE[language] or check.parameters().get("language", language) != language:
        return False
    return not conflicts(check, ResponseLanguage(language=language))


def offered_checks(language: Language) -> Iterator[BaseCheck]:
    """An example of every kind that can be demanded of a response in a language."""
    for example in EXAMPLES.values():
        check = parse_check(_localise(example.model_dump(mode="json"), language))
        if fits_language(check, language):
            yield check


@cache
def render_offer(language: Language) -> str:
    """The kinds with their parameters and what they demand, one example a line, as a prompt shows them."""
    return "\n".join(f"{_render_call(check)}: {check.describe(language)}" for check in offered_checks(language))


def _values(proposed: ProposedCheck) -> dict[str, Any]:
    lists = _FIELDS.get(proposed.kind, {})
    values: dict[str, Any] = {"kind": proposed.kind}
    for parameter in proposed.parameters:
        if lists.get(parameter.name):
            values.setdefault(parameter.name, []).append(str(parameter.value))
        elif parameter.name in values:
            raise ValueError(f"{parameter.name} is given twice")
        else:
            values[parameter.name] = parameter.value
    return values


def _is_said(check: BaseCheck, text: str) -> bool:
    """Whether a text names what the check is about: its numbers and its words."""
    numbers = numbers_in(text)
    if isinstance(check, CountCheck):
        relation, *bounds = check.plain()
        # there or not there needs no number; "more than three" is at least 4
        presence = (relation, bounds[0]) in (("at_least", 1), ("at_most", 0))
        if not presence and not all({n - 1, n, n + 1} & numbers for n in bounds if n is not None):
            return False
    values = {name: value for name, value in check.parameters().items() if name not in _UNSAID}
    if not {values.get("paragraphs", 0)} - {0} <= numbers:
        return False
    texts = [item for value in values.values() for item in (value if isinstance(value, list | tuple) else [value])]
    return all(item.casefold() in text.casefold() for item in texts if isinstance(item, str))


# parameters that a constraint says in other words
_UNSAID = frozenset({"relation", "polarity", "language"})

# the catalogue knows which kinds measure nothing sensible in a language (English sentences, Latin letters)
_ELSEWHERE: dict[Language, set[str]] = {
    language: {recipe.kind for recipe in RECIPES} - {recipe.kind for recipe in RECIPES if language in recipe.languages}
    for language in get_args(Language)
}

# the words of the examples, for a prompt in Chinese
_IN_CHINESE: dict[str, str] = {
    "tea": "茶",
    "water": "水",
    "very": "非常",
    "really": "特别",
    "however": "然而",
    "Section": "部分",
    "P.S.": "附言",
    "Dear friend": "亲爱的朋友",
    "Good luck!": "祝你好运！",
    "My answer is yes.": "我的回答是肯定的。",
    "My answer is no.": "我的回答是否定的。",
}


def _localise(values: dict[str, Any], language: Language) -> dict[str, Any]:
    if values.get("language") in get_args(Language):
        values["language"] = language
    if language == "zh":
        for name, value in values.items():
            if isinstance(value, list):
                values[name] = [_IN_CHINESE.get(item, item) for item in value]
            elif isinstance(value, str):
                values[name] = _IN_CHINESE.get(value, value)
    return values


def _render_call(check: BaseCheck) -> str:
    """The kind with its parameters as name=value, a list as one entry for each item."""
    entries = [
        f"{name}={item}"
        for name, value in check.parameters().items()
        for item in (value if isinstance(value, list | tuple) else [value])
        if item is not None
    ]
    return f"{check.kind}({'; '.join(entries)})"
