"""The report of a run: one self-contained HTML file, made from the run's tables."""

from __future__ import annotations

from pathlib import Path

from storage.roots import Root, machine_dir

REPORTS_FOLDER = "reports"


def report_path(data: Root | str, run: str) -> Path:
    """Where the report of a run rests: in DATA, or on this machine where DATA is a store, like the exports."""
    return machine_dir(data) / REPORTS_FOLDER / f"{run}.html"
