"""The command ``rpo report``."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.cli_options import Data, Json, RunToRead
from storage.roots import data_root


def report(
    *,
    run: RunToRead = None,
    data: Data = "data",
    to: Annotated[Path | None, Parameter(help="File to write; without: reports/RUN.html in the data folder.")] = None,
    open_: Annotated[bool, Parameter(name="--open", negative="", help="Show it in a browser.")] = False,
    as_json: Json = False,
) -> None:
    """Write the report of a run: one HTML file with pictures, to be opened from disk, sent or printed."""
    # imported here: charts and templates take half a second
    from flows.report.writing import write_report
    from flows.terminal import out
    from storage.manifests import newest_run

    root = data_root(data)
    name = run or newest_run(root)
    path = write_report(root, name, to).resolve()
    if as_json:
        print(json.dumps({"run": name, "report": str(path)}))
    else:
        out.print(str(path), markup=False)
    if open_:
        webbrowser.open(path.as_uri())
