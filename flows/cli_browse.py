"""The command ``rpo browse``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flows.cli_options import Data, RunToRead
from storage.roots import data_root

PORT = 4280


def browse(
    *,
    run: RunToRead = None,
    data: Data = "data",
    port: Annotated[int, Parameter(help="Port on 127.0.0.1; 0: any that is free.")] = PORT,
    open_: Annotated[bool, Parameter(name="--open", help="Open the page in the browser.")] = True,
) -> None:
    """Look at the pairs of a run one at a time, in the browser: search, filter, flag. Ctrl-C ends it.

    It answers on this machine only, and changes nothing but flags.
    """
    import webbrowser

    # imported here: DuckDB and the web server take a second
    from flows.browse.server import Browser, listen, make_app, serve
    from flows.terminal import out
    from storage.browse import open_index
    from storage.manifests import load, newest_run
    from storage.parts import PartStore

    store = PartStore(data_root(data))
    manifest = load(store.place, run or newest_run(store.place))
    listening = listen(port)
    pairs = sum(ref.rows for ref in manifest.parts_of("pairs"))
    out.print(
        f"{pairs:,} pairs of run {manifest.run}; the first time they are indexed ...", markup=False, highlight=False
    )
    index = open_index(store, manifest)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    out.print(f"Pairs at {address}  (Ctrl-C ends it)", markup=False, highlight=False)
    if open_:
        webbrowser.open(address)
    serve(make_app(Browser(store, manifest, index), listening.getsockname()[1]), listening)
    index.close()
