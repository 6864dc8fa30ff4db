"""The trainer as a process of its own: started by ``accelerate launch``, followed, and never left behind."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import FactoryError, SettingsError, StageError

PROJECT_ROOT = Path(__file__).resolve().parents[2]
PRESETS = PROJECT_ROOT / "deployments" / "accelerate"
LOG = "train.log"
_LOOK_EVERY_S = 2.0
_STOP_TIMEOUT_S = 10.0
_LOG_LINES = 12


class TrainerCrashedError(StageError):
    """The trainer's process died; starting it again may help."""


class TrainingStoppedError(StageError):
    """Someone asked for the training to be stopped."""


def find_preset(preset: str) -> Path:
    """The accelerate configuration of a preset's name, or the file itself.

    Raises:
        SettingsError: There is none.
    """
    if preset == "auto":
        preset = "gpu" if shutil.which("nvidia-smi") else "cpu"
    for path in (PRESETS / f"{preset}.yaml", Path(preset).expanduser()):
        if path.is_file():
            return path.resolve()
    known = ", ".join(sorted(path.stem for path in PRESETS.glob("*.yaml")))
    raise SettingsError(
        f"There is no preset {preset!r} and no file of that name; presets: {known}.",
        next_step="Make a file with `accelerate config --config_file FILE`, and give its path.",
    )


def require_extra() -> None:
    """Refuse at the door what would fail in the child.

    Raises:
        SettingsError: The extra ``train`` is not installed.
    """
    missing = [name for name in ("torch", "trl", "peft", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"Training needs the extra `train`: {', '.join(missing)} cannot be imported.",
            next_step="Type: make install-train",
        )


def run_trainer(
    config: Path, preset: Path, log: Path, *, say: Callable[[str], None], should_stop: Callable[[], bool]
) -> None:
    """Run ``tasks.training.rpo`` to its end.

    Args:
        config: File with its configuration.
        preset: Accelerate configuration file.
        log: File that its output is appended to.
        say: Told each line that it says to people.
        should_stop: Asked every two seconds; True ends the whole process group.

    Raises:
        TrainingStoppedError: ``should_stop`` said so.
        FactoryError: The trainer refused its input, in its own words.
        TrainerCrashedError: It died.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stderr:
        began = stderr.tell()
        command = ["--quiet", "--config_file", str(preset), "-m", "tasks.training.rpo", "--config", str(config)]
        with _process_group(
            [sys.executable, "-m", "accelerate.commands.launch", *command, "--stop-with-stdin"], stderr.fileno()
        ) as child:
            for line in _lines(child, should_stop):
                with log.open("ab") as file:
                    file.write(line.encode() + b"\n")
                say(line)
            status = child.wait()
    if status == 0:
        return
    with log.open("rb") as file:
        file.seek(began)
        said = file.read().decode("utf-8", "replace").splitlines()
    refusal = read_refusal(said)
    if refusal is not None:
        raise refusal
    end = "\n".join(f"  {line[:300]}" for line in said[-_LOG_LINES:])
    raise TrainerCrashedError(
        f"The trainer ended with exit status {status}. End of {log}:\n{end}\n",
        safe="The last whole checkpoint is kept.",
        next_step="Start the same training again: it goes on from there.",
    )


@contextmanager
def _process_group(command: list[str], stderr: int) -> Iterator[subprocess.Popen[str]]:
    """A child in a process group of its own, which ends with the body: the launcher and all that it started."""
    child = subprocess.Popen(
        command,
        cwd=PROJECT_ROOT,
        # held open as long as this process lives: its end ends the trainer, however we die
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        errors="replace",
        env={"OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false", **os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    try:
        yield child
    finally:
        _end_group(child)


def _end_group(child: subprocess.Popen[str]) -> None:
    """Also where the launcher itself has ended: what it started may still be there."""
    for wish, patience in ((signal.SIGTERM, _STOP_TIMEOUT_S), (signal.SIGKILL, _STOP_TIMEOUT_S)):
        deadline = time.monotonic() + patience
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, wish)
            while time.monotonic() < deadline:
                child.poll()
                os.killpg(child.pid, 0)
                time.sleep(0.1)
    child.poll()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()


def _lines(child: subprocess.Popen[str], should_stop: Callable[[], bool]) -> Iterator[str]:
    """What the child says, until it ends."""
    said: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert child.stdout is not None  # noqa: S101 - it was opened with a pipe
        with contextlib.suppress(ValueError):  # closed while we read: the child is being ended
            for line in child.stdout:
                said.put(line.rstrip("\n"))
        said.put(None)

    threading.Thread(target=read, daemon=True).start()
    looked = time.monotonic()
    while True:
        if time.monotonic() - looked > _LOOK_EVERY_S:
            looked = time.monotonic()
            if should_stop():
                raise TrainingStoppedError(
                    "The training was cancelled.",
                    safe="The last whole checkpoint is kept.",
                    next_step="Start the same training again to go on from there.",
                )
            if child.poll() is not None and said.empty():
                return  # its pipe may be held open by a process that it left behind
        with contextlib.suppress(queue.Empty):
            line = said.get(timeout=0.5)
            if line is None:
                return
            yield line


def read_refusal(lines: list[str]) -> FactoryError | None:
    """The last message in the factory's own form, where the trainer ended with one."""
    found: dict[str, str] = {}
    for line in lines:
        name, colon, text = line.partition(": ")
        if colon and name == "error":
            found = {}
        if colon and name in ("error", "safe", "next"):
            found[name] = text
    if "error" not in found:
        return None
    return SettingsError(found["error"], safe=found.get("safe", ""), next_step=found.get("next", ""))
