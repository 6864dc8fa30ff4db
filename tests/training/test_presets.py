"""The presets of `accelerate launch`, read by accelerate itself."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DeepSpeedPlugin
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_simple_launcher_cmd_env

FOLDER = Path(__file__).parents[2] / "deployments" / "accelerate"
PRESETS = sorted(FOLDER.glob("*.yaml"))


def launch_arguments(preset: str, *options: str) -> Any:
    """What `accelerate launch` makes of a preset before it starts anything."""
    arguments = launch_command_parser().parse_args(["--config_file", str(FOLDER / preset), *options, "script.py"])
    validated, _, _ = _validate_launch_command(arguments)
    return validated


def test_presets_are_these() -> None:
    assert [preset.stem for preset in PRESETS] == ["cpu", "gpu", "zero3_8gpu"]


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.stem)
def test_accelerate_reads_the_preset(preset: Path) -> None:
    config = load_config_from_file(str(preset))
    assert isinstance(config, ClusterConfig)
    # YAML reads a bare no as False
    assert config.mixed_precision in ("no", "bf16")
    assert config.distributed_type.value in ("NO", "DEEPSPEED")
    launch_arguments(preset.name)


def test_gpu_is_one_in_bf16() -> None:
    arguments = launch_arguments("gpu.yaml")
    assert (arguments.num_processes, arguments.use_cpu, arguments.multi_gpu) == (1, False, False)
    _, environment = prepare_simple_launcher_cmd_env(arguments)
    assert environment["CUDA_VISIBLE_DEVICES"] == "0"
    assert environment["ACCELERATE_MIXED_PRECISION"] == "bf16"
    _, environment = prepare_simple_launcher_cmd_env(launch_arguments("gpu.yaml", "--gpu_ids", "3"))
    assert environment["CUDA_VISIBLE_DEVICES"] == "3"


def test_zero3_reaches_deepspeed(monkeypatch: pytest.MonkeyPatch) -> None:
    """DeepSpeed is not installed here: up to the configuration that it would be given."""
    config = load_config_from_file(str(FOLDER / "zero3_8gpu.yaml"))
    assert config.deepspeed_config.keys() <= {field.name for field in dataclasses.fields(DeepSpeedPlugin)}

    arguments = launch_arguments("zero3_8gpu.yaml")
    assert (arguments.use_deepspeed, arguments.num_processes, arguments.mixed_precision) == (True, 8, "bf16")
    arguments.deepspeed_fields_from_accelerate_config = ",".join(config.deepspeed_config)
    _, environment = prepare_deepspeed_cmd_env(arguments)
    assert arguments.nproc_per_node == "8"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    # what every process builds from its environment
    plugin = DeepSpeedPlugin()
    plugin.set_mixed_precision(environment["ACCELERATE_MIXED_PRECISION"])
    zero = plugin.deepspeed_config["zero_optimization"]
    assert zero["stage"] == 3
    assert zero["offload_optimizer"]["device"] == zero["offload_param"]["device"] == "cpu"
    assert zero["stage3_gather_16bit_weights_on_model_save"] is True
    assert plugin.zero3_init_flag is True
    assert plugin.deepspeed_config["bf16"]["enabled"] is True
    # everything that the trainer knows better is left to it
    for name in (
        "train_batch_size",
        "train_micro_batch_size_per_gpu",
        "gradient_accumulation_steps",
        "gradient_clipping",
    ):
        assert plugin.deepspeed_config[name] == "auto"


SCRIPT = """
import json, sys
from accelerate import Accelerator
from tasks.training.trainer import RPOConfig
args = RPOConfig(output_dir=sys.argv[1], bf16=False, report_to=[])
state = Accelerator().state
print(json.dumps({"device": state.device.type, "processes": state.num_processes,
                  "precision": state.mixed_precision, "trainer": str(args.device)}))
"""


def test_cpu_starts_a_script(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    done = subprocess.run(
        [*launch, "--config_file", str(FOLDER / "cpu.yaml"), str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=FOLDER.parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(FOLDER.parents[1])},
    )
    assert done.returncode == 0, done.stderr
    # every value has its default in the file
    assert "were not passed to `accelerate launch`" not in done.stderr
    state = json.loads(done.stdout.splitlines()[-1])
    assert state == {"device": "cpu", "processes": 1, "precision": "no", "trainer": "cpu"}
