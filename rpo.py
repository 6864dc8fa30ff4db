"""The entry point of the command ``rpo``.

The factory is an application that runs from its checkout, as Prefect projects do. Its rooms have generic names
(``flows``, ``tasks``, ``storage``, ``models``), so the checkout goes first on the path: a package of the same name in
the environment must not win.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """Run the command line."""
    root = str(Path(__file__).resolve().parent)
    if sys.path[:1] != [root]:
        sys.path.insert(0, root)

    from flows.cli import run_command

    run_command()


if __name__ == "__main__":
    main()
