"""Trains a policy on an export: ``accelerate launch -m tasks.training.rpo --config FILE``.

One program for RPO and, through TRL's own trainers, the paper's baselines DPO, SFT and KTO. It goes on from its last
checkpoint when it is started again, and ends with exit status 2 where the input is to blame: trying again would not
help.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from pydantic import ValidationError

from models.errors import FactoryError, SettingsError
from models.training import EMBEDDED_MODEL, TrainingConfig

WRONG_INPUT = 2


def main() -> None:
    """Reads the configuration and trains."""
    parser = argparse.ArgumentParser(prog="tasks.training.rpo", description="Train a policy on preference pairs.")
    parser.add_argument("--config", type=Path, required=True, help="JSON file with the fields of TrainingConfig")
    parser.add_argument(
        "--stop-with-stdin", action="store_true", help="end when standard input is closed: with whoever started this"
    )
    options = parser.parse_args()
    # nobody is told what is trained here; this must be set before the libraries are imported
    os.environ.update(HF_HUB_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1")
    if options.stop_with_stdin:
        threading.Thread(target=_stop_with_stdin, daemon=True).start()
    try:
        config = read_config(options.config)
        if config.model == EMBEDDED_MODEL or Path(config.model).expanduser().exists():
            os.environ["HF_HUB_OFFLINE"] = "1"  # everything is here: nobody is asked, and nothing waits for an answer
        # the heavy imports: a wrong configuration is refused before them
        from tasks.training.session import train

        train(config)
    except FactoryError as error:
        _report(error)
        sys.exit(WRONG_INPUT)
    except Exception as error:
        known = explain(error, options.config)
        if known is None:
            raise
        traceback.print_exc()
        _report(known)
        sys.exit(WRONG_INPUT)


def read_config(path: Path) -> TrainingConfig:
    """The configuration in a JSON file.

    Raises:
        SettingsError: It cannot be read, or a field is unknown, missing or out of bounds.
    """
    try:
        return TrainingConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"The configuration {path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'file'}: {problem['msg']}" for problem in error.errors()
        )
        raise SettingsError(f"In {path}: {problems}.", safe="Nothing was trained.") from error


def explain(error: Exception, path: Path) -> FactoryError | None:
    """What a library's exception means to the user, where it is one of those that happen."""
    text = f"{error} {error.__cause__ or ''}"
    if "No space left on device" in text or _disk_is_full(path):
        return SettingsError(
            f"The disk that holds {path.parent} is full.",
            safe="The last whole checkpoint is kept.",
            next_step="Make room, then start the same training again: it goes on from there.",
        )
    if type(error).__name__ == "OutOfMemoryError":
        return SettingsError(
            "The device has too little memory for this batch.",
            safe="The last whole checkpoint is kept.",
            next_step="Lower training.device_batch (the step keeps its size) or training.max_length, set "
            "training.gradient_checkpointing = true, or take the preset zero3_8gpu.",
        )
    return None


def _disk_is_full(path: Path) -> bool:
    try:
        status = os.statvfs(path.parent)
    except OSError:
        return False
    return status.f_bavail * status.f_frsize < 1 << 20


def _report(error: FactoryError) -> None:
    if os.environ.get("RANK", "0") != "0":
        return
    for name, text in (("error", error.what), ("safe", error.safe), ("next", error.next_step)):
        if text:
            print(f"{name}: {text}", file=sys.stderr, flush=True)


def _stop_with_stdin() -> None:
    """Ends the whole process group when whoever started it is gone, however that ended."""
    while True:
        readable, _, _ = select.select([0], [], [], 1.0)
        if readable and not os.read(0, 4096):
            print("error: the flow that started this training is gone", file=sys.stderr, flush=True)
            os.killpg(os.getpgrp(), signal.SIGTERM)
            time.sleep(10)
            os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main()
