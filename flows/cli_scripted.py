"""The command ``rpo scripted-server``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

app = App(
    name="scripted-server",
    help="Start a scripted model server to try your settings on.",
    help_flags=[],
    version_flags=[],
)


@app.default
def serve_scripted(*options: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> None:
    """Start a scripted model server to try your settings on: it answers every role at no cost, and can misbehave.

    Args:
        options: See ``rpo scripted-server --help``.
    """
    # the server is the tests' own, so that there is one of its kind: the factory runs from its checkout, where tests/
    # is; imported here, as nothing else of the factory needs it
    from tests.scripted_tool import main

    main(options, "rpo scripted-server")
