"""Reversals by the author: verified, tried again with the counterexample, or irreversible."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.base import Language
from models.constraints import QuerySituation, parse_check
from models.prompting import constraint_line, reverse_in
from models.records import Constraint, Exclusion, Reversal, SystemProfile
from models.settings import FactorySettings
from storage.parts import PartStore
from tasks.reversal import MAX_TRIES, reverse_constraints
from tests.tasks.answering import Start, as_json


def constraints(language: Language) -> list[Constraint]:
    texts = {
        "en": ("Name at least three tools.", "the user is in a hurry"),
        "zh": ("至少说出三种工具。", "用户很着急"),
    }[language]
    bullets = parse_check({"kind": "bullet_count", "relation": "at_least", "count": 3})
    return [
        Constraint(constraint_id="0a", text=texts[0], kind="content", trigger=QuerySituation(situation=texts[1])),
        Constraint(constraint_id="0b", text=bullets.describe(language), kind=bullets.kind, check=bullets),
    ]


def reverse(settings: FactorySettings, language: Language) -> tuple[dict[str, Reversal], dict[str, int]]:
    system = SystemProfile(
        system_id="s", role_id="r", language=language, name="n", description="d", skills=["k"], questions=["q"],
        constraints=constraints(language), author="pen",
    )  # fmt: skip
    store = PartStore(settings.data_dir)
    store.ensure_schemas()
    made = reverse_constraints.fn(settings, store.write("systems", f"{1:032x}", [system]))
    part = store.find("exclusions", made.key)
    excluded = {row.reason: row.count for row in store.read(part, Exclusion)} if part else {}
    return {row.constraint_id: row for row in store.read(made, Reversal)}, excluded


def opposite(text: str) -> str:
    return as_json({"ways_of_failing": ["fewer"], "opposite": text})


def verdict(name: str, example: str = "an answer with three") -> str:
    return as_json({"example": example, "verdict": name})


RIGHT: dict[Language, str] = {"en": "Name at most two tools.", "zh": "至多说出两种工具。"}
WRONG: dict[Language, str] = {"en": "Name at most three tools.", "zh": "至多说出三种工具。"}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_verified_reversal_keeps_its_trigger(tmp_path: Path, answer_with: Start, language: Language) -> None:
    server = answer_with(
        lambda name, prompt: verdict("exactly_one") if name == "Exactness" else opposite(RIGHT[language])
    )
    reversals, excluded = reverse(server.settings(tmp_path), language)
    assert (reversals["0a"].text, reversals["0a"].method, reversals["0a"].verified) == (RIGHT[language], "pen", True)
    assert (reversals["0b"].method, reversals["0b"].verified) == ("code", True) and reversals["0b"].check is not None
    assert not excluded
    # the check's constraint is not asked about, and both questions show the case
    assert [name for name, _ in server.asked] == ["Opposite", "Exactness"]
    original = constraints(language)[0]
    assert original.trigger is not None
    assert all(original.trigger.describe(language) in prompt for _, prompt in server.asked)
    line = {"en": "When the user is in a hurry, name at most two tools.", "zh": "当用户很着急时，至多说出两种工具。"}[
        language
    ]
    assert constraint_line(reverse_in([original], reversals)[0], language) == line


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_wrong_one_is_tried_again_with_the_counterexample(
    tmp_path: Path, answer_with: Start, language: Language
) -> None:
    def reply(name: str, prompt: str) -> str:
        if name == "Exactness":
            return verdict("both") if WRONG[language] in prompt else verdict("exactly_one")
        return opposite(RIGHT[language] if "an answer with three" in prompt else WRONG[language])

    server = answer_with(reply)
    reversals, excluded = reverse(server.settings(tmp_path), language)
    assert (reversals["0a"].text, reversals["0a"].verified, excluded) == (RIGHT[language], True, {})
    assert [name for name, _ in server.asked] == ["Opposite", "Exactness"] * 2
    assert WRONG[language] in server.asked[2][1]


def test_one_that_never_gets_right_is_irreversible(tmp_path: Path, answer_with: Start) -> None:
    server = answer_with(lambda name, prompt: verdict("neither") if name == "Exactness" else opposite(WRONG["en"]))
    reversals, excluded = reverse(server.settings(tmp_path), "en")
    assert (reversals["0a"].text, reversals["0a"].verified, reversals["0a"].check) == (WRONG["en"], False, None)
    assert excluded == {"irreversible": 1}
    assert sum(name == "Opposite" for name, _ in server.asked) == MAX_TRIES


@pytest.mark.parametrize(
    "text", ["", "Name at least three tools.", "When the user is in a hurry, name two.", "至多两种。"]
)
def test_what_is_no_opposite_is_not_even_verified(tmp_path: Path, answer_with: Start, text: str) -> None:
    server = answer_with(lambda name, prompt: opposite(text))
    reversals, excluded = reverse(server.settings(tmp_path), "en")
    assert (reversals["0a"].text, reversals["0a"].verified, excluded) == ("", False, {"irreversible": 1})
    assert {name for name, _ in server.asked} == {"Opposite"}


def test_an_unreadable_verification_verifies_nothing(tmp_path: Path, answer_with: Start) -> None:
    server = answer_with(lambda name, prompt: verdict("both", " ") if name == "Exactness" else opposite(RIGHT["en"]))
    reversals, excluded = reverse(server.settings(tmp_path), "en")
    assert (reversals["0a"].verified, excluded) == (False, {"irreversible": 1})


@pytest.mark.parametrize("language", ["en", "zh"])
def test_without_an_author_what_no_check_decides_is_negated(
    tmp_path: Path, answer_with: Start, language: Language
) -> None:
    server = answer_with(lambda name, prompt: "")
    settings = server.settings(tmp_path, roles={"policy": {"endpoint": "a"}})
    reversals, excluded = reverse(settings, language)
    assert (reversals["0a"].method, reversals["0a"].verified, excluded, server.asked) == ("negation", True, {}, [])
    assert (reversals["0b"].method, reversals["0b"].check is not None) == ("code", True)
    # the demand stands in it as it is, and its trigger before it
    demand, *_ = constraints(language)
    assert f"“{demand.text}”" in reversals["0a"].text
    assert demand.trigger is not None
    line = constraint_line(reverse_in([demand], reversals)[0], language)
    assert line.startswith(demand.trigger.describe(language)) and f"“{demand.text}”" in line
