"""The page of the report: rendered, and written where it belongs."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from flows.report import report_path
from flows.report.content import Report, collect_report
from flows.report.settings import hide_secrets
from models.errors import SettingsError
from storage.catalog import build_catalog
from storage.files import atomic_file
from storage.manifests import load
from storage.roots import Root

_HERE = Path(__file__).parent
SHORT = 600
"""Characters of a text that are shown at once; the rest unfolds."""


def write_report(root: Root, run: str, to: Path | None = None) -> Path:
    """Write the report of a run, finished or not; returns where. The same run gives the same bytes.

    Args:
        root: The data folder.
        run: A factory run.
        to: The file; None: ``reports/<run>.html`` in DATA, or on this machine where DATA is a store.

    Raises:
        StorageError: There is no such run, a part of it is damaged, or the file cannot be written.
        SettingsError: It is an evaluation, which is part of the report of the run whose models it measures.
    """
    manifest = load(root, run)
    if manifest.evaluates is not None:
        raise SettingsError(
            f"{run!r} is an evaluation; what it measured is in the report of its factory run.",
            next_step=f"Type: rpo report --run {manifest.evaluates}",
        )
    if manifest.status == "running":
        build_catalog(root)  # which knows what there was when a run last ended
    path = to or report_path(root, run)
    page = render_report(collect_report(root, manifest))
    with atomic_file(path, f"The report of run {run}") as file:
        file.write(page.encode("utf-8"))
    return path


def render_report(report: Report) -> str:
    """The page, as text: one file that asks for nothing, runs nothing and says so in its policy."""
    style = (_HERE / "page.css").read_text("utf-8")
    hashed = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    page = _environment().get_template("page.html")
    return page.render(report=report, style=Markup(style), style_hash=hashed)  # noqa: S704  (our own file)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"moment": _moment, "duration": _duration, "percent": _percent, "bare": hide_secrets}
    environment.globals |= {"SHORT": SHORT}
    return environment


def _moment(value: datetime | None) -> str:
    return "" if value is None else value.astimezone(UTC).strftime("%-d %B %Y, %H:%M UTC")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}\u00a0h {minutes}\u00a0min"
    return f"{minutes}\u00a0min {rest}\u00a0s" if minutes else f"{seconds:.1f}\u00a0s"


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "–"


def _plain(value: object) -> object:
    """A text without control codes, which no page may hold; anything else as it is."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _UNSHOWN.sub("\ufffd", value.replace("\r\n", "\n"))
    return value


_UNSHOWN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
