"""The commands ``rpo score``: numbers of benchmarks for answers that exist already. No call is made."""

from __future__ import annotations

from cyclopts import App

app = App(
    name="score",
    help="Score answers that exist already, as a public benchmark does. No call is made.",
    version_flags=[],
)
