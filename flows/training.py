"""Training: a factory run's pairs to a trained policy, by a process of its own that this flow starts and follows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import Task, flow, task
from prefect.client.schemas import TaskRun
from prefect.client.schemas.objects import State

from flows import run as current_run
from flows.cancellation import is_cancelled, show_as_cancelled
from flows.report.publishing import publish_report
from flows.trained import read_trained
from flows.training_artifacts import TrainingProgress, publish_training
from models.errors import SettingsError
from models.loading import validate_settings
from models.settings import Export, FactorySettings
from models.training import EMBEDDED_MODEL, TrainingConfig, TrainingOutcome, TrainingRecord, TrainingSettings
from storage.exports import export_run, select_rows
from storage.files import atomic_file
from storage.locks import locked
from storage.manifests import Manifest, load
from storage.parts import PartStore
from storage.roots import data_root, machine_dir
from tasks.training.checkpoints import identity_of, require_same
from tasks.training.data import EXPORTS, hash_files
from tasks.training.launch import (
    LOG,
    TrainerCrashedError,
    find_preset,
    require_extra,
    run_trainer,
)
from tasks.training.record import RECORD

TRAINING_FOLDER = "training"
SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Training:
    """A training run: its folder and what it was asked for."""

    settings: TrainingSettings
    manifest: Manifest
    folder: Path

    @property
    def rows(self) -> Path:
        """Where the rows rest that it is trained on."""
        return self.folder / "rows"


@flow(
    name="train",
    flow_run_name="train {settings.run}",
    on_cancellation=[show_as_cancelled],
    on_failure=[show_as_cancelled],
)
def train(settings: TrainingSettings) -> TrainingOutcome:
    """Train a policy on the pairs of a finished factory run (paper, section 4.1).

    Args:
        settings: Which pairs, and how.
    """
    with open_training(settings) as training:
        left_out = select_pairs(training)
        config = write_config(training)
        finished = read_finished(training, config)
        record = finished or launch_trainer(training)
        publish_training(training.folder, config, record, left_out)
    publish_report(settings.data, settings.run)
    return TrainingOutcome(
        name=training.folder.name,
        folder=str(training.folder),
        rows_left_out=left_out,
        reused=finished is not None,
        record=record,
    )


@contextmanager
def open_training(settings: TrainingSettings) -> Iterator[Training]:
    """Check what can be checked before anything is made, and lock the training run's folder.

    Raises:
        SettingsError: The extra ``train`` is missing, or there is no such preset.
        StorageError: There is no such run, or another process trains under this name.
    """
    require_extra()
    find_preset(settings.preset)
    manifest = load(data_root(settings.data), settings.run)
    if manifest.is_evaluation:
        raise SettingsError(
            f"{settings.run!r} is an evaluation: it has no pairs.",
            next_step=f"Type: rpo train --run {manifest.evaluates or 'RUN'}",
        )
    folder = machine_dir(settings.data).resolve() / TRAINING_FOLDER / settings.training_name
    lock = folder.with_name(f"{folder.name}.lock")
    with locked(lock, f"The training run {folder.name!r}", otherwise="`--name NAME`"):
        yield Training(settings, manifest, folder)


@task(name="select pairs")
def select_pairs(training: Training) -> dict[str, int]:
    """Write the rows to train on; returns how many the filter left out, by rule.

    A folder that holds another training run is refused before its rows are touched.

    Raises:
        SettingsError: The folder holds a run of another configuration or on other rows.
        StorageError: The run has no audited pairs, or the rows cannot be written.
    """
    settings, folder = training.settings, training.folder
    method = settings.training.method
    # One process at a time has the folder: what is there is of one that was killed. Beside the place where the rows
    # will stay, as a rename does not cross disks.
    building = folder / ".rows.tmp"
    shutil.rmtree(building, ignore_errors=True)
    try:
        export = Export(formats=[EXPORTS[method]], validation_share=settings.validation_share)
        export_run(
            PartStore(data_root(settings.data)), training.manifest, export, target=building / "export", card=False
        )
        left_out: dict[str, int] = {}
        for split in SPLITS:
            selection = select_rows(
                building / "export" / EXPORTS[method] / f"{split}.jsonl",
                building / "rows" / f"{split}.jsonl",
                settings.pairs if split == "train" else settings.pairs.model_copy(update={"max_rows": None}),
            )
            if split == "train":
                left_out = selection.left_out
        require_same(folder, identity_of(_config(training, building / "rows"), _hash(building / "rows")))
        shutil.rmtree(training.rows, ignore_errors=True)
        (building / "rows").rename(training.rows)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return left_out


def write_config(training: Training) -> TrainingConfig:
    """The trainer's configuration, as the file that its process reads."""
    config = _config(training, training.rows)
    with atomic_file(training.folder / "config.json", "Training configuration") as file:
        file.write(config.model_dump_json(indent=1).encode())
    return config


