"""The command ``rpo``."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from flows.cli_browse import browse
from flows.cli_demo import demo
from flows.cli_estimate import run_estimate
from flows.cli_evaluation import compare, evaluate
from flows.cli_export import export
from flows.cli_factory import run_factory
from flows.cli_importing import app as importing
from flows.cli_maintenance import compact, doctor_store, gc
from flows.cli_operate import down, up
from flows.cli_options import Data, Json
from flows.cli_report import report
from flows.cli_resume import resume
from flows.cli_score import app as score
from flows.cli_scripted import app as scripted_server
from flows.cli_training import train
from flows.output import PipedConsole, delivered
from flows.stopping import TerminatedError
from models.errors import FactoryError, SettingsError
from models.loading import SETTINGS_FILE, describe_settings, load_settings
from models.version import VERSION
from storage.places import require_data
from storage.roots import data_root

app = App(
    name="rpo",
    help="Makes preference pairs for Reverse Preference Optimization: seeds in, audited pairs out.",
    version=VERSION,
    suppress_keyboard_interrupt=False,  # we say what is safe, below
    console=PipedConsole(),
    error_console=PipedConsole(stderr=True),
)


app.command(demo)
app.command(train)
app.command(evaluate)
app.command(compare)
app.command(export)
app.command(score)
app.command(browse)
app.command(gc)
app.command(compact)
app.command(up)
app.command(down)
app.command(resume)
app.command(report)
app.command(scripted_server)
app.command(importing)


def run_command() -> None:
    """Run the command line; an error of the factory is shown in its own words, with exit code 1 (2: wrong input)."""
    with delivered():
        try:
            app()
        except FactoryError as error:
            from flows.terminal import show_error

            show_error(error)
            sys.exit(2 if isinstance(error, SettingsError) else 1)
        except KeyboardInterrupt as stopped:
            print("Stopped. Everything completed is stored; the same command goes on from there.", file=sys.stderr)
            number = stopped.signal if isinstance(stopped, TerminatedError) else signal.SIGINT
            sys.exit(128 + number)  # as a shell says it


@app.command
def run(
    *,
    config: Annotated[Path | None, Parameter(help="Settings file; without it factory.toml, if it is there.")] = None,
    run: Annotated[str | None, Parameter(help="Name of the run.")] = None,
    data: Annotated[str | None, Parameter(help="Folder of the data, or s3://bucket/prefix.")] = None,
    policy: Annotated[
        str | None,
        Parameter(
            help="A finished training run: the next round, which samples from its policy. Without a settings file it "
            "has the settings of the run that the policy was trained on."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None, Parameter(name="--set", negative="", help="KEY=VALUE, such as samples=8.")
    ] = None,
    dry_run: Annotated[
        bool,
        Parameter(negative="", help="Only estimate calls, cost, time, pairs and disk, from a sample of the roles."),
    ] = False,
    sample: Annotated[int, Parameter(help="With --dry-run: roles of each language that are run for real.")] = 2,
    as_json: Json = False,
) -> None:
    """Run the factory with your settings. The same command again goes on where the last one stopped."""
    overrides = list(set_ or [])
    if run is not None:
        overrides.append(f"run={json.dumps(run)}")
    if data is not None:
        overrides.append(f"data={json.dumps(data)}")
    settings = load_settings(config, environ=os.environ, overrides=overrides)
    if policy is not None and config is None and not Path(SETTINGS_FILE).is_file():
        from flows.rounds import earlier_settings

        base = earlier_settings(settings.data, policy)
        settings = load_settings(environ=os.environ, overrides=overrides, base=base)
    if dry_run:
        run_estimate(settings, sample, as_json, policy)
    else:
        run_factory(settings, as_json, policy)


@app.command
def status(*, data: Data = "data", as_json: Json = False) -> None:
    """The runs of a data folder: state, parts and rows."""
    from flows.terminal import out
    from storage.manifests import list_runs
    from storage.shared_calls import read_spending

    root = data_root(data)
    spent = read_spending(root)
    runs: list[dict[str, Any]] = []
    for manifest in list_runs(root):
        datasets = {
            name: {"parts": len(refs), "rows": sum(ref.rows for ref in refs)}
            for name in sorted({ref.dataset for ref in manifest.parts})
            if (refs := manifest.parts_of(name))
        }
        runs.append(
            {
                "run": manifest.run,
                "status": manifest.status,
                "started_at": manifest.started_at.isoformat(),
                "finished_at": manifest.finished_at.isoformat() if manifest.finished_at else None,
                "spent": spent.get(manifest.run, (manifest.summary or {}).get("spent")),
                "budget": manifest.settings.get("budget"),
                "datasets": datasets,
            }
        )
    if as_json:
        print(json.dumps(runs))
        return
    if not runs:
        out.print(f"No runs in {data}. Try `rpo demo`.", markup=False)
    for item in runs:
        out.print(f"[bold]{item['run']}[/]  {item['status']}  started {item['started_at'][:19]}Z{_show_spent(item)}")
        for name, counts in item["datasets"].items():
            out.print(f"  {name:<10} {counts['rows']:>9} rows in {counts['parts']} parts")


def _show_spent(item: dict[str, Any]) -> str:
    """What a run has spent, and its budget; nothing where no price is set."""
    if item["spent"] is None:
        return ""
    return f"  spent {item['spent']:.4f}" + (f" of {item['budget']:g}" if item["budget"] else "")


@app.command
def sql(statement: str, *, data: Data = "data", as_json: Json = False) -> None:
    """Ask the tables in SQL; read-only. `main` holds the newest run, every run has a schema of its name.

    Args:
        statement: One SELECT, DESCRIBE, SHOW or EXPLAIN.
        data: Folder of the data.
        as_json: A JSON list with an object a row.
    """
    from flows.terminal import out
    from storage.catalog import query

    root = data_root(data)
    require_data(root)
    result = query(root, statement)
    if as_json:
        print(result.to_json())
        return
    from rich import box
    from rich.table import Table

    table = Table(*result.columns, box=box.SIMPLE_HEAD)
    for row in result.rows:
        table.add_row(*("" if value is None else _plain(value) for value in row))
    out.print(table)


def _plain(value: object) -> str:
    """A cell as text; what models wrote must not be read as the terminal's markup or control codes."""
    from rich.markup import escape

    text = "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in str(value))
    return escape(text)


@app.command
def doctor(
    *,
    config: Annotated[Path | None, Parameter(help="Settings file; without it factory.toml, if it is there.")] = None,
    settings: Annotated[bool, Parameter(negative="", help="List every setting with its default and meaning.")] = False,
    store: Annotated[
        bool, Parameter(negative="", help="Check the data folder instead: every part, manifest and database in it.")
    ] = False,
    data: Annotated[str | None, Parameter(help="With --store: the data folder; without: that of the settings.")] = None,
    as_json: Json = False,
) -> None:
    """Check environment, endpoints, keys and disk, and say what to fix. Exit code 1 if something is wrong."""
    from flows.doctor import check_all
    from flows.terminal import out, show_settings

    if settings:
        show_settings(describe_settings(), as_json)
        return
    if store:
        doctor_store(data or load_settings(config, environ=os.environ).data, as_json)
        return
    findings = check_all(load_settings(config, environ=os.environ))
    if as_json:
        print(json.dumps([finding.model_dump() for finding in findings]))
    else:
        for finding in findings:
            out.print("[green]ok [/]" if finding.ok else "[bold red]fix[/]", finding.what)
            if finding.fix:
                out.print(f"    {finding.fix}", markup=False)
    if not all(finding.ok for finding in findings):
        sys.exit(1)
