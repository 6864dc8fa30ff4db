"""Sessions in the layout of SysBench's dataset file, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Session = dict[str, Any]


def make_session(number: int, *, turns: int = 3, alignment: str = "align", **changes: Any) -> Session:
    """A session whose every answer has two criteria, the second of another kind."""
    system = f"You are cook number {number}. Greet first. Answer in one sentence."
    queries = [f"How do I make dish {number}-{turn}?" for turn in range(1, turns + 1)]
    messages = [{"role": "system", "content": system}]
    for turn, query in enumerate(queries, start=1):
        messages += [
            {"role": "user", "content": query},
            {"role": "assistant", "content": f"Hello! The truth of {number}-{turn}."},
        ]
    criteria = {
        "1": {"criteria_id": 1, "criteria_content": "Greets the user first", "criteria_type": "动作约束"},
        "2": {"criteria_id": 2, "criteria_content": "Answers in one sentence", "criteria_type": "格式约束"},
    }
    return {
        "system_id": number, "领域": "cooking" if number % 2 else "law", "rounds_related": number % 2 == 1,
        "system_prompt": system, "messages": messages,
        "prompt_infos": {query: {"alignment": alignment, "criteria": criteria} for query in queries},
        **changes,
    }  # fmt: skip


def write_sessions(path: Path, sessions: list[Session]) -> Path:
    path.write_text(json.dumps(sessions, ensure_ascii=False, indent=2), "utf-8")
    return path
