"""A training session: from a configuration to a finished folder, beginning or going on from a checkpoint."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import datasets
from accelerate import PartialState
from transformers import PrinterCallback
from transformers.trainer_utils import set_seed
from trl import DPOTrainer, KTOTrainer, SFTTrainer

from models.base import digest
from models.errors import SettingsError
from models.training import Method, Refusal, TrainingConfig, TrainingRecord
from storage.files import atomic_file
from tasks.training import record as records
from tasks.training.arguments import batch_shape, build_arguments, use_bf16
from tasks.training.callbacks import MarkWhole, Report, numbers
from tasks.training.checkpoints import begin_or_continue, identity_of, step_of
from tasks.training.data import hash_files, split_by_length
from tasks.training.model import (
    Source,
    adapter_config,
    context_length,
    find_source,
    fingerprint,
    load_adapter,
    load_policy,
    load_tokenizer,
)
from tasks.training.trainer import RPOTrainer

TRAINERS: dict[Method, type[Any]] = {"rpo": RPOTrainer, "dpo": DPOTrainer, "kto": KTOTrainer, "sft": SFTTrainer}
REFUSED = "refused.jsonl"
REFERENCE_ADAPTER = "ref"
"""What TRL calls the frozen copy of an adapter that training began with."""
_BYTES_OF_A_TRAINED_PARAMETER = 12
"""float32 weight and AdamW's two moments: what a checkpoint holds."""


def train(config: TrainingConfig) -> TrainingRecord | None:
    """Train, and leave everything in the folder ``config.output``.

    Returns:
        The record; None in all processes of a distributed run but the first.

    Raises:
        SettingsError: Wrong rows, a wrong model, too little disk, or a folder that holds another run.
    """
    started = time.monotonic()
    folder = Path(config.output)
    state = PartialState()
    datasets.disable_progress_bars()
    os.environ["TQDM_DISABLE"] = "1"
    set_seed(config.seed)

    source = find_source(config.model)
    tokenizer = load_tokenizer(source)
    rows, validation, refused = _load_rows(config, source, tokenizer)
    policy = load_policy(source, bf16=use_bf16(config))
    if config.adapter:
        policy = load_adapter(policy, config.adapter)
    folder.mkdir(parents=True, exist_ok=True)
    dataset_hash = hash_files(*_files(config))
    identity = identity_of(config, dataset_hash)
    with state.main_process_first():
        checkpoint = begin_or_continue(folder, identity, fingerprint(policy))
    if state.is_main_process:
        _write_refused(folder, refused)
        records.forget_metrics_after(folder, step_of(checkpoint) if checkpoint else 0)

    trainer = _build_trainer(config, source, policy, tokenizer, rows, validation, state.num_processes)
    trainable = sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)
    _require_disk(config, folder, trainable)
    reference = _describe_reference(trainer)
    _say(state, _opening(config, source, reference, rows, validation, refused, trainable, checkpoint, state))

    if checkpoint:
        _go_on_counting(trainer, folder)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    measured = _measure(trainer) if validation else {}
    final, merged = _save(config, folder, trainer, tokenizer)
    if not state.is_main_process:
        return None
    history = [row for row in records.read_metrics(folder) if "loss" in row]
    record = TrainingRecord(
        run=config.run,
        method=config.method,
        model=config.model,
        adapter=config.lora_rank > 0,
        identity=digest(identity),
        reference=reference,
        rows=len(rows),
        validation_rows=len(validation),
        refused=len(refused),
        steps=trainer.state.global_step,
        trainable_parameters=trainable,
        seconds=round(time.monotonic() - started, 1),
        resumed_from=step_of(checkpoint) if checkpoint else None,
        first=numbers(history[0]),
        last=numbers(history[-1]),
        validation=numbers({k: v for k, v in measured.items() if not k.endswith(("_runtime", "_per_second"))}),
        final=str(final),
        merged=str(merged) if merged else None,
        dataset_sha256=dataset_hash,
        versions=records.package_versions(),
    )
    records.draw_curves(folder, f"{folder.name}: {config.method} on {config.model}")
    records.write_card(folder, config, record)
    records.write_record(folder, record)
    _say(state, f"finished: {record.steps} steps in {record.seconds:.0f} s, {final}")
    return record


def _files(config: TrainingConfig) -> list[Path | None]:
    return [Path(config.train_file), Path(config.validation_file) if config.validation_file else None]


def _load_rows(
    config: TrainingConfig, source: Source, tokenizer: Any
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[Refusal]]:
    """Training and validation rows that fit, and the refused of both."""
    limit = min(config.max_length, context_length(source) or config.max_length)

    def count_tokens(chat: list[dict[str, str]]) -> int:
        return len(tokenizer.apply_chat_template(chat, tokenize=True, return_dict=True)["input_ids"])

    train_file, validation_file = _files(config)
    assert train_file is not None  # noqa: S101 - the model requires it
    rows, refused = split_by_length(train_file, config.method, count_tokens, limit)
    if not rows:
        or_else = "" if limit == config.max_length else " and take a model with more context"
        raise SettingsError(
            f"All {len(refused)} rows of {train_file} are longer than {limit} tokens; the first: {refused[0].why}.",
            safe="Nothing was trained, and nothing was cut.",
            next_step=f"Raise training.max_length{or_else}.",
        )
    # KTO takes rows in order and estimates a KL within a batch: neighbours must not be the two sides of one pair
    random.Random(config.seed).shuffle(rows)  # noqa: S311  (an order, not a secret)
    validation: list[dict[str, Any]] = []
    if validation_file is not None:
        validation, more = split_by_length(validation_file, config.method, count_tokens, limit)
        refused += more
    return rows, validation, refused


