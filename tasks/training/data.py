"""Training rows: read from an export, checked at the door, refused where the length limit would cut them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import SettingsError
from models.training import Method, Refusal

CountTokens = Callable[[list[dict[str, str]]], int]
"""Tokens of a chat under the model's template."""


class _Row(BaseModel):
    # an export says more about a row than a trainer needs: constraints, ids
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Message(_Row):
    role: Literal["system", "user", "assistant"]
    content: str


class _Preference(_Row):
    prompt: list[_Message] = Field(min_length=1)
    chosen: list[_Message] = Field(min_length=1)
    rejected: list[_Message] = Field(min_length=1)


class _MarginPreference(_Preference):
    margin: float = Field(ge=0, allow_inf_nan=False)


class _Unpaired(_Row):
    prompt: list[_Message] = Field(min_length=1)
    completion: list[_Message] = Field(min_length=1)
    label: bool


class _Demonstration(_Row):
    messages: list[_Message] = Field(min_length=2)


ROWS: dict[Method, type[_Row]] = {
    "rpo": _MarginPreference,
    "dpo": _Preference,
    "kto": _Unpaired,
    "sft": _Demonstration,
}
EXPORTS: dict[Method, Literal["trl", "dpo", "kto", "sft"]] = {"rpo": "trl", "dpo": "dpo", "kto": "kto", "sft": "sft"}
"""The export format of each method."""


def read_rows(path: Path, method: Method) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of an export with their line numbers, holding just what the method needs.

    Raises:
        SettingsError: The file is missing, empty, or a line is not a row of the method's export.
    """
    try:
        with path.open(encoding="utf-8") as file:
            rows = 0
            for line, text in enumerate(file, 1):
                if text.strip():
                    rows += 1
                    yield line, _read_row(path, line, text, method)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"The training file {path} cannot be read: {error}.",
            next_step="Write it with `rpo export`, or let `rpo train` make it.",
        ) from error
    if not rows:
        raise SettingsError(
            f"The training file {path} has no rows.",
            next_step='Lower pairs.min_margin, or make more pairs: `rpo sql "select margin, count(*) from pairs '
            'group by 1"` shows what there is.',
        )


def _read_row(path: Path, line: int, text: str, method: Method) -> dict[str, Any]:
    try:
        return ROWS[method].model_validate_json(text).model_dump()
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(step) for step in problem["loc"])
        mend = f"{method} is trained on the export {EXPORTS[method]!r} of `rpo export`."
        if method == "rpo" and field == "margin" and problem["type"] == "missing":
            mend = (
                "RPO needs the number of constraints on which chosen and rejected differ. Train on the export 'trl' "
                "of `rpo export`, or with method = dpo."
            )
        raise SettingsError(
            f"{path}, line {line}: {f'{field}: ' if field else ''}{problem['msg']}.",
            safe="Nothing was trained.",
            next_step=mend,
        ) from error


def completions(row: dict[str, Any]) -> list[list[dict[str, str]]]:
    """The whole chats of a row: one for each completion."""
    if "messages" in row:
        return [row["messages"]]
    return [row["prompt"] + row[side] for side in ("chosen", "rejected", "completion") if side in row]


def split_by_length(
    path: Path, method: Method, count_tokens: CountTokens, max_length: int
) -> tuple[list[dict[str, Any]], list[Refusal]]:
    """The rows that fit, and those that the length limit would cut.

    A cut prompt loses the constraints, a cut completion what was judged: neither is what the pair was made from.
    """
    kept, refused = [], []
    for line, row in read_rows(path, method):
        longest = max(count_tokens(chat) for chat in completions(row))
        if longest > max_length:
            why = f"{longest} tokens, max_length is {max_length}"
            refused.append(Refusal(file=path.name, line=line, why=why))
        else:
            kept.append(_shape(row))
    return kept, refused


def _shape(row: dict[str, Any]) -> dict[str, Any]:
    """As TRL wants it: an SFT row as prompt and completion, so that only the completion is learned."""
    if "messages" in row:
        return {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]}
    return row


def hash_files(*paths: Path | None) -> str:
    """The SHA-256 of some files, one after another."""
    total = hashlib.sha256()
    for path in paths:
        if path is not None:
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
