import contextlib
import json
import time
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from models.base import Strict
from tasks.llm.answers import MAX_CHARACTERS, UnreadableAnswerError, read_answer, schema_text


class Item(Strict):
    id: str
    title: str | None = None


class Note(Strict):
    """A reply."""

    text: str
    verdict: Literal["yes", "no"] = "no"
    items: tuple[Item, ...] = ()


class Loose(BaseModel):
    model_config = ConfigDict(extra="ignore")
    n: int


class Unset(BaseModel):
    n: int


NOTE = Note(text="hi")


@pytest.mark.parametrize(
    "text",
    [
        '{"text": "hi"}',
        '```json\n{"text": "hi"}\n```',
        'Sure { here it is:\n{"text": "hi"}\nAnything else?',
        '{"text": "hi",}',
        '{"text": "hi", "items": [],\n }',
        '{"text": "hi"}}',
        '{"text": "hi"}\n{"text": "hi"}',
        '<think>{"text": "no"}?</think>\n{"text": "hi"}',
        'It says {"text": "no"}.</think>\n\n{"text": "hi"}',
        '\ufeff{"text": "hi"}',
    ],
)
def test_what_is_mended(text: str) -> None:
    assert read_answer(text, Note) == NOTE


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("I cannot do that.", "no JSON object"),
        ('{"text": "hi', "not valid JSON"),
        ('{"text": "hi" "verdict": "yes"}', "not valid JSON"),
        ("{'text': 'hi'}", "no JSON object .*double quotes"),
        ('{"text": "a"} or {"text": "b"}', "more than one"),
        ('[{"text": "hi"}]', "array"),
        ('```json\n[\n{"text": "hi"}]```', "array"),
        ('{"text": "a", "text": "b"}', "twice"),
        ('{"text": NaN}', "NaN"),
        ('{"text": -Infinity}', "Infinity"),
        ('{"text": 1e999}', "too large"),
        ('{"text": ' + "9" * 5000 + "}", "not valid JSON"),
        ('{"text": 1}', "text: Input should be a valid string"),
        ('{"text": "hi", "verdict": "maybe"}', "verdict: Input should be 'yes' or 'no'"),
        ('{"text": "hi", "more": 1}', "more: Extra inputs"),
        ('{"verdict": "yes"}', "text: Field required"),
        ('{"text": "hi", "items": [{"id": "a"}, {"id": 7}]}', "items.1.id"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"text": ' + "[" * 100_000, "nested too deeply"),
        ("x" * (MAX_CHARACTERS + 1), "longer than"),
        ('<think>{"text": "hi"}</think>', "empty"),
        ('{"outer": {"text": "hi"}, oops}', "not valid JSON"),
    ],
)
def test_what_is_unreadable_and_why(text: str, why: str) -> None:
    with pytest.raises(UnreadableAnswerError, match=why) as caught:
        read_answer(text, Note)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("text", ['{"n": 1.0}', '{"n": "1"}', '{"n": true}', '{"n": null}'])
def test_nothing_is_converted(text: str) -> None:
    with pytest.raises(UnreadableAnswerError, match="n: Input should be"):
        read_answer(text, Loose)


def test_extra_keys_are_refused_unless_the_model_ignores_them() -> None:
    assert read_answer('{"n": 1, "m": 2}', Loose).n == 1
    with pytest.raises(UnreadableAnswerError, match="m: Extra"):
        read_answer('{"n": 1, "m": 2}', Unset)


def test_strings_come_as_they_were_written() -> None:
    for inside in ("a,}", "```", "line\nbreak\ttab", "{,]", "</think>", 'quote " and \\ ,}', "中文 😀", "\u2028"):
        text = json.dumps({"text": inside}, ensure_ascii=False)
        assert read_answer(text, Note).text == inside
        assert read_answer(text[:-1] + ", }", Note).text == inside
    assert read_answer('{"text": "line\nbreak"}', Note).text == "line\nbreak"
    assert read_answer(r'{"text": "half \ud83d"}', Note).text == "half \ufffd"
    assert read_answer(r'{"text": "\ud83d\ude00"}', Note).text == "😀"


HOSTILE = [
    '{"' * 300_000, '{"\\"' * 200_000, '{"a": "' + '\\"' * 400_000, '{"":' * 200_000, "{ " * 400_000, "{" * 900_000,
    '{"a":1}{"a":1}' * 50_000, '{"a":1,}' * 100_000, '[{"a"' * 150_000, "," * 900_000, ", " * 400_000,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_refused_quickly(text: str) -> None:
    started = time.perf_counter()
    with pytest.raises(UnreadableAnswerError):
        read_answer(text, Note)
    assert time.perf_counter() - started < 2  # quadratic would take minutes


@settings(deadline=None)  # the machine may be busy
@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    for answer in (text, f'{{"text": "{text}"}}', f'{{{text}"text": "x"}}'):
        with contextlib.suppress(UnreadableAnswerError):
            assert isinstance(read_answer(answer, Note), Note)


class Whatever(Strict):
    value: Any


LEAVES = st.none() | st.booleans() | st.text() | st.integers()


@settings(deadline=None)  # the machine may be busy
@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_what_was_written_is_read(value: Any) -> None:
    text = json.dumps({"value": value}, ensure_ascii=False)
    assert read_answer(text, Whatever).value == value
    assert read_answer(f"So: {text[:-1]},}} done", Whatever).value == value


def test_the_schema_is_one_for_strict_mode() -> None:
    schema = json.loads(schema_text(Note))
    assert schema["required"] == list(schema["properties"]) == ["text", "verdict", "items"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["verdict"] == {"enum": ["yes", "no"], "type": "string"}
    item = schema["$defs"]["Item"]
    # a field may be called title
    assert (list(item["properties"]), item["required"]) == (["id", "title"], ["id", "title"])
    assert "default" not in schema_text(Note)
