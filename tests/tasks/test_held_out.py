"""What is held out is held out: constraints in words that training has not seen, and exact twins."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.records import PartRef, Reversal, RoleSeed, SystemProfile, Turn
from models.settings import FactorySettings
from storage.outcomes import REVERSED_AUTHOR
from storage.parts import PartStore
from storage.trained import TrainingSet
from tasks.expansion import expand_systems
from tasks.held_out import draw_held_out, reverse_systems
from tasks.reversal import reverse_constraints
from tasks.seeds import read_seeds, seed_path

TEXTS = ["", "Sure! Here is what I would do.\n\n- First, rest.\n- Then, 2 walks?", "您好，我建议您先休息。", "a" * 400]


def read_roles() -> list[RoleSeed]:
    return read_seeds(seed_path("seeds/roles.jsonl"), RoleSeed, ["en", "zh"])


def store_roles(store: PartStore, roles: list[RoleSeed], key: int) -> PartRef:
    store.ensure_schemas()
    return store.write("roles", f"{key:032x}", roles)


def train_on(settings: FactorySettings, roles: PartRef) -> list[PartRef]:
    systems = expand_systems.fn(settings, roles)
    return [roles, systems, reverse_constraints.fn(settings, systems)]


@pytest.mark.parametrize("seed", range(4))
def test_constraints_are_in_words_that_training_has_not_seen(tmp_path: Path, seed: int) -> None:
    settings = FactorySettings(data=str(tmp_path), seed=seed)
    store, seeds = PartStore(tmp_path), read_roles()
    trained = train_on(settings, store_roles(store, seeds[::2], 1))
    held = settings.model_copy(update={"seed": seed + 1})
    roles = store_roles(store, seeds[1::2], 2)
    systems = draw_held_out.fn(held, roles, trained)
    twins = reverse_systems.fn(held, systems, trained)

    seen = {item.text for item in store.read(trained[2], Reversal)}
    seen |= {item.text for system in store.read(trained[1], SystemProfile) for item in system.constraints}
    assert len(seen) > 200
    originals, reversed_ = store.read(systems, SystemProfile), store.read(twins, SystemProfile)
    for system in [*originals, *reversed_]:
        assert not seen & {item.text for item in system.constraints}, system.role_id

    found = TrainingSet(store, trained).compare([roles, systems, twins])
    assert (found.roles, found.roles_seen, found.texts_seen) == (len(seeds[1::2]), 0, 0)
    assert found.texts == len({c.text for s in [*originals, *reversed_] for c in s.constraints})
    assert 0 < found.checks_seen < found.texts


def test_a_twin_demands_the_exact_opposite(tmp_path: Path) -> None:
    settings = FactorySettings(data=str(tmp_path))
    store, seeds = PartStore(tmp_path), read_roles()
    roles = store_roles(store, seeds, 1)
    systems = draw_held_out.fn(settings, roles, [])
    twins = reverse_systems.fn(settings, systems, [])
    pairs = list(zip(store.read(systems, SystemProfile), store.read(twins, SystemProfile), strict=True))
    ids = {item.constraint_id for pair in pairs for system in pair for item in system.constraints}
    assert len(ids) == sum(2 * len(system.constraints) for system, _ in pairs)
    for system, twin in pairs:
        assert (twin.role_id, twin.author) == (system.role_id, REVERSED_AUTHOR)
        assert twin.system_id != system.system_id
        for one, other in zip(system.constraints, twin.constraints, strict=True):
            assert (one.kind, one.trigger) == (other.kind, other.trigger)
            assert one.check is not None and other.check is not None
            for text in TEXTS:
                query = system.questions[0]
                assert one.check.follows(text, query) != other.check.follows(text, query), (one.text, other.text)


def test_what_training_has_seen_is_counted(tmp_path: Path) -> None:
    settings, store, seeds = FactorySettings(data=str(tmp_path)), PartStore(tmp_path), read_roles()
    trained = train_on(settings, store_roles(store, seeds[:3], 1))
    [system, *_] = store.read(trained[1], SystemProfile)

    def turn(dialogue: str, query: str) -> Turn:
        return Turn(
            dialogue_id=dialogue, turn=1, system_id=system.system_id, user_id="u", query=query, triggered_ids=[],
            reference="", reference_score=1, reference_model="m",
        )  # fmt: skip

    asked = store.write("turns", f"{3:032x}", [turn("t", "What did you say?")])
    turns = store.write("turns", f"{4:032x}", [turn("a", "What did you say?"), turn("a", "New"), turn("b", "Newer")])
    found = TrainingSet(store, [*trained, asked]).compare([*trained[:2], turns])
    assert (found.roles, found.roles_seen) == (3, 3)
    assert found.texts_seen == found.texts == found.checks_seen
    assert (found.queries, found.queries_seen, found.dialogues, found.dialogues_left_out) == (3, 1, 1, ["a"])
