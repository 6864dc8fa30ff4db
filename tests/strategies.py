"""Hypothesis strategies: every check that can be built, and texts that are likely to trip one."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from pydantic import ValidationError

from models.constraints import ALL_CHECKS
from models.constraints.base import BaseCheck
from models.constraints.states import CountCheck

# Pieces on which checks turn, so that random texts come close to the edges of each.
FRAGMENTS = [
    *("", " ", "\n", "\n\n", "\t", "\r\n", "\u2028", "\x00", "\ud800", "\udfff", "\ufeff"),
    *("* item\n", "- item\n", "1. first\n", "2) second\n", "３、项\n", "# Title\n", "## \n", "***", "******", "* * *"),
    *("```\ncode\n```\n", "~~~", "`x`", "| a | b |\n|---|:-:|\n| 1 | 2 |\n", "**bold**", "*it*", "**"),
    *("<<Title>>", "[name]"),
    *('{"a": 1}', "{", "}", "[]", '"quoted"', '"', "“双”", "「角」", "'", "(x)", "（甲）", "((", "))"),
    *("Sure, here it is. ", "I'm sure you don't know. ", "P.S. bye", "P.P.S", "Yes", "No.", "NASA "),
    *("SECTION 1", "Section 2\n"),
    *(
        "one two three ",
        "ALL CAPS. ",
        "lower case. ",
        "word, ",
        "Hi! ",
        "Why? ",
        "e.g. 3.5 ",
        "1,000 ",
        "4,5 ",
        "２０ ",
    ),
    *("i.e. ",),
    *("你好，世界。", "我们觉得您可以！", "为什么？", "一、", "……", "——", "、", "；", "："),
    *("😀", "👩‍👩‍👧", "🇨🇳", "1️⃣", "©", "é", "İ", "ß", "ﬁ", "한국어 ", "ひらがな", "Привет ", "مرحبا "),
    *("https://example.org/a ", "#tag ", "a" * 40, ":", ";", "...", "—", "My answer is yes."),
    *("Is there anything else?",),
]

texts = st.one_of(
    st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join),
    # surrogates included: a model's broken tokens decode to them
    st.text(alphabet=st.characters(), max_size=40),
    st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=8)), max_size=8).map("".join),
)

_PHRASES = st.one_of(
    st.sampled_from(["Sure", "the", "P.S.", "item", "a", "你好", "可以", "{x}", "100%", "C++", "it's", "\\d+"]),
    st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12),
)


def _values(schema: dict[str, Any], defs: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a JSON schema allows, with numbers near its lower bound."""
    if "$ref" in schema:
        return _values(defs[schema["$ref"].rsplit("/", 1)[1]], defs)
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of(*[_values(option, defs) for option in schema["anyOf"]])
    match schema.get("type"):
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            low = int(schema.get("minimum", 0))
            return st.integers(low, min(int(schema.get("maximum", low + 8)), low + 8))
        case "array":
            low = int(schema.get("minItems", 0))
            high = min(int(schema.get("maxItems", low + 3)), low + 3)
            return st.lists(_values(schema["items"], defs), min_size=low, max_size=high)
        case "string":
            if "pattern" in schema:
                return st.from_regex(schema["pattern"], fullmatch=True)
            if schema.get("maxLength") == 1:
                return st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("aeAE中é#")
            low, high = int(schema.get("minLength", 0)), int(schema.get("maxLength", 10_000))
            return _PHRASES.filter(lambda text: low <= len(text) <= high)
    raise TypeError(f"no strategy for {schema}")


_BOUNDS = st.one_of(
    st.tuples(st.sampled_from(["at_least"]), st.integers(1, 8) | st.sampled_from([50, 100_000]), st.none()),
    st.tuples(st.sampled_from(["at_most", "exactly", "not_exactly"]), st.integers(0, 8) | st.just(99_999), st.none()),
    st.tuples(st.sampled_from(["between", "outside"]), st.integers(0, 5), st.integers(0, 5)).map(
        lambda found: (found[0], found[1], found[1] + found[2])
    ),
)


def checks_of(cls: type[BaseCheck]) -> st.SearchStrategy[BaseCheck]:
    """Checks of a class, from the bounds that its JSON schema states."""
    schema = cls.model_json_schema()
    fields = dict(schema["properties"])
    counted = issubclass(cls, CountCheck)
    if counted:
        fields = {name: value for name, value in fields.items() if name not in ("relation", "count", "upper")}
    values = st.fixed_dictionaries({name: _values(value, schema.get("$defs", {})) for name, value in fields.items()})
    if counted:
        values = st.builds(
            lambda rest, bounds: {**rest, **dict(zip(("relation", "count", "upper"), bounds, strict=True))},
            values,
            _BOUNDS,
        )

    def build(data: dict[str, Any]) -> BaseCheck | None:
        try:
            return cls.model_validate(data)
        except ValidationError:
            return None  # a rule between fields that the schema cannot state

    return values.map(build).filter(lambda check: check is not None)  # type: ignore[return-value]


def checks() -> st.SearchStrategy[BaseCheck]:
    """Checks of every kind."""
    return st.sampled_from(list(ALL_CHECKS.values())).flatmap(checks_of)
