"""Exports as files: streamed a responses part at a time, split by dialogue, put in place when they are whole."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import pyarrow.parquet as pq

from models.base import Strict, digest
from models.errors import StorageError
from models.records import PartRef
from models.settings import Export, ExportFormat
from storage.exports.batch import ExportBatch, Table
from storage.exports.card import render_card
from storage.exports.provenance import PairCounts, trace_run
from storage.exports.sinks import SPLITS, JsonLines, Parquet, Sink, describe_sharegpt, encode_line
from storage.manifests import Manifest
from storage.migrated import open_current
from storage.parts import PartStore
from storage.roots import machine_dir

EXPORTS_FOLDER = "exports"
CARD = "README.md"


class ExportSummary(Strict):
    """What was written."""

    folder: str
    rows: dict[str, dict[str, int]]
    """Rows by format and split."""
    dropped: int
    """Pairs that failed the audit and were left out."""
    flagged: int = 0
    """Pairs that were left out since a person has flagged them."""


def validation_dialogues(dialogue_ids: set[str], share: float) -> set[str]:
    """The dialogues to hold out: a fixed order of all, the first ``share`` of it.

    At least one dialogue where there are two and a share is asked for, so that a small run has a validation split too.
    """
    if share == 0 or len(dialogue_ids) < 2:
        return set()
    order = sorted(dialogue_ids, key=lambda dialogue_id: digest(["validation", dialogue_id]))
    return set(order[: max(1, round(share * len(order)))])


def export_run(
    store: PartStore,
    manifest: Manifest,
    export: Export,
    *,
    target: Path | None = None,
    card: bool = True,
    without: Collection[str] = (),
) -> ExportSummary:
    """Write the pairs of a run that passed the audit, the baselines, and a dataset card.

    Two exports of the same parts are equal byte for byte, on whatever machine (Parquet: with the same pyarrow). An
    earlier export of the run stays until this one is whole.

    Args:
        store: The parts.
        manifest: The run.
        export: Formats and split.
        target: Folder to write; None: ``exports/<run>`` in DATA, or on this machine where DATA is a store: trainers
            read a disk, and every machine writes the same bytes.
        card: Whether to write the card.
        without: Ids of pairs to leave out of every format that is made of pairs.

    Raises:
        StorageError: The run has no audited pairs, or the files cannot be written.
    """
    # sorted: the order in which a run came by its parts is that of its interruptions
    audits = sorted(manifest.parts_of("audits"), key=lambda ref: ref.key)
    if not audits:
        raise _nothing_audited(manifest)
    target = target or machine_dir(store.place) / EXPORTS_FOLDER / manifest.run
    building = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(building, ignore_errors=True)
    try:
        building.mkdir(parents=True)
        sinks, counts = _write(store, manifest, export, audits, building, without)
        if card:
            text = render_card(trace_run(store, manifest, export, counts), sinks)
            (building / CARD).write_text(text, "utf-8", newline="\n")
        _replace(building, target)
    except OSError as error:
        raise StorageError(
            f"The export into {target} could not be written: {error.strerror}.",
            safe="All parts are stored and an earlier export is untouched.",
            next_step="Make room, then type the same command again.",
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    rows: dict[str, Counter[str]] = {name: Counter() for name in export.formats}
    for sink in sinks:
        rows[sink.format].update(sink.rows)
    return ExportSummary(
        folder=str(target),
        rows={name: dict(splits) for name, splits in rows.items()},
        dropped=counts.dropped,
        flagged=counts.flagged,
    )


def _nothing_audited(manifest: Manifest) -> StorageError:
    if manifest.evaluates is not None:
        return StorageError(
            f"{manifest.run!r} is an evaluation, which makes no pairs.",
            next_step=f"Export the run that it measures: `rpo export --run {manifest.evaluates}`.",
        )
    return StorageError(
        f"The run {manifest.run!r} has no audited pairs to export.",
        next_step=f"Finish it first: `rpo run --run {manifest.run}`.",
    )


def _write(
    store: PartStore,
    manifest: Manifest,
    export: Export,
    audits: Sequence[PartRef],
    folder: Path,
    without: Collection[str],
) -> tuple[list[Sink], PairCounts]:
    ids: set[str] = set()
    for turns in manifest.parts_of("turns"):
        column = pq.read_table(open_current(store, turns), columns=["dialogue_id"], page_checksum_verification=True)
        ids.update(column["dialogue_id"].to_pylist())
    held_out = validation_dialogues(ids, export.validation_share)
    judgments = {store.upstream(ref, "responses").key: ref for ref in manifest.parts_of("judgments")}
    # runs of before there was a critic do not say
    drops_refined = manifest.settings.get("pairs", {}).get("refined") == "drop"
    counts = PairCounts()
    with ExitStack() as files:
        sinks = [sink for name in dict.fromkeys(export.formats) for sink in _open(name, folder, files)]
        for audit_part in audits:
            batch = ExportBatch(store, audit_part, judgments, export, drops_refined=drops_refined, without=without)
            counts.add(batch)
            for table in get_args(Table):
                takers = [sink for sink in sinks if sink.table == table]
                for row in batch.rows(table) if takers else ():
                    split = "validation" if row["dialogue_id"] in held_out else "train"
                    line = encode_line(row)
                    for sink in takers:
                        sink.write(split, row, line)
    for sink in sinks:
        if sink.format == "llamafactory":
            # an empty file is an error to its loader
            info = {f"rpo_{split}": describe_sharegpt(f"rpo_{split}.jsonl") for split in SPLITS if sink.rows[split]}
            (folder / "llamafactory" / "dataset_info.json").write_text(json.dumps(info, indent=2) + "\n", "utf-8")
    return sinks, counts


def _open(name: ExportFormat, folder: Path, files: ExitStack) -> list[Sink]:
    if name == "parquet":
        return [Parquet(table, folder, files) for table in get_args(Table)]
    table: Table = "rpo" if name == "trl" or name == "llamafactory" else name
    return [JsonLines(name, table, folder, files)]


def _replace(building: Path, target: Path) -> None:
    """Put a finished folder in the place of an older one; a folder cannot be renamed over a full one."""
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    building.rename(target)
    shutil.rmtree(old, ignore_errors=True)
