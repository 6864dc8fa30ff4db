"""``rpo export``: the files of a finished run, and its way to a Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.cli_options import Data, Json, RunToRead
from models.errors import HubError, SettingsError
from models.settings import Export, ExportFormat
from storage.roots import data_root

if TYPE_CHECKING:
    from storage.exports import ExportSummary
    from storage.exports.hub import Destination
    from storage.manifests import Manifest


def export(
    *,
    run: RunToRead = None,
    data: Data = "data",
    format_: Annotated[
        list[ExportFormat] | None,
        Parameter(name="--format", negative="", help="Formats to write; without: those of the run's settings."),
    ] = None,
    validation_share: Annotated[
        float | None, Parameter(help="Share of dialogues held out; without: that of the run's settings.")
    ] = None,
    without_flagged: Annotated[
        bool, Parameter(negative="", help="Leave out the pairs that were flagged in `rpo browse`.")
    ] = False,
    license_: Annotated[
        str | None, Parameter(name="--license", help="License of the dataset for its card, such as cc-by-4.0.")
    ] = None,
    push: Annotated[
        str | None,
        Parameter(
            help="ORGANISATION/NAME: make this dataset of the Hub (HF_ENDPOINT) hold the export. The token is that of "
            "HF_TOKEN or `hf auth login`."
        ),
    ] = None,
    private: Annotated[bool, Parameter(negative="", help="With --push: nobody else may see a new dataset.")] = False,
    revision: Annotated[str | None, Parameter(help="With --push: the branch; without: main.")] = None,
    dry_run: Annotated[
        bool, Parameter(negative="", help="With --push: write the export and only say what would be pushed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a finished run again: for TRL, LLaMA-Factory, `datasets` (Parquet), and the baselines SFT, KTO, DPO."""
    from storage.exports import export_run
    from storage.exports.hub import check_destination, push_folder, require_token
    from storage.flags import read_flags
    from storage.manifests import load, newest_run
    from storage.parts import PartStore

    if push is None and (private or revision is not None or dry_run):
        raise SettingsError("--private, --revision and --dry-run belong to --push.", safe="Nothing was written.")
    destination = endpoint = None
    if push is not None:
        destination, endpoint = check_destination(push, private=private, revision=revision)
        if not dry_run:
            require_token()
    root = data_root(data)
    manifest = load(root, run or newest_run(root))
    given = {"formats": format_ or None, "validation_share": validation_share, "license": license_}
    without = read_flags(root) if without_flagged else ()
    summary = export_run(PartStore(root), manifest, _options(manifest, given), without=without)
    told: dict[str, Any] = summary.model_dump()
    if destination is not None:
        told["push"] = _plan(summary, destination, str(endpoint), dry_run)
        if not dry_run:
            _require_rows(summary, manifest.run)
            told["push"] |= push_folder(Path(summary.folder), destination, manifest.run).model_dump()
    if as_json:
        print(json.dumps(told))
    else:
        _show(summary, told.get("push"), manifest.run)


def _options(manifest: Manifest, given: dict[str, Any]) -> Export:
    """The run's own settings of its exports, but for what is given."""
    from pydantic import ValidationError

    known = {name: value for name, value in manifest.settings.get("export", {}).items() if name in Export.model_fields}
    try:
        return Export.model_validate(known | {name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise SettingsError(f"--{option}: {first['msg']}.", safe="Nothing was written.") from error


def _require_rows(summary: ExportSummary, run: str) -> None:
    if not any(count for splits in summary.rows.values() for count in splits.values()):
        raise HubError(
            f"The export of run {run!r} has no rows: there is nothing to push.",
            safe="The Hub was not asked.",
            next_step='`rpo sql "select reason, what, count from exclusions"` says what made no pairs.',
        )


def _plan(summary: ExportSummary, destination: Destination, endpoint: str, dry_run: bool) -> dict[str, Any]:
    from storage.exports.hub import list_files

    return {
        "endpoint": endpoint,
        **destination.model_dump(),
        "dry_run": dry_run,
        "files": list_files(Path(summary.folder)),
    }


def _show(summary: ExportSummary, push: dict[str, Any] | None, run: str) -> None:
    from rich.markup import escape

    from flows.terminal import out

    for name, splits in summary.rows.items():
        counts = ", ".join(f"{count} {split}" for split, count in splits.items())
        out.print(f"{summary.folder}/{name:<13} {counts}", markup=False)
    if summary.dropped:
        out.print(f"{summary.dropped} pairs failed the audit and were left out")
    if summary.flagged:
        out.print(f"{summary.flagged} pairs are flagged and were left out")
    if not any(count for splits in summary.rows.values() for count in splits.values()):
        out.print(f"The run {escape(run)} has no pairs: the files are empty. The table `exclusions` says why.")
    if push is None:
        return
    where = f"{push['repo']} ({push['revision']}) on {push['endpoint']}"
    size = f"{len(push['files'])} files, {sum(push['files'].values()) / 1e6:.1f} MB"
    if push["dry_run"]:
        out.print(f"Would push to {where}{', private if it is new' if push['private'] else ''}: {size}", markup=False)
        for name, length in push["files"].items():
            out.print(f"  {length:>12,}  {name}", markup=False)
    elif push["changed"]:
        out.print(f"Pushed to {where}: {size}, commit {push['commit']}\n{push['url']}", markup=False)
    else:
        out.print(f"{where} has these very files already: no new commit\n{push['url']}", markup=False)
