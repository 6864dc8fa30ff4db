"""Rows at the trainer's door."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.errors import SettingsError
from models.training import Method
from tasks.training.data import read_rows, split_by_length


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def message(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


PREFERENCE = {
    "prompt": message("user", "hi"),
    "chosen": message("assistant", "yes"),
    "rejected": message("assistant", "no no no"),
    "margin": 2.0,
    "pair_id": "a-b",
    "constraints": [{"kind": "word_count"}],
}


def count_words(chat: list[dict[str, str]]) -> int:
    return sum(len(item["content"].split()) for item in chat)


def test_a_row_holds_what_the_method_needs_and_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", PREFERENCE)
    assert [row for _, row in read_rows(path, "rpo")] == [
        {name: PREFERENCE[name] for name in ("prompt", "chosen", "rejected", "margin")}
    ]
    assert "margin" not in next(iter(read_rows(path, "dpo")))[1]


@pytest.mark.parametrize(
    ("method", "row", "said"),
    [
        ("rpo", {key: value for key, value in PREFERENCE.items() if key != "margin"}, "line 2: margin: Field required"),
        ("rpo", {**PREFERENCE, "margin": -1}, "line 2: margin: "),
        ("rpo", {**PREFERENCE, "chosen": []}, "line 2: chosen: "),
        ("rpo", {**PREFERENCE, "prompt": message("robot", "hi")}, "line 2: prompt.0.role: "),
        ("rpo", "{broken", "line 2: Invalid JSON"),
        ("kto", PREFERENCE, "line 1: completion: Field required"),
        ("sft", PREFERENCE, "line 1: messages: Field required"),
    ],
)
def test_a_wrong_row_is_named_by_line_and_field(tmp_path: Path, method: Method, row: Any, said: str) -> None:
    path = write(tmp_path / "rows.jsonl", PREFERENCE, row)
    with pytest.raises(SettingsError) as caught:
        list(read_rows(path, method))
    assert said in caught.value.what
    assert caught.value.next_step


def test_an_export_without_margins_says_what_to_train_on(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", {key: value for key, value in PREFERENCE.items() if key != "margin"})
    with pytest.raises(SettingsError, match="margin") as caught:
        list(read_rows(path, "rpo"))
    assert "export 'trl'" in caught.value.next_step
    assert "method = dpo" in caught.value.next_step


def test_an_empty_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="has no rows"):
        list(read_rows(write(tmp_path / "empty.jsonl"), "rpo"))
    with pytest.raises(SettingsError, match="cannot be read"):
        list(read_rows(tmp_path / "missing.jsonl", "rpo"))


def test_a_row_that_would_be_cut_is_refused_and_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", PREFERENCE, {**PREFERENCE, "rejected": message("assistant", "no " * 9)})
    kept, refused = split_by_length(path, "rpo", count_words, 4)
    assert [row["rejected"][0]["content"] for row in kept] == ["no no no"]
    assert [(item.line, item.why) for item in refused] == [(2, "10 tokens, max_length is 4")]


def test_only_the_last_message_of_a_demonstration_is_learned(tmp_path: Path) -> None:
    chat = [*message("system", "be kind"), *message("user", "hi"), *message("assistant", "hello")]
    kept, _ = split_by_length(write(tmp_path / "rows.jsonl", {"messages": chat}), "sft", count_words, 99)
    assert kept == [{"prompt": chat[:2], "completion": chat[2:]}]
