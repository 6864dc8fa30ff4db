"""Which texts of a run are measured for their variety."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from models.base import Language, digest
from models.diversity import MOST_TEXTS, Diversity
from models.records import PartRef, Response, SystemProfile, Turn
from storage.catalog import build_catalog
from storage.diversity import read_diversity
from storage.manifests import Manifest, RunBook
from storage.parts import PartStore

SAMPLES = 4


def system(number: int) -> SystemProfile:
    language: Language = "zh" if number % 3 == 0 else "en"
    return SystemProfile(
        system_id=f"s{number}", role_id=f"r{number}", language=language, name="n", description="d", skills=[],
        questions=[], constraints=[], author="catalogue",
    )  # fmt: skip


def turn(number: int) -> Turn:
    return Turn(
        dialogue_id=f"d{number}", turn=1, system_id=f"s{number}", user_id="u", query=f"Why is {number} a number?",
        triggered_ids=[], reference="So.", reference_score=1, reference_model="m",
    )  # fmt: skip


def response(number: int, sample: int) -> Response:
    return Response(
        response_id=f"{number}-{sample}", dialogue_id=f"d{number}", turn=1, sample=sample,
        text=f"{number} of {sample} " * 90, model="m", finish_reason="stop", prompt_tokens=1, completion_tokens=1,
        origin="sampled",
    )  # fmt: skip


def measured(root: Path, dialogues: int, *, batch: int) -> list[Diversity]:
    """What is measured of a run that was made in batches of so many dialogues."""
    store = PartStore(root)
    parts: list[PartRef] = []
    for first in range(0, dialogues, batch):
        numbers = range(first, min(first + batch, dialogues))
        parts += [
            store.write("systems", digest(["s", first]), map(system, numbers)),
            store.write("turns", digest(["t", first]), map(turn, numbers)),
            store.write(
                "responses", digest(["r", first]), [response(n, sample) for n in numbers for sample in range(SAMPLES)]
            ),
        ]
    RunBook(
        root, Manifest(run="test", settings_hash="h", settings={}, started_at=datetime.now(UTC), parts=parts)
    ).finish("complete")
    build_catalog(root)
    return read_diversity(root, "test")


def test_each_language_by_itself_and_a_sample_of_many(tmp_path: Path) -> None:
    found = measured(tmp_path, 300, batch=300)
    assert [(item.what, item.language, item.texts, item.measured) for item in found] == [
        ("queries", "en", 200, 200),
        ("queries", "zh", 100, 100),
        ("responses", "en", 200 * SAMPLES, MOST_TEXTS),
        ("responses", "zh", 100 * SAMPLES, 100 * SAMPLES),
    ]


def test_the_sample_does_not_depend_on_batches(tmp_path: Path) -> None:
    assert measured(tmp_path / "whole", 240, batch=240) == measured(tmp_path / "cut", 240, batch=50)


def test_a_run_without_texts_has_no_diversity(tmp_path: Path) -> None:
    assert measured(tmp_path, 0, batch=1) == []
