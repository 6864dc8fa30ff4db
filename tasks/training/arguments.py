"""One configuration, TRL's arguments for each method."""

from __future__ import annotations

from typing import Any

import torch
from trl import DPOConfig, KTOConfig, SFTConfig

from models.training import TrainingConfig
from tasks.training.trainer import RPOConfig


def use_bf16(config: TrainingConfig) -> bool:
    """Whether to train in bf16: on a GPU that has it, unless the configuration says otherwise."""
    if config.precision == "auto":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return config.precision == "bf16"


def batch_shape(config: TrainingConfig, processes: int) -> tuple[int, int]:
    """Rows a device holds at once, and how often it does so before a step: their product over all devices is a step."""
    device = max(1, min(config.device_batch, config.global_batch // processes))
    return device, max(1, round(config.global_batch / (device * processes)))


def build_arguments(config: TrainingConfig, *, processes: int, validate: bool) -> Any:
    """The arguments of the method's trainer."""
    device_batch, accumulation = batch_shape(config, processes)
    common: dict[str, Any] = {
        "output_dir": f"{config.output}/checkpoints",
        "seed": config.seed,
        "data_seed": config.seed,
        "learning_rate": config.peak_learning_rate,
        "lr_scheduler_type": config.schedule,
        "warmup_steps": config.warmup,
        "num_train_epochs": config.epochs,
        "max_steps": config.max_steps or -1,
        "per_device_train_batch_size": device_batch,
        "per_device_eval_batch_size": device_batch,
        "gradient_accumulation_steps": accumulation,
        "gradient_checkpointing": config.gradient_checkpointing,
        # rows that do not fit were refused before; nothing is left for it to cut
        "max_length": config.max_length,
        "bf16": use_bf16(config),
        "use_cpu": not torch.cuda.is_available(),
        "save_strategy": "steps",
        "save_steps": config.save_steps,
        "save_total_limit": config.keep_checkpoints,
        "eval_strategy": "epoch" if validate else "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "report_to": [],
    }
    preference = {
        "beta": config.beta,
        "loss_type": [config.loss],
        "label_smoothing": config.label_noise,
        "precompute_ref_log_probs": config.precompute_reference,
    }
    match config.method:
        case "rpo":
            return RPOConfig(**common, **preference, gamma=config.gamma, margin_scale=config.margin_scale)
        case "dpo":
            return DPOConfig(**common, **preference)
        case "kto":
            return KTOConfig(**common, beta=config.beta)
        case "sft":
            return SFTConfig(**common, completion_only_loss=True)
