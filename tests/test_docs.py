"""What the docs say is so."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from flows.reference import DOCS, PAGES
from models.constraints import ALL_CHECKS
from models.records import TABLES

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_reference_pages_are_fresh(page: str) -> None:
    assert (DOCS / page).read_text("utf-8") == PAGES[page](), "type: make docs"


def test_readme_names_every_table_and_every_room() -> None:
    for name in TABLES:
        assert f"| `{name}` |" in README
    for folder in ("flows", "tasks", "tasks/llm", "storage", "models", "deployments", "seeds", "tests", "benchmarks"):
        assert f"\n{folder}/ " in README
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link


def test_readme_counts() -> None:
    assert f"{len(ALL_CHECKS)} kinds of check" in README
    for name in ("roles", "personas"):
        lines = (ROOT / f"seeds/{name}.jsonl").read_text("utf-8").splitlines()
        assert f"{len(lines)} {name}" in README


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for text in (README, (ROOT / "CONTRIBUTING.md").read_text("utf-8")):
        for target in re.findall(r"^make ([a-z-]+)", text, flags=re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def readme_sql() -> list[str]:
    """The SQL examples of the README."""
    return [shlex.split(command)[2] for command in re.findall(r"`(rpo sql .+?)` \|", README)]


def test_every_table_has_an_example() -> None:
    assert len(readme_sql()) == len(TABLES), json.dumps(readme_sql())
