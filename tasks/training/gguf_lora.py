"""A trained adapter as llama.cpp reads it: PEFT's LoRA to a GGUF LoRA, applied to the quantised base at serving."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from models.base import digest
from models.errors import AdapterError
from storage.files import atomic_path

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ARCHITECTURE = "llama"

_PREFIX = "base_model.model."
# anything but the default changes what the adapter computes, in a way that a GGUF LoRA cannot say
_PLAIN: dict[str, tuple[object, ...]] = {
    "peft_type": ("LORA",),
    "use_dora": (False, None),
    "bias": ("none", None),
    "lora_bias": (False, None),
    "fan_in_fan_out": (False, None),
    "modules_to_save": (None, []),
    "layer_replication": (None, []),
    "trainable_token_indices": (None, [], {}),
    "target_parameters": (None, []),
    "alora_invocation_tokens": (None, []),
}


class _Base(NamedTuple):
    """What of the base model's GGUF an adapter must fit."""

    heads: int
    key_value_heads: int
    layers: int
    shapes: dict[str, tuple[int, int]]
    """Outputs and inputs of each matrix, by tensor name."""


class _Module(NamedTuple):
    """The adapter of one linear layer: its change of the weights is ``scale * up @ down``."""

    name: str
    down: Any
    up: Any


def adapter_identity(adapter: Path) -> str:
    """The hash of an adapter's weights and of what scales them; the same wherever the adapter lies.

    Raises:
        AdapterError: The folder holds no adapter.
    """
    config = _read_config(adapter)
    scaling = {name: config.get(name) for name in ("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern")}
    with _weights_file(adapter).open("rb") as file:
        return digest([hashlib.file_digest(file, "sha256").hexdigest(), scaling], length=16)


