"""Trained models: what a training run has left, and an endpoint that answers as it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import BaseModel, ValidationError

from models.base import digest
from models.endpoints import Endpoint, Serve
from models.errors import AdapterError, SettingsError
from models.training import EMBEDDED_MODEL
from tasks.llm.adapters import require_listed
from tasks.llm.engines import find_model, model_file
from tasks.training.gguf_lora import adapter_identity, convert_lora

RECORD_FILE = "record.json"


class TrainedModel(BaseModel):
    """What of a training run's record says how to serve the model."""

    run: str
    model: str
    adapter: bool


def finished_trainings(data: Path, run: str | None = None) -> list[str]:
    """The names of the training runs of a factory run (or of all) that are finished, the oldest first."""
    records = sorted((data / "training").glob(f"*/{RECORD_FILE}"), key=lambda path: (path.stat().st_mtime, path))
    return [path.parent.name for path in records if run is None or _read_record(path).run == run]


def read_trained(data: Path, name: str, run: str | None = None) -> TrainedModel:
    """The record of a finished training run.

    Args:
        data: The data folder.
        name: The training run.
        run: The factory run that it should be of, for the message; None: any.

    Raises:
        SettingsError: There is no such training run, it is not finished, or its record is damaged.
    """
    folder = data / "training" / name
    whose = "" if run is None else f" of run {run!r}"
    # the name comes from the command line: never a path
    if "/" in name or name.startswith(".") or not folder.is_dir():
        finished = ", ".join(finished_trainings(data, run)) or "none"
        raise SettingsError(
            f"There is no training run {name!r} in {folder.parent}; finished ones{whose}: {finished}.",
            safe="Nothing was started.",
            next_step=f"Train one: rpo train --run {run or 'RUN'}",
        )
    if not (folder / RECORD_FILE).is_file():
        raise SettingsError(
            f"The training run {name!r} is not finished: {folder} has no {RECORD_FILE}.",
            safe="Nothing was started; its checkpoints are kept.",
            next_step="Wait for it, or type the same `rpo train` again: it goes on from the last checkpoint.",
        )
    return _read_record(folder / RECORD_FILE)


def serve_trained(data: Path, name: str, base_name: str, base: Endpoint) -> Endpoint:
    """An endpoint that answers as the model of a finished training run.

    Where the factory serves the base model it serves the trained one the same way; an adapter for llama.cpp is
    converted here, once for its weights. On a server of yours the adapter is looked for under a name of its own, and
    loaded where the server allows that.

    Args:
        data: The data folder.
        name: The training run.
        base_name: Name of the base model's endpoint.
        base: The base model's endpoint.

    Raises:
        AdapterError: The endpoint of the base model cannot serve it.
        ModelServerError: There is no base model.
    """
    folder = (data / "training" / name).resolve()
    record = _read_record(folder / RECORD_FILE)
    if record.adapter and base.serve is not None:
        _require_same_base(record, base.serve, base_name, base.model, name)
    weights = adapter_identity(folder / "final") if record.adapter else _model_identity(folder / "final")
    # the same adapter on another base is another model
    identity = digest([base.model, base.identity, weights], length=16)
    if base.serve is None:
        # two trainings of one name are two models, and the server knows them by their names alone
        listed = f"{name}-{weights[:8]}"
        require_listed(base_name, base, listed, folder / "final", adapter=record.adapter)
        return base.model_copy(update={"model": listed, "identity": identity})
    if record.adapter:
        served = _with_adapter(folder, base.serve, base_name, base.model, weights)
    else:
        # llama.cpp would need a GGUF of it: the slower engine serves it as it is
        engine = "vllm" if base.serve.engine == "vllm" else "transformers"
        changes = {"engine": engine, "model_path": str(folder / "final"), "lora_path": None}
        served = base.serve.model_copy(update=changes)
    return base.model_copy(update={"model": name, "identity": identity, "serve": served.model_copy(update={"port": 0})})


def _with_adapter(folder: Path, serve: Serve, endpoint: str, model: str, weights: str) -> Serve:
    """The base model's server with the adapter of a training run."""
    adapter = folder / "final"
    if serve.engine == "transformers":
        return serve.model_copy(update={"lora_path": str(adapter)})
    if serve.engine == "vllm":
        # the endpoint's `model` will name the adapter
        return serve.model_copy(update={"lora_path": str(adapter), "model_path": serve.model_path or model})
    lora = folder / f"adapter-{weights}.gguf"
    if not lora.is_file():
        convert_lora(adapter, model_file(serve, endpoint), lora)
    return serve.model_copy(update={"lora_path": str(lora)})


def _model_identity(folder: Path) -> str:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise AdapterError(
            f"The model folder {folder} holds no weights (*.safetensors).",
            safe="Nothing was started.",
            next_step="Train it again, or leave it out with --model.",
        )
    return digest([_file_hash(path) for path in files], length=16)


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_record(path: Path) -> TrainedModel:
    try:
        return TrainedModel.model_validate(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise SettingsError(
            f"The record {path} of a training run is damaged: {error}.",
            next_step="Move its folder away, or train it again.",
        ) from error


def _require_same_base(record: TrainedModel, serve: Serve, endpoint: str, model: str, name: str) -> None:
    """Refuse what is known to be another model; where only names differ, the shapes decide when it is loaded."""
    served = find_model(serve, endpoint, model)
    trained: Path | str
    if record.model == EMBEDDED_MODEL:
        trained = served if serve.engine != "vllm" and not serve.model_path else model_file(Serve(), endpoint)
        comparable = serve.engine != "vllm"
    else:
        trained = Path(record.model).expanduser().resolve()
        comparable = isinstance(served, Path) and (trained.suffix == ".gguf" or (trained.is_dir() and served.is_dir()))
    if comparable and trained != served:
        raise AdapterError(
            f"The training run {name!r} is an adapter of {record.model}, and endpoint {endpoint!r} serves {served}.",
            safe="Nothing was started.",
            next_step=f"Set endpoints.{endpoint}.serve.model_path to the model that it was trained on.",
        )
