"""The models that an evaluation measures, and how each is asked: found, checked and made ready to be served."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from models.base import digest
from models.errors import AdapterError, FactoryError, SettingsError
from models.evaluation import BASE, EvaluationSettings
from models.settings import Endpoint, FactorySettings, Serve
from models.training import EMBEDDED_MODEL
from tasks.llm.engines import model_file
from tasks.training.gguf_lora import adapter_identity, convert_lora

RECORD_FILE = "record.json"
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclass(frozen=True)
class Candidate:
    """A model to measure."""

    label: str
    endpoint_name: str
    endpoint: Endpoint

    def as_policy(self, settings: FactorySettings) -> FactorySettings:
        """The settings with this model as the policy; it samples as the run's policy does."""
        policy = settings.roles.policy.model_copy(update={"endpoint": self.endpoint_name})
        return settings.model_copy(
            update={
                "endpoints": {**settings.endpoints, self.endpoint_name: self.endpoint},
                "roles": settings.roles.model_copy(update={"policy": policy}),
            }
        )


class TrainedModel(BaseModel):
    """What of a training run's record says how to serve the model."""

    run: str
    model: str
    adapter: bool


def find_candidates(settings: EvaluationSettings, factory: FactorySettings) -> tuple[list[Candidate], dict[str, str]]:
    """The models to measure, and why some training runs are none (only where nobody asked for them by name).

    An adapter for a llama.cpp endpoint is converted here, once for its weights.

    Raises:
        SettingsError: A model that nobody knows: no such training run, an unfinished one, no such endpoint.
        AdapterError: An adapter that the endpoint of the base model cannot serve.
    """
    base = Candidate(BASE, factory.roles.policy.endpoint, factory.endpoints[factory.roles.policy.endpoint])
    if settings.models:
        return [_find(model, settings, factory, base) for model in settings.models], {}
    found, left_out = [base], {}
    for name in finished_trainings(factory.data_dir, settings.run):
        try:
            found.append(_trained_candidate(name, settings, factory, base))
        except FactoryError as error:
            left_out[name] = f"{error.what} {error.next_step}"
    return found, left_out


def finished_trainings(data: Path, run: str) -> list[str]:
    """The names of the training runs of a factory run that are finished, the oldest first."""
    records = sorted((data / "training").glob(f"*/{RECORD_FILE}"), key=lambda path: (path.stat().st_mtime, path))
    return [path.parent.name for path in records if _read_record(path).run == run]


def _find(model: str, settings: EvaluationSettings, factory: FactorySettings, base: Candidate) -> Candidate:
    label, assigned, source = model.partition("=")
    if not _LABEL.fullmatch(label):
        raise SettingsError(
            f"--model {model!r}: a label has letters, digits, dots, - and _ only.",
            safe="Nothing was started.",
            next_step="Write base, the name of a training run, or LABEL=endpoint:NAME.",
        )
    if not assigned:
        return base if label == BASE else _trained_candidate(label, settings, factory, base)
    kind, _, name = source.partition(":")
    if kind != "endpoint" or name not in factory.endpoints:
        known = ", ".join(sorted(factory.endpoints))
        raise SettingsError(
            f"--model {model!r} names no endpoint; known endpoints: {known}.",
            safe="Nothing was started.",
            next_step=f"Write it like {label}=endpoint:{next(iter(factory.endpoints))}, or add [endpoints.NAME] to "
            "factory.toml.",
        )
    return Candidate(label, name, factory.endpoints[name])