def _write_refused(folder: Path, refused: list[Refusal]) -> None:
    with atomic_file(folder / REFUSED, "List of refused rows") as file:
        file.write("".join(row.model_dump_json() + "\n" for row in refused).encode())


def _build_trainer(
    config: TrainingConfig,
    source: Source,
    policy: Any,
    tokenizer: Any,
    rows: list[dict[str, Any]],
    validation: list[dict[str, Any]],
    processes: int,
) -> Any:
    arguments = build_arguments(config, processes=processes, validate=bool(validation))
    options: dict[str, Any] = {}
    if config.lora_rank == 0 and config.method in ("rpo", "dpo", "kto") and not config.precompute_reference:
        # TRL would look the reference model up by its name, which a GGUF does not have
        options["ref_model"] = load_policy(source, bf16=use_bf16(config))
    trainer = TRAINERS[config.method](
        model=policy,
        args=arguments,
        train_dataset=datasets.Dataset.from_list(rows),
        eval_dataset=datasets.Dataset.from_list(validation) if validation else None,
        processing_class=tokenizer,
        # an adapter that is there already is trained on, and TRL keeps a frozen copy of it as the reference
        peft_config=None if config.adapter else adapter_config(config),
        callbacks=[MarkWhole(), Report(Path(config.output))],
        **options,
    )
    trainer.remove_callback(PrinterCallback)  # Report says it, in a line a person reads
    return trainer


def _require_disk(config: TrainingConfig, folder: Path, trainable: int) -> None:
    """Refuse before hours of work what the disk cannot hold: the checkpoints and the final weights."""
    copies = config.keep_checkpoints + 1  # one more is written before the oldest goes
    needed = trainable * (_BYTES_OF_A_TRAINED_PARAMETER * copies + 4)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SettingsError(
            f"{folder} needs {needed / 1e9:.2f} GB for {copies} checkpoints and the result; "
            f"{free / 1e9:.2f} GB are free.",
            safe="Nothing was trained.",
            next_step="Make room, lower training.keep_checkpoints, or put data on another disk (--data).",
        )


def _describe_reference(trainer: Any) -> str:
    if isinstance(trainer, RPOTrainer):
        return trainer.reference
    if isinstance(trainer, SFTTrainer):
        return "none (SFT has no reference model)"
    if trainer.ref_model is not None:
        return "a frozen copy of the policy"
    adapters = getattr(trainer.model, "peft_config", None)
    if adapters is None:
        return "the policy before"
    return f"the policy with its {'starting adapter' if REFERENCE_ADAPTER in adapters else 'adapter switched off'}"


def _opening(
    config: TrainingConfig,
    source: Source,
    reference: str,
    rows: list[dict[str, Any]],
    validation: list[dict[str, Any]],
    refused: list[Refusal],
    trainable: int,
    checkpoint: Path | None,
    state: PartialState,
) -> str:
    device, accumulation = batch_shape(config, state.num_processes)
    where = f"{state.num_processes} x {state.device.type}, {'bf16' if use_bf16(config) else 'fp32'}"
    lines = [
        f"method: {config.method} on {source.name}, {trainable:,} parameters trained, {where}",
        f"reference model: {reference}",
        f"rows: {len(rows)} to train on, {len(validation)} held out; "
        f"a step takes {device * accumulation * state.num_processes}",
    ]
    if refused:
        lines.append(f"refused: {len(refused)} rows, listed in {config.output}/{REFUSED}; the first: {refused[0].why}")
    if checkpoint:
        lines.append(f"going on from step {step_of(checkpoint)}")
    return "\n".join(lines)


def _go_on_counting(trainer: Any, folder: Path) -> None:
    """TRL counts the tokens of a process; a run that was resumed has seen those before, too."""
    seen = [row["num_tokens"] for row in records.read_metrics(folder) if "num_tokens" in row]
    trainer._total_train_tokens = int(seen[-1]) if seen else 0


def _measure(trainer: Any) -> dict[str, Any]:
    """Metrics on the held-out rows after the last step; the end of an epoch has measured them already."""
    last = next((row for row in reversed(trainer.state.log_history) if "eval_loss" in row), None)
    if last is not None and last["step"] == trainer.state.global_step:
        return dict(last)
    return dict(trainer.evaluate())


def _say(state: PartialState, text: str) -> None:
    if state.is_main_process:
        print(text, flush=True)


def _save(config: TrainingConfig, folder: Path, trainer: Any, tokenizer: Any) -> tuple[Path, Path | None]:
    final = folder / "final"
    trainer.save_model(str(final))  # gathers shards; every process takes part
    if trainer.accelerator.is_main_process:
        (final / "training_args.bin").unlink(missing_ok=True)  # a pickle, for nobody to load
        shutil.rmtree(final / REFERENCE_ADAPTER, ignore_errors=True)  # the earlier round's: it is kept there
    merged = folder / "merged" if config.merge and config.lora_rank else None
    if merged is not None and trainer.accelerator.is_main_process:
        model = trainer.accelerator.unwrap_model(trainer.model).merge_and_unload()
        model.save_pretrained(merged)
        tokenizer.save_pretrained(merged)
    return final, merged
