"""A small data folder with a run, for the tests of what maintains it."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

from models.base import digest
from models.records import LlmCall, Metric, PartRef
from storage.manifests import Manifest, RunStatus, save
from storage.parts import PartStore
from storage.roots import Root

OLD_STORE = Path(__file__).parent / "old"
"""Parts and manifest as the factory of 21 November 2026 (fc827f9) wrote them: before ``mode``, ``round``, ``split``,
``reference_origin`` and ``repeats_opening``, and before pages had checksums."""


def metric(n: int, run: str = "r") -> Metric:
    return Metric(run=run, model="m", benchmark="b", metric="csr", value=n / 7, low=None, high=1.0, n=n)


def llm_call(name: str) -> LlmCall:
    return LlmCall(
        request_hash=name,
        stage="sample_responses",
        role="policy",
        model="m",
        prompt_tokens=1,
        completion_tokens=2,
        seconds=0.5,
        tries=1,
        cost=None,
        cached=False,
        error=None,
    )


def write_metrics(root: Root, name: str, *, inputs: tuple[PartRef, ...] = (), rows: int = 20) -> PartRef:
    return PartStore(root).write("metrics", digest(name), [metric(n, name) for n in range(rows)], inputs=inputs)


def save_run(root: Root, run: str, *parts: PartRef, status: RunStatus = "complete", **more: str) -> None:
    now = datetime.now(UTC)
    values = {"run": run, "settings_hash": "", "settings": {}, "started_at": now, "status": status, **more}
    save(root, Manifest.model_validate({**values, "parts": list(parts)}))


def make_older(root: Path, hours: float = 48) -> None:
    """As if everything had been written so long ago."""
    then = time.time() - hours * 3600
    for path in root.rglob("*"):
        os.utime(path, (then, then), follow_symlinks=False)


def files_under(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if not path.is_dir()}