def _trained_candidate(name: str, settings: EvaluationSettings, factory: FactorySettings, base: Candidate) -> Candidate:
    folder = factory.data_dir / "training" / name
    record = _require_finished(folder, settings)
    serve = base.endpoint.serve
    if serve is None:
        raise AdapterError(
            f"The training run {name!r} cannot be served by the factory: endpoint {base.endpoint_name!r} of the base "
            "model is a server of yours.",
            safe="Nothing was started.",
            next_step=f"Serve {folder / 'final'} there too (vLLM: --enable-lora --lora-modules {name}=FOLDER), add "
            f"that endpoint to factory.toml and type: rpo evaluate --model {name}=endpoint:ENDPOINT",
        )
    if record.adapter:
        _require_same_base(record, serve, base.endpoint_name, name)
        served, weights = _with_adapter(folder, serve, base.endpoint_name)
    else:
        # no GGUF is made of it: the slower engine serves it as it is
        changes = {"engine": "transformers", "model_path": str(folder / "final"), "lora_path": None}
        served, weights = serve.model_copy(update=changes), _model_identity(folder / "final")
    # the same adapter on another base is another model
    identity = digest([base.endpoint.model, base.endpoint.identity, weights], length=16)
    endpoint = base.endpoint.model_copy(
        update={"model": name, "identity": identity, "serve": served.model_copy(update={"port": 0})}
    )
    return Candidate(name, f"trained_{name}", endpoint)


def _with_adapter(folder: Path, serve: Serve, endpoint: str) -> tuple[Serve, str]:
    """The base model's server with the adapter of a training run, and the hash of the adapter."""
    adapter = folder / "final"
    weights = adapter_identity(adapter)
    if serve.engine == "transformers":
        return serve.model_copy(update={"lora_path": str(adapter)}), weights
    lora = folder / f"adapter-{weights}.gguf"
    if not lora.is_file():
        convert_lora(adapter, model_file(serve, endpoint), lora)
    return serve.model_copy(update={"lora_path": str(lora)}), weights


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


def _require_finished(folder: Path, settings: EvaluationSettings) -> TrainedModel:
    name = folder.name
    finished = ", ".join(finished_trainings(folder.parents[1], settings.run)) or "none"
    if not folder.is_dir():
        raise SettingsError(
            f"There is no training run {name!r} in {folder.parent}; finished ones of run {settings.run!r}: {finished}.",
            safe="Nothing was started.",
            next_step=f"Train one: rpo train --run {settings.run}",
        )
    if not (folder / RECORD_FILE).is_file():
        raise SettingsError(
            f"The training run {name!r} is not finished: {folder} has no {RECORD_FILE}.",
            safe="Nothing was started; its checkpoints are kept.",
            next_step="Wait for it, or type the same `rpo train` again: it goes on from the last checkpoint.",
        )
    record = _read_record(folder / RECORD_FILE)
    if record.run != settings.run:
        raise SettingsError(
            f"The training run {name!r} learned from run {record.run!r}, not from {settings.run!r}: what it has seen "
            "would not be held out.",
            safe="Nothing was started.",
            next_step=f"Type: rpo evaluate --run {record.run} --model {name}",
        )
    return record


def _read_record(path: Path) -> TrainedModel:
    try:
        return TrainedModel.model_validate(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise SettingsError(
            f"The record {path} of a training run is damaged: {error}.",
            next_step="Move its folder away, or train it again.",
        ) from error


def _require_same_base(record: TrainedModel, serve: Serve, endpoint: str, name: str) -> None:
    """Refuse what is known to be another model; where only names differ, the shapes decide at the conversion."""
    served = model_file(serve, endpoint)
    embedded = model_file(Serve(), endpoint) if serve.model_path or record.model == EMBEDDED_MODEL else served
    trained = embedded if record.model == EMBEDDED_MODEL else Path(record.model).expanduser().resolve()
    comparable = record.model == EMBEDDED_MODEL or trained.suffix == ".gguf" or (trained.is_dir() and served.is_dir())
    if trained != served and comparable:
        raise AdapterError(
            f"The training run {name!r} is an adapter of {record.model}, and endpoint {endpoint!r} serves {served}.",
            safe="Nothing was started.",
            next_step=f"Set endpoints.{endpoint}.serve.model_path to the model that it was trained on.",
        )
