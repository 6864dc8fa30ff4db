"""The command ``rpo import``."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

from cyclopts import App, Parameter

from flows.cli_import_answers import records, responses, verdicts
from models.base import Language
from models.errors import SettingsError
from models.imports import ImportKind, ImportSettings, Layout, Target
from models.loading import validate_as
from models.media import Media

app = App(name="import", help="Take what others made: roles, personas, prompts, systems; responses and verdicts.")
app.command(verdicts)
app.command(responses)
app.command(records)

DEFAULTS = ImportSettings()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """What all imports of rows take."""

    data: Annotated[str, Parameter(help="Folder of the data, or s3://bucket/prefix.")] = DEFAULTS.data
    to: Annotated[str | None, Parameter(help="Seed file to write; without: imports/KIND.jsonl in the data.")] = None
    report: Annotated[
        str | None, Parameter(help="Every row left out, with its line and why: FILE.csv, else JSON lines.")
    ] = None
    layout: Annotated[Layout | None, Parameter(help="Layout of the file; without: told by its columns.")] = None
    map_: Annotated[
        list[str] | None,
        Parameter(name="--map", negative="", help="OURS=COLUMN, such as text=prompt or name=meta.title."),
    ] = None
    language: Annotated[
        Language | None, Parameter(help="All rows are in this language; without: told from each text.")
    ] = None
    keep_language: Annotated[
        list[Language] | None, Parameter(negative="", help="Keep only rows in these languages; without: en and zh.")
    ] = None
    keep_media: Annotated[
        list[Media] | None, Parameter(negative="", help="Keep roles that make or read image, video or audio.")
    ] = None
    near: Annotated[float, Parameter(help="Similarity that makes a near duplicate; 0: only equal texts are.")] = (
        DEFAULTS.near
    )
    min_chars: Annotated[int, Parameter(help="Characters of a description or persona at least.")] = DEFAULTS.min_chars
    max_chars: Annotated[int, Parameter(help="Characters of a description or persona at most.")] = DEFAULTS.max_chars
    max_line_bytes: Annotated[int, Parameter(help="Bytes of a row at most.")] = DEFAULTS.limits.max_line_bytes
    max_ratio: Annotated[float, Parameter(help="Times its size that a compressed file may unpack to.")] = (
        DEFAULTS.limits.max_ratio
    )
    license_: Annotated[str, Parameter(name="--license", help="Licence of the file, for the summary.")] = ""
    as_json: Annotated[bool, Parameter(name="--json", negative="", help="One JSON document on standard output.")] = (
        False
    )


File = Annotated[Path, Parameter(help="JSON lines, a JSON list, CSV, TSV or Parquet; .gz too.")]


@app.command
def roles(file: File, /, *, options: Options = Options()) -> None:
    """Role descriptions: columns of our own seeds, of SysBank, of Persona Hub, or act,prompt."""
    _import("roles", file, options)


@app.command
def personas(file: File, /, *, options: Options = Options()) -> None:
    """Personas, for the simulated users: columns of our own seeds, or of Persona Hub."""
    _import("personas", file, options)


@app.command
def prompts(file: File, /, *, options: Options = Options()) -> None:
    """A collection of prompts (act,prompt or name,prompt), as roles."""
    _import("prompts", file, options)


@app.command
def systems(file: File, /, *, options: Options = Options()) -> None:
    """Roles with constraints, such as SysBank's: no author writes theirs, the run begins behind that stage."""
    _import("systems", file, options)


def _import(kind: ImportKind, file: Path, options: Options) -> None:
    # imported here: `rpo --help` need not wait
    from flows.terminal_importing import follow_rows, show_import
    from tasks.importing import import_seeds

    given: dict[str, Any] = {
        "kind": kind,
        "file": str(file),
        "data": options.data,
        "to": options.to,
        "report": options.report,
        "layout": options.layout,
        "columns": _columns(options.map_ or []),
        "language": options.language,
        "languages": options.keep_language or DEFAULTS.languages,
        "drop_media": [media for media in DEFAULTS.drop_media if media not in (options.keep_media or [])],
        "near": options.near,
        "min_chars": options.min_chars,
        "max_chars": options.max_chars,
        "license": options.license_,
        "limits": {"max_line_bytes": options.max_line_bytes, "max_ratio": options.max_ratio},
    }
    settings = validate_as(ImportSettings, given, source="the options", keys=f"`rpo import {kind} --help`")
    try:
        with follow_rows() as progress:
            summary = import_seeds(settings, progress)
    except KeyboardInterrupt:
        print("Stopped. Nothing was written; the same command begins anew.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    if options.as_json:
        print(summary.model_dump_json())
    else:
        show_import(summary)


def _columns(given: Sequence[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for item in given:
        ours, equals, column = item.partition("=")
        if not equals or not column or ours not in get_args(Target):
            raise SettingsError(
                f"--map takes OURS=COLUMN, not {item!r}.",
                next_step=f"OURS is one of {', '.join(get_args(Target))}; example: --map text=prompt",
            )
        columns[ours] = column
    return columns
