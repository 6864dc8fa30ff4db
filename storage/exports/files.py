"""Exports as files: streamed a responses part at a time, split by dialogue, put in place when they are whole."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import pyarrow.parquet as pq

from models.base import Strict, digest
from models.errors import StorageError
from models.records import Audit, Judgment, PartRef, Response
from models.settings import Export, ExportFormat
from storage.exports.rows import (
    ExportRow,
    baseline_rows,
    best_response_row,
    preference_row,
    sharegpt_row,
    unpaired_rows,
)
from storage.manifests import Manifest
from storage.migrated import open_current
from storage.pair_rows import read_pair_rows, read_turns
from storage.parts import PartStore
from storage.roots import machine_dir

EXPORTS_FOLDER = "exports"
SPLITS = ("train", "validation")


class ExportSummary(Strict):
    """What was written."""

    folder: str
    rows: dict[str, dict[str, int]]
    """Rows by format and split."""
    dropped: int
    """Pairs that failed the audit and were left out."""


def validation_dialogues(dialogue_ids: set[str], share: float) -> set[str]:
    """The dialogues to hold out: a fixed order of all, the first ``share`` of it.

    At least one dialogue where there are two and a share is asked for, so that a small run has a validation split too.
    """
    if share == 0 or len(dialogue_ids) < 2:
        return set()
    order = sorted(dialogue_ids, key=lambda dialogue_id: digest(["validation", dialogue_id]))
    return set(order[: max(1, round(share * len(order)))])


def export_run(store: PartStore, manifest: Manifest, export: Export, *, target: Path | None = None) -> ExportSummary:
    """Write the pairs of a run that passed the audit, and the baselines.

    Two exports of the same parts are equal byte for byte. An earlier export of the run stays until this one is whole.

    Args:
        store: The parts.
        manifest: The run.
        export: Formats and split.
        target: Folder to write; None: ``exports/<run>`` in DATA, or on this machine where DATA is a store: trainers
            read a disk, and every machine writes the same bytes.

    Raises:
        StorageError: The run has no audited pairs, or the files cannot be written.
    """
    audits = manifest.parts_of("audits")
    if not audits:
        raise StorageError(
            f"The run {manifest.run!r} has no audited pairs to export.",
            next_step=f"Finish it first: `rpo run --run {manifest.run}`.",
        )
    target = target or machine_dir(store.place) / EXPORTS_FOLDER / manifest.run
    target.parent.mkdir(parents=True, exist_ok=True)
    building = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(building, ignore_errors=True)
    try:
        rows, dropped = _write(store, manifest, export, audits, building)
        _replace(building, target)
    except OSError as error:
        shutil.rmtree(building, ignore_errors=True)
        raise StorageError(
            f"The export into {target} could not be written: {error.strerror}.",
            safe="All parts are stored and an earlier export is untouched.",
            next_step="Make room, then type the same command again.",
        ) from error
    return ExportSummary(folder=str(target), rows=rows, dropped=dropped)


def _write(
    store: PartStore, manifest: Manifest, export: Export, audits: list[PartRef], folder: Path
) -> tuple[dict[str, dict[str, int]], int]:
    ids: set[str] = set()
    for turns in manifest.parts_of("turns"):
        column = pq.read_table(open_current(store, turns), columns=["dialogue_id"], page_checksum_verification=True)
        ids.update(column["dialogue_id"].to_pylist())
    held_out = validation_dialogues(ids, export.validation_share)
    judgments = {store.upstream(ref, "responses").key: ref for ref in manifest.parts_of("judgments")}
    # runs of before there was a critic do not say
    drops_refined = manifest.settings.get("pairs", {}).get("refined") == "drop"
    rows: dict[str, Counter[str]] = {name: Counter(dict.fromkeys(SPLITS, 0)) for name in export.formats}
    dropped = 0
    with ExitStack() as files:
        writers = _open(folder, export.formats, files)
        for audit_part in audits:
            batch = _PartExport(store, audit_part, judgments, export, drops_refined=drops_refined)
            dropped += batch.dropped
            for name in export.formats:
                for row in batch.rows(name):
                    split = "validation" if row["dialogue_id"] in held_out else "train"
                    # allow_nan: a bare NaN is not JSON, and no reader would take it
                    writers[name, split].write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
                    rows[name][split] += 1
    if "llamafactory" in export.formats:
        (folder / "llamafactory" / "dataset_info.json").write_text(json.dumps(_DATASET_INFO, indent=2) + "\n", "utf-8")
    return {name: dict(counter) for name, counter in rows.items()}, dropped


class _PartExport:
    """The export rows of one responses part.

    A run that drops refined responses from its pairs drops them from SFT too: the baselines are made of the same
    responses as the pairs, or a comparison with them would measure the critic.
    """

    def __init__(
        self,
        store: PartStore,
        audit_part: PartRef,
        judgments: dict[str, PartRef],
        export: Export,
        *,
        drops_refined: bool,
    ) -> None:
        inputs = {ref.dataset: ref for ref in store.inputs(audit_part)}
        responses = inputs["responses"]
        passed = {audit.pair_id for audit in store.read(audit_part, Audit) if audit.passed}
        self.untriggered = export.untriggered
        self.all_pairs = list(read_pair_rows(store, inputs["pairs"], responses, inputs["reversals"]))
        self.pairs = [row for row in self.all_pairs if row.pair.pair_id in passed]
        self.dropped = len(self.all_pairs) - len(self.pairs)
        self.turns = read_turns(store, responses)
        self.responses: dict[tuple[str, int], list[Response]] = defaultdict(list)
        self.scores: Counter[str] = Counter()
        unscored = set()
        for verdict in store.read(judgments[responses.key], Judgment):
            self.scores[verdict.response_id] += verdict.verdict == "followed"
            if verdict.verdict == "unscored":
                unscored.add(verdict.response_id)
        for response in store.read(responses, Response):
            if response.response_id not in unscored and not (drops_refined and response.origin == "refined"):
                self.responses[response.dialogue_id, response.turn].append(response)

    def rows(self, name: ExportFormat) -> Iterator[ExportRow]:
        """The rows of a format."""
        match name:
            case "trl":
                yield from (preference_row(row, self.untriggered) for row in self.pairs)
            case "llamafactory":
                yield from (sharegpt_row(row, self.untriggered) for row in self.pairs)
            case "dpo":
                yield from baseline_rows(self.all_pairs, self.scores, self.untriggered)
            case "kto":
                yield from unpaired_rows(baseline_rows(self.all_pairs, self.scores, self.untriggered))
            case "sft":
                for key, responses in self.responses.items():
                    if self.turns[key].turn.triggered_ids:
                        yield best_response_row(self.turns[key], responses, self.scores, self.untriggered)


def _file_name(name: str, split: str) -> str:
    return f"rpo_{split}.jsonl" if name == "llamafactory" else f"{split}.jsonl"


def _open(folder: Path, formats: list[ExportFormat], files: ExitStack) -> dict[tuple[str, str], IO[str]]:
    writers: dict[tuple[str, str], IO[str]] = {}
    for name in formats:
        (folder / name).mkdir(parents=True)
        for split in SPLITS:
            path = folder / name / _file_name(name, split)
            writers[name, split] = files.enter_context(path.open("w", encoding="utf-8", newline="\n"))
    return writers


def _replace(building: Path, target: Path) -> None:
    """Put a finished folder in the place of an older one; a folder cannot be renamed over a full one."""
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    building.rename(target)
    shutil.rmtree(old, ignore_errors=True)


_DATASET_INFO: dict[str, Any] = {
    f"rpo_{split}": {
        "file_name": f"rpo_{split}.jsonl",
        "formatting": "sharegpt",
        "ranking": True,
        "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
        "tags": {
            "role_tag": "from",
            "content_tag": "value",
            "user_tag": "human",
            "assistant_tag": "gpt",
            "system_tag": "system",
        },
    }
    for split in SPLITS
}
