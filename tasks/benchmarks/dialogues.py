"""The dialogues of a benchmark's file, checked before any of them is asked, and cut into batches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice

from models.benchmarks import BenchmarkTurn, RefusedRow
from models.errors import SeedError, SettingsError
from models.evaluation import BenchmarkSettings
from storage.imports.rows import Refused
from tasks.benchmarks.base import Benchmark
from tasks.seeds import seed_path


def read_turns(benchmark: Benchmark, settings: BenchmarkSettings) -> tuple[list[BenchmarkTurn], list[RefusedRow]]:
    """The turns of the benchmark's file, and the rows that are not taken.

    Raises:
        SettingsError: No file is given, and the factory has none.
        ImportFileError: It cannot be read.
        SeedError: It has no dialogue of the benchmark, or one key twice.
    """
    path = settings.file or benchmark.shipped
    if path is None:
        raise SettingsError(
            f"The data of {benchmark.name} may not be shipped.",
            safe="Nothing was started.",
            next_step="Download it and give it with --file; docs/evaluation.md says where from.",
        )
    dialogues: dict[str, list[BenchmarkTurn]] = defaultdict(list)
    refused = []
    for row in benchmark.read(seed_path(path)):
        if isinstance(row, Refused):
            refused.append(RefusedRow(line=row.line, reason=row.reason, what=row.what))
        else:
            # a given history is dropped where the model's own is wanted
            dialogues[row.dialogue_id].append(
                row if settings.history == "gt" else row.model_copy(update={"given": None})
            )
    for key, turns in dialogues.items():
        if [turn.turn for turn in turns] != list(range(1, len(turns) + 1)):
            raise SeedError(
                f"The dialogue {key!r} of {path} has the turns {[turn.turn for turn in turns]}.",
                safe="Nothing was started.",
                next_step="Each dialogue has a key of its own, and its turns in their order.",
            )
        if settings.history == "gt" and any(turn.given is None for turn in turns[:-1]):
            raise SeedError(
                f"{path} does not say what was answered in the dialogue {key!r}: there is no ground truth.",
                safe="Nothing was started.",
                next_step="Give the benchmark's own dataset, or take --history own.",
            )
    if not dialogues:
        raise SeedError(
            f"{path} has no dialogue of {benchmark.name}: {len(refused)} rows were refused"
            + (f", the first (line {refused[0].line}): {refused[0].what}." if refused else "."),
            safe="Nothing was started.",
            next_step="Give the benchmark's data in its published layout with --file.",
        )
    return [turn for turns in islice(dialogues.values(), settings.limit) for turn in turns], refused


def batch_dialogues(turns: Sequence[BenchmarkTurn], dialogues: int) -> Iterator[list[BenchmarkTurn]]:
    """The turns of so many dialogues at a time."""
    keys = list(dict.fromkeys(turn.dialogue_id for turn in turns))
    batch_of = {key: place // dialogues for place, key in enumerate(keys)}
    batches: dict[int, list[BenchmarkTurn]] = defaultdict(list)
    for turn in turns:
        batches[batch_of[turn.dialogue_id]].append(turn)
    yield from batches.values()
