"""Checkpoints: which one to go on from, and whether it belongs to this training run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from models.errors import SettingsError
from models.training import TrainingConfig
from storage.files import atomic_file
from tasks.training.gguf_lora import adapter_identity

STARTED = "started.json"
WHOLE = "whole"
"""File in a checkpoint that is written after all others: without it a kill came in between."""

# where a run's files are and how often it is saved: not what it computes
# (an adapter to go on from is known by its weights, wherever it lies)
_NOT_IDENTITY = frozenset(
    {"output", "run", "keep_checkpoints", "save_steps", "merge", "train_file", "validation_file", "adapter"}
)


def identity_of(config: TrainingConfig, dataset: str) -> dict[str, Any]:
    """What must be equal for a checkpoint to be this run's, but for the weights it began with.

    Args:
        config: The configuration.
        dataset: Hash of the rows.
    """
    adapter = adapter_identity(Path(config.adapter)) if config.adapter else None
    return {**config.model_dump(mode="json", exclude=set(_NOT_IDENTITY)), "adapter": adapter, "dataset": dataset}


def require_same(folder: Path, identity: dict[str, Any]) -> bool:
    """Whether the folder holds this run already; False where it holds none.

    Raises:
        SettingsError: It holds a run of another model, other rows or another configuration.
    """
    path = folder / STARTED
    if not path.is_file():
        return False
    then = json.loads(path.read_text("utf-8"))
    changed = [name for name in identity if then.get(name) != identity[name]]
    if not changed:
        return True
    if "model" in changed or "weights" in changed:
        other = (
            "" if then.get("model") == identity["model"] else f" ({then.get('model')}; now it is {identity['model']})"
        )
        what = f"of another model{other}"
    elif changed == ["dataset"]:
        what = "on other rows"
    else:
        name = next(name for name in changed if name != "dataset")
        what = f"with {name} = {then.get(name)!r}; now it is {identity[name]!r}"
    raise SettingsError(
        f"{folder} holds a training run {what}.",
        safe="That one is untouched.",
        next_step="Give this one another name (`rpo train --name NAME`), or delete that folder.",
    )


def begin_or_continue(folder: Path, identity: dict[str, Any], weights: str) -> Path | None:
    """The last whole checkpoint of a training run, or None where it begins.

    Args:
        folder: The training run.
        identity: What ``identity_of`` says.
        weights: Fingerprint of the weights that training begins with.

    Raises:
        SettingsError: The folder holds another run.
    """
    whole = {**identity, "weights": weights}
    if not require_same(folder, whole):
        with atomic_file(folder / STARTED, "Start of the training run") as file:
            file.write(json.dumps(whole, indent=1).encode())
    return last_whole(folder / "checkpoints")


def last_whole(checkpoints: Path) -> Path | None:
    """The newest whole checkpoint; what a kill left half-written is removed."""
    whole = []
    for path in checkpoints.glob("checkpoint-*"):
        if (path / WHOLE).is_file():
            whole.append(path)
        else:
            shutil.rmtree(path)
    return max(whole, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """The step a checkpoint was made at."""
    return int(checkpoint.name.rpartition("-")[2])
