"""Roles that bring their constraints: nobody writes them, and an opposite that came with one is a first draft."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.records import Reversal, RoleSeed, SeedConstraint, SystemProfile
from models.settings import FactorySettings
from storage.parts import PartStore
from tasks.expansion import expand_systems
from tasks.reversal import reverse_constraints
from tests.tasks.answering import Start
from tests.tasks.test_reversal import RIGHT, WRONG, opposite, verdict

TEXT = "Name at least three tools."


def role(**given: Any) -> RoleSeed:
    told = {"name": "Joiner", "description": "Mends doors and windows.", "questions": ["a?", "b?", "c?"]}
    return RoleSeed(role_id="../r", language="en", **told, **given)


def make(settings: FactorySettings, *roles: RoleSeed) -> tuple[list[SystemProfile], list[Reversal]]:
    store = PartStore(settings.data_dir)
    store.ensure_schemas()
    systems = expand_systems.fn(settings, store.write("roles", f"{1:032x}", roles))

    return store.read(systems, SystemProfile), store.read(reverse_constraints.fn(settings, systems), Reversal)


def test_they_are_kept_and_a_given_opposite_is_only_verified(tmp_path: Path, answer_with: Start) -> None:
    server = answer_with(lambda name, prompt: verdict("exactly_one"))
    given = [
        SeedConstraint(text=TEXT, opposite=RIGHT["en"]),
        SeedConstraint.model_validate({"text": "No commas.", "check": '{"kind": "no_comma", "polarity": "must"}'}),
    ]
    [system], [first, second] = make(server.settings(tmp_path), role(constraints=given))
    assert (system.author, system.skills, [item.text for item in system.constraints]) == (
        "seed",
        [],
        [TEXT, "No commas."],
    )
    assert [item.kind for item in system.constraints] == ["given", "no_comma"]
    assert (first.text, first.method, first.verified) == (RIGHT["en"], "seed", True)
    assert (second.method, second.verified) == ("code", True)
    assert [name for name, _ in server.asked] == ["Exactness"]


def test_a_given_opposite_that_is_wrong_is_written_anew(tmp_path: Path, answer_with: Start) -> None:
    def reply(name: str, prompt: str) -> str:
        if name == "Exactness":
            return verdict("both") if WRONG["en"] in prompt else verdict("exactly_one")
        return opposite(RIGHT["en"])

    server = answer_with(reply)
    constraint = SeedConstraint(text=TEXT, opposite=WRONG["en"])
    _, [reversal] = make(server.settings(tmp_path), role(constraints=[constraint]))
    assert (reversal.text, reversal.method, reversal.verified) == (RIGHT["en"], "pen", True)
    assert [name for name, _ in server.asked] == ["Exactness", "Opposite", "Exactness"]
    assert WRONG["en"] in server.asked[1][1]


def test_without_an_author_the_constraint_is_negated_as_a_whole(tmp_path: Path, answer_with: Start) -> None:
    server = answer_with(lambda name, prompt: "")
    settings = server.settings(tmp_path, roles={"policy": {"endpoint": "a"}})
    constraint = SeedConstraint(text=TEXT, opposite=RIGHT["en"])
    systems, reversals = make(settings, role(constraints=[constraint]), role().model_copy(update={"role_id": "bare"}))
    assert [system.author for system in systems] == ["seed", "catalogue"]
    # nobody has verified the opposite that came with it
    assert (reversals[0].method, reversals[0].verified) == ("negation", True)
    assert TEXT in reversals[0].text and RIGHT["en"] not in reversals[0].text
    assert not server.asked


def test_a_seed_without_constraints_is_what_it_was() -> None:
    # ids of rows and keys of parts are made from this: those of older runs must be found again
    assert set(role().identity()) == {"role_id", "language", "name", "description", "skills", "questions"}
    assert "constraints" in role(constraints=[SeedConstraint(text=TEXT)]).identity()
