"""The scripted server answers a schema as a model would."""

import json
import random
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from models.base import Strict
from tasks.llm.answers import UnreadableAnswerError, read_answer, schema_text
from tests.scripted_answers import find_ids, find_schema, spoil_answer, write_answer

KINDS = ["sloppy_json", "malformed_json", "missing_ids", "extra_ids", "wrong_value_types"]


class Row(Strict):
    constraint_id: str
    verdict: Literal["yes", "no"]
    score: int = Field(ge=1, le=5)


class Everything(Strict):
    rows: list[Row]
    chosen_ids: list[str]
    name: str = Field(min_length=3, max_length=12)
    pair: tuple[Literal["a"], ...] | None
    weight: float
    sure: bool
    tones: list[str] = Field(min_length=2, max_length=2)


SCHEMA = json.loads(schema_text(Everything))
PROMPT = "Look:\n- c1: one\n- c2: two\nNot x9."


def answer(seed: int, *, chinese: bool = False) -> str:
    return json.dumps(write_answer(random.Random(seed), SCHEMA, PROMPT, chinese=chinese), ensure_ascii=False)


@settings(deadline=None)  # the machine may be busy
@given(st.integers(), st.booleans())
def test_answers_are_valid(seed: int, chinese: bool) -> None:
    read = read_answer(answer(seed, chinese=chinese), Everything)
    assert [row.constraint_id for row in read.rows] == ["c1", "c2"]
    assert set(read.chosen_ids) <= {"c1", "c2"}
    assert len(read.tones) == 2
    assert answer(seed, chinese=chinese) == answer(seed, chinese=chinese)


@settings(deadline=None)  # the machine may be busy
@given(st.integers())
def test_faults_are_faults(seed: int) -> None:
    for kind in KINDS:
        said = spoil_answer(random.Random(seed), answer(seed), kind)
        try:
            ids = [row.constraint_id for row in read_answer(said, Everything).rows]
        except UnreadableAnswerError:
            assert kind in ("malformed_json", "wrong_value_types")
        else:
            expected: dict[str, Any] = {"sloppy_json": 2, "missing_ids": 1, "extra_ids": 3}
            assert len(ids) == expected[kind], (kind, said)


@pytest.mark.parametrize(
    ("prompt", "ids"),
    [
        (PROMPT, ["c1", "c2"]),
        ("[k10] a\n[k11] b", ["k10", "k11"]),
        ("judge 0123456789abcdef and fedcba9876543210.", ["0123456789abcdef", "fedcba9876543210"]),
        ("nothing of the kind, 12 or abc", []),
    ],
)
def test_ids_in_a_prompt(prompt: str, ids: list[str]) -> None:
    assert find_ids(prompt) == ids


def test_the_schema_in_a_prompt() -> None:
    assert find_schema(f"Like\n{{broken\n{schema_text(Everything)}\n{{}}") == SCHEMA
    assert find_schema('{"a": 1}') is None
