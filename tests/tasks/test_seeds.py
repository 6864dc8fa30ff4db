from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from models.errors import SeedError
from models.records import PersonaSeed, RoleSeed
from tasks.seeds import ROOT, read_seeds


def test_shipped_seeds() -> None:
    roles = read_seeds(ROOT / "seeds/roles.jsonl", RoleSeed, ["en", "zh"])
    personas = read_seeds(ROOT / "seeds/personas.jsonl", PersonaSeed, ["en", "zh"])
    for seeds in (roles, personas):
        languages = Counter(seed.language for seed in seeds)
        assert len(seeds) >= 60
        assert min(languages["en"], languages["zh"]) >= 25
    questions = [question for role in roles for question in role.questions]
    assert len(set(questions)) == len(questions)


def test_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "personas.jsonl"
    good = (ROOT / "seeds/personas.jsonl").read_text("utf-8").splitlines()[0].replace("Over-", "Over\u2028")
    path.write_text(f'{good}\nnot json\n{{"persona_id": 3}}\n{good}\n', "utf-8")
    with pytest.raises(SeedError) as caught:
        read_seeds(path, PersonaSeed, ["en"])
    assert "3 of 4 lines" in caught.value.what
    for words in ("line 2: Invalid JSON", "line 3: ", "line 4: persona_id"):
        assert words in caught.value.what


def test_no_such_file_and_no_such_language(tmp_path: Path) -> None:
    with pytest.raises(SeedError, match="cannot be read"):
        read_seeds(tmp_path / "none", RoleSeed, ["en"])
    (tmp_path / "empty").write_text("")
    with pytest.raises(SeedError, match="no seeds in en"):
        read_seeds(tmp_path / "empty", RoleSeed, ["en"])