def convert_lora(adapter: Path, base: Path, out: Path) -> None:
    """Write a PEFT adapter of a Llama model as a GGUF LoRA.

    Rows of q and k are put into the order that llama.cpp's rotary embedding has, as its conversion of the base does.

    Args:
        adapter: Folder with ``adapter_config.json`` and ``adapter_model.safetensors``.
        base: GGUF of the model that the adapter belongs to.
        out: The file to write: whole when it is there.

    Raises:
        AdapterError: The extra ``train`` is not installed, or the adapter is none that a GGUF LoRA can express for
            this base: another architecture, other shapes, DoRA, trained embeddings.
        StorageError: The file cannot be written.
    """
    try:
        import gguf
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise AdapterError(
            f"To serve the adapter {adapter} it must be converted, which needs the package {error.name}.",
            safe="The adapter and everything measured are kept.",
            next_step='Type: .venv/bin/pip install -e ".[train]"',
        ) from error
    config = _read_config(adapter)
    _require_plain(config, adapter)
    try:
        weights = load_file(_weights_file(adapter))
    except (OSError, SafetensorError) as error:
        raise _refuse(adapter, f"{ADAPTER_WEIGHTS} cannot be read: {error}") from error
    shape = _read_base(base, adapter)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, shape.layers)
    modules = [_fit(module, names, shape, adapter) for module in _modules(weights, config, adapter)]
    with atomic_path(out, "The GGUF LoRA") as path:
        writer = gguf.GGUFWriter(path, ARCHITECTURE)
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        # llama.cpp scales by alpha / rank, and the rank is each matrix's own
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(config["lora_alpha"]))
        for module in modules:
            writer.add_tensor(f"{module.name}.lora_a", module.down.numpy())
            writer.add_tensor(f"{module.name}.lora_b", module.up.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def _read_config(adapter: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((adapter / ADAPTER_CONFIG).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _refuse(adapter, f"{ADAPTER_CONFIG} cannot be read: {error}") from error
    return config


def _weights_file(adapter: Path) -> Path:
    path = adapter / ADAPTER_WEIGHTS
    if not path.is_file():
        raise _refuse(adapter, f"there is no {ADAPTER_WEIGHTS}")
    return path


def _require_plain(config: dict[str, Any], adapter: Path) -> None:
    for name, plain in _PLAIN.items():
        if name in config and config[name] not in plain:
            raise _refuse(adapter, f"its {name} is {config[name]!r}")
    if not config.get("lora_alpha"):
        raise _refuse(adapter, "its lora_alpha is 0 or missing")


def _read_base(base: Path, adapter: Path) -> _Base:
    import gguf

    try:
        reader = gguf.GGUFReader(base)
    except (OSError, ValueError) as error:
        raise _refuse(adapter, f"the base model {base} cannot be read: {error}") from error

    def value(name: str) -> Any:
        field = reader.get_field(name)
        return None if field is None else field.contents()

    architecture = value("general.architecture")
    if architecture != ARCHITECTURE:
        raise _refuse(
            adapter, f"{base.name} is a model of architecture {architecture!r}, and only Llama's is known here"
        )
    heads = int(value("llama.attention.head_count"))
    return _Base(
        heads,
        int(value("llama.attention.head_count_kv") or heads),
        int(value("llama.block_count")),
        {t.name: (int(t.shape[1]), int(t.shape[0])) for t in reader.tensors if len(t.shape) == 2},
    )


def _modules(weights: dict[str, Any], config: dict[str, Any], adapter: Path) -> Iterator[_Module]:
    """The linear layers of an adapter, each with its own scale brought to ``alpha / rank``."""
    rest = set(weights)
    for key in sorted(weights):
        name, is_down, _ = key.removeprefix(_PREFIX).partition(".lora_A.weight")
        other = key.replace(".lora_A.", ".lora_B.")
        if not is_down or other not in weights:
            continue
        rest -= {key, other}
        down, up = weights[key].float(), weights[other].float()
        rank = down.shape[0]
        alpha = _matching(config.get("alpha_pattern"), name, config["lora_alpha"])
        scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
        yield _Module(name, down, up * (scale / (config["lora_alpha"] / rank)))
    if rest:
        raise _refuse(adapter, f"it holds {min(rest)}, which is no LoRA of a linear layer")


def _matching(patterns: dict[str, Any] | None, name: str, default: Any) -> Any:
    # as PEFT does: a key is a regular expression for the end of a module's name
    found = (value for key, value in (patterns or {}).items() if re.match(rf"(.*\.)?({key})$", name))
    return next(found, default)


def _fit(module: _Module, names: Any, base: _Base, adapter: Path) -> _Module:
    """The module under its GGUF name, q and k permuted."""
    short = names.get_name(module.name)
    tensor = f"{short}.weight"
    if short is None or tensor not in base.shapes:
        raise _refuse(adapter, f"the base model has no layer {module.name}")
    change = (module.up.shape[0], module.down.shape[1])
    if change != base.shapes[tensor]:
        sizes = " and ".join("x".join(map(str, shape)) for shape in (change, base.shapes[tensor]))
        raise _refuse(adapter, f"it was trained on another model: {module.name} is {sizes} in the two")
    up = module.up
    if module.name.endswith(("q_proj", "k_proj")):
        up = _permute(up, base.heads if module.name.endswith("q_proj") else base.key_value_heads)
    return _Module(tensor, module.down.contiguous(), up.contiguous())


def _permute(rows: Any, heads: int) -> Any:
    """Rows from Hugging Face's order (halves of a head) to llama.cpp's (pairs), as its ``LlamaModel.permute``."""
    outputs, rank = rows.shape
    return rows.reshape(heads, 2, outputs // heads // 2, rank).transpose(1, 2).reshape(outputs, rank)


def _refuse(adapter: Path, why: str) -> AdapterError:
    return AdapterError(
        f"The adapter {adapter} cannot be served by llama.cpp: {why}.",
        safe="The adapter is not changed.",
        next_step='Add an endpoint that serves it to factory.toml (yours, or one with serve.engine = "transformers", '
        "model_path and lora_path) and type: rpo evaluate --model NAME=endpoint:ENDPOINT",
    )
