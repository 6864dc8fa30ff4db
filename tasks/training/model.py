"""The policy before training: loaded from a model folder, a Hub name or a GGUF file, and recognised again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig

from models.errors import FactoryError, SettingsError
from models.training import EMBEDDED_MODEL, TrainingConfig
from tasks.llm.engines import find_embedded_model

EMBEDDED_HUB_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""What the embedded GGUF is a quantisation of: the base that an adapter trained on it names."""


@dataclass(frozen=True)
class Source:
    """Where a model's weights are."""

    path: str
    gguf_file: str | None
    name: str
    """How adapters and cards call it."""

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of ``from_pretrained``."""
        return {"gguf_file": self.gguf_file} if self.gguf_file else {}


def find_source(model: str) -> Source:
    """Where the weights of a configured model are.

    Raises:
        SettingsError: A path that is no model.
    """
    if model == EMBEDDED_MODEL:
        file = find_embedded_model()
        return Source(str(file.parent), file.name, EMBEDDED_HUB_NAME)
    path = Path(model).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise SettingsError(f"model: there is no file {path}.", next_step="Give the path of a GGUF file.")
        return Source(str(path.parent), path.name, path.stem)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise SettingsError(
                f"model: the folder {path} holds no config.json, so it is no Hugging Face model.",
                next_step="Give the folder that `save_pretrained` wrote. An adapter is not a model: merge it first.",
            )
        return Source(str(path), None, model)
    if path.is_absolute() or model.startswith(("./", "../", "~")):
        raise SettingsError(f"model: there is no folder {path}.", next_step="Give a model folder or a Hub name.")
    return Source(model, None, model)


def load_tokenizer(source: Source) -> Any:
    """The tokenizer of a model.

    Raises:
        SettingsError: It cannot be loaded, or has no chat template: the rows are chats.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.path, **source.options)
    except (OSError, ValueError, KeyError) as error:
        raise _cannot_load("tokenizer", source, error) from error
    if not tokenizer.chat_template:
        raise SettingsError(
            f"model: {source.name} has no chat template, and the rows are chats.",
            safe="Nothing was trained.",
            next_step="Take the instruction-tuned model, or add a chat_template.jinja to its folder.",
        )
    return tokenizer


def load_policy(source: Source, *, bf16: bool) -> Any:
    """The model of a source, in bf16 or float32; quantised GGUF weights are made whole.

    Raises:
        SettingsError: It cannot be loaded.
    """
    quantised = {"quantization_config": GgufConfig(dequantize=True)} if source.gguf_file else {}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source.path, dtype=torch.bfloat16 if bf16 else torch.float32, **source.options, **quantised
        )
    except (OSError, ValueError, KeyError) as error:
        raise _cannot_load("model", source, error) from error
    if source.gguf_file:
        # it is an ordinary model from here on: saving it must not claim to be a GGUF
        model.config.quantization_config = None
        model.hf_quantizer = None
    # what an adapter names as its base: no folder of this machine where there is a better name
    model.name_or_path = model.config.name_or_path = source.name
    return model


def load_adapter(policy: Any, folder: str) -> Any:
    """The policy with a trained adapter, to be trained on.

    Raises:
        SettingsError: The folder holds no adapter of this model.
    """
    try:
        return PeftModel.from_pretrained(policy, folder, is_trainable=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise SettingsError(
            f"The adapter {folder} cannot be loaded onto {policy.config.name_or_path}: {str(error)[:300]}",
            safe="Nothing was trained.",
            next_step="Train the round before it again, or say which model to train: --set training.model=FOLDER",
        ) from error


def context_length(source: Source) -> int | None:
    """Positions that a model was made for, where its configuration says so.

    Raises:
        SettingsError: The configuration cannot be loaded.
    """
    try:
        config = AutoConfig.from_pretrained(source.path, **source.options)
    except (OSError, ValueError, KeyError) as error:
        raise _cannot_load("configuration", source, error) from error
    return getattr(config, "max_position_embeddings", None)


def _cannot_load(what: str, source: Source, error: Exception) -> FactoryError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return SettingsError(
        f"The {what} of {source.name} cannot be loaded: {reason[:300]}",
        safe="Nothing was trained.",
        next_step="Give model a folder that holds it, or a Hub name that this machine can reach.",
    )


def adapter_config(config: TrainingConfig) -> LoraConfig | None:
    """LoRA on all linear layers (paper, section 4.1), or None where all weights are trained."""
    if config.lora_rank == 0:
        return None
    return LoraConfig(
        r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )


def fingerprint(model: Any) -> str:
    """A hash by which weights are known again: every parameter's name and shape, and its first values."""
    total = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        total.update(f"{name}{tuple(parameter.shape)}".encode())
        total.update(parameter.detach().flatten()[:64].float().cpu().numpy().tobytes())
    return total.hexdigest()