def _config(training: Training, rows: Path) -> TrainingConfig:
    validation = rows / "validation.jsonl"
    options = training.settings.training
    model, adapter = (options.model, None) if options.model else policy_weights(training.manifest, training.settings)
    return TrainingConfig(
        **options.model_dump(exclude={"model"}),
        model=place_of(model),
        adapter=adapter,
        run=training.settings.run,
        train_file=str(rows / "train.jsonl"),
        validation_file=str(validation) if validation.stat().st_size else None,
        output=str(training.folder),
    )


def place_of(model: str) -> str:
    """A model beside the person, in full: the trainer's process works in another folder."""
    path = Path(model).expanduser()
    return str(path.resolve()) if model != EMBEDDED_MODEL and path.exists() else model


def policy_weights(manifest: Manifest, settings: TrainingSettings) -> tuple[str, str | None]:
    """The policy that the pairs were sampled from: its model, and the adapter that a training run made for it.

    RPO's reference is the policy that sampled, so a later round goes on from the adapter of the one before it.

    Raises:
        SettingsError: The run's settings name a server, and weights are not known; or its training run is gone.
    """
    if manifest.policy is None:
        return policy_model(manifest), None
    here = machine_dir(settings.data).resolve()
    folder = here / TRAINING_FOLDER / manifest.policy
    trained = read_trained(here, manifest.policy)
    if not trained.adapter:
        return str(folder / "final"), None
    if settings.training.lora_rank == 0:
        raise SettingsError(
            f"The policy of run {manifest.run!r} is {trained.model} with the adapter {folder / 'final'}, and "
            "training.lora_rank = 0 trains all weights of one model.",
            safe="Nothing was trained.",
            next_step=f"Merge them and type: rpo train --run {manifest.run} --set training.model=FOLDER, or leave "
            "lora_rank as it is.",
        )
    return trained.model, str(folder / "final")


def policy_model(manifest: Manifest) -> str:
    """The weights of the policy of a run that sampled from no trained one.

    Raises:
        SettingsError: The run's settings name a server, and weights are not known; or they are two files.
    """
    given: FactorySettings = validate_settings(manifest.settings, source=f"the manifest of run {manifest.run}")
    role = given.roles.policy
    endpoint = given.endpoints[role.endpoint]
    serve = endpoint.serve
    if serve is None:
        raise SettingsError(
            f"The policy of run {manifest.run!r} is served by the endpoint {role.endpoint!r}: where its weights are is "
            "not known.",
            next_step="Say which model is to be trained: --set training.model=FOLDER (or a Hub name).",
        )
    if serve.lora_path is not None:
        raise SettingsError(
            f"The policy of run {manifest.run!r} is a model with the adapter {serve.lora_path}: training would begin "
            "without it.",
            next_step="Merge them, and say which model is to be trained: --set training.model=FOLDER.",
        )
    return serve.model_path or (endpoint.model if serve.engine == "vllm" else EMBEDDED_MODEL)


def _hash(rows: Path) -> str:
    paths = [rows / f"{split}.jsonl" for split in SPLITS]
    return hash_files(*(path if path.stat().st_size or path.stem == "train" else None for path in paths))


def read_finished(training: Training, config: TrainingConfig) -> TrainingRecord | None:
    """The record of this very training run, where it is finished already."""
    path = training.folder / RECORD
    if not path.is_file() or not require_same(training.folder, identity_of(config, _hash(training.rows))):
        return None
    return TrainingRecord.model_validate_json(path.read_bytes())


def launch_trainer(training: Training) -> TrainingRecord:
    """Run the trainer, again from its last checkpoint when it dies, and read what it came to."""
    bound: Task[[Training], TrainingRecord] = follow_trainer.with_options(
        retries=training.settings.retries, retry_delay_seconds=2, retry_condition_fn=_has_crashed
    )
    return bound(training)


def _has_crashed(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """A refused input is refused again; a dead process may live."""
    return isinstance(state.result(raise_on_failure=False), TrainerCrashedError)


@task(name="train", cache_result_in_memory=False)
def follow_trainer(training: Training) -> TrainingRecord:
    """The trainer's process from start to end, with its lines in the log and its steps as progress."""
    with TrainingProgress(training.folder, current_run.listener) as progress:
        run_trainer(
            training.folder / "config.json",
            find_preset(training.settings.preset),
            training.folder / LOG,
            say=progress.say,
            should_stop=is_cancelled,
        )
    return TrainingRecord.model_validate_json((training.folder / RECORD).read_bytes())
