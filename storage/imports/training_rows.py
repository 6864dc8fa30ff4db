"""The released RPO training rows (ShareGPT with margins) as rows for TRL.

They are pairs without the constraints and verdicts that they were made from, so that nothing of them can be proven or
asked, and the tables of a run cannot hold them: they become an export, and no run.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from models.base import digest
from storage.exports.files import validation_dialogues
from storage.files import atomic_file
from storage.imports.dialogue_rows import RowCounts, explain

_ROLES = {"system": "system", "human": "user", "gpt": "assistant"}


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("it is empty")
    return text


class _Message(BaseModel):
    sender: Literal["system", "human", "gpt"] = Field(alias="from")
    value: Annotated[str, AfterValidator(_not_blank)]

    def in_chat(self) -> dict[str, str]:
        return {"role": _ROLES[self.sender], "content": self.value}


class TrainingRow(BaseModel):
    """The fields of a row."""

    conversations: list[_Message] = Field(min_length=1)
    chosen: _Message
    rejected: _Message
    margin: float = Field(gt=0)
    sid: int | str | None = None
    tid: int | str | None = None

    @model_validator(mode="after")
    def _is_a_pair(self) -> TrainingRow:
        senders = [message.sender for message in self.conversations]
        said = senders[1:] if senders[0] == "system" else senders
        if said[-1:] != ["human"] or said[::2] != ["human"] * len(said[::2]) or said[1::2] != ["gpt"] * len(said[1::2]):
            raise ValueError("conversations are not a system prompt, then human and gpt in turn, human last")
        if (self.chosen.sender, self.rejected.sender) != ("gpt", "gpt"):
            raise ValueError("chosen and rejected are not from gpt")
        if self.chosen.value == self.rejected.value:
            raise ValueError("chosen and rejected are the same text")
        return self

    @property
    def dialogue_id(self) -> str:
        """What keeps the rows of a dialogue in one split: its session, else how it begins."""
        begin = [message.value for message in self.conversations[:2]] if self.sid is None else self.sid
        return digest(["training rows", begin], length=16)

    def for_trl(self) -> dict[str, Any]:
        """The row as TRL takes it."""
        pair = [self.conversations[-1].value, self.chosen.value, self.rejected.value, self.margin]
        return {
            "prompt": [message.in_chat() for message in self.conversations],
            "chosen": [self.chosen.in_chat()],
            "rejected": [self.rejected.in_chat()],
            "margin": self.margin,
            "pair_id": digest([self.dialogue_id, pair], length=32),
            "refined": False,
            "dialogue_id": self.dialogue_id,
            "turn": sum(message.sender == "human" for message in self.conversations),
        }


def export_training_rows(path: Path, folder: Path, validation_share: float, counts: RowCounts) -> dict[str, int]:
    """Write the rows as ``train.jsonl`` and ``validation.jsonl`` for TRL, split by dialogue; returns rows a split.

    The file is read twice, so that no more than the ids of its dialogues is in memory.

    Args:
        path: The file.
        folder: Where they go.
        validation_share: Share of the dialogues that is held out.
        counts: Told of every row that is refused.

    Raises:
        ImportFileError: The file cannot be read at all, or no row of it can be used.
        StorageError: The rows cannot be written.
    """
    ids = {row.dialogue_id for row in _read(path, counts)}
    if not ids:
        raise counts.nothing_in(path)
    held_out = validation_dialogues(ids, validation_share)
    written: Counter[str] = Counter(train=0, validation=0)
    with ExitStack() as files:
        outputs = {
            split: files.enter_context(atomic_file(folder / f"{split}.jsonl", "Training rows")) for split in written
        }
        for row in _read(path, RowCounts(lambda refused: None)):
            split = "validation" if row.dialogue_id in held_out else "train"
            outputs[split].write(json.dumps(row.for_trl(), ensure_ascii=False).encode() + b"\n")
            written[split] += 1
    return dict(written)


def _read(path: Path, counts: RowCounts) -> Iterator[TrainingRow]:
    for item in counts.read(path):
        try:
            yield TrainingRow.model_validate(item.values)
        except ValidationError as error:
            counts.refuse(item.line, "wrong_value", *explain(error))
