"""The pictures in docs/: a real run in the Prefect UI, as headless Chromium sees it.

    python -m tests.screenshots docs/operating

Starts what ``rpo up`` starts, in a folder of its own; runs the factory over the scripted server, which fails a part of
one judge batch; takes the failed run, resumes it, and takes what there is then. Needs Debian's ``chromium``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import httpx

from tests.flows.conftest import Rpo, free_port
from tests.flows.test_operate import OneBadBatch, Operated, mark_role, write_settings

SIZE = "1400,1000"
LOADED_MS = 25_000
"""So long a page has to ask the server and to draw; Chromium's clock runs ahead while it waits for nothing."""
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
)  # fmt: skip


def take(url: str, path: Path) -> None:
    """A picture of a page."""
    with tempfile.TemporaryDirectory() as profile:
        options = [f"--user-data-dir={profile}", f"--window-size={SIZE}", f"--virtual-time-budget={LOADED_MS}"]
        command = [str(shutil.which("chromium")), *QUIET, *options, f"--screenshot={path}", url]
        subprocess.run(command, capture_output=True, check=True, timeout=180)
    print(f"{path}  {url}", flush=True)


def settings_of(folder: Path, base_url: str) -> dict[str, Any]:
    """A run with a judge, prices, and a role that is made to fail."""
    settings = write_settings(folder, "judged", base_url, judging={"calibration_share": 0.2})
    for endpoint in settings["endpoints"].values():
        endpoint |= {"price_in": 0.5, "price_out": 1.5}
    settings["roles"] |= {
        "author": {"endpoint": "pen", "max_tokens": 4096},
        "responder": {"endpoint": "pen", "max_tokens": 80},
        "judge": {"endpoint": "referee", "max_tokens": 4096},
    }
    mark_role(folder)
    return settings


def take_all(operated: Operated, folder: Path, into: Path) -> None:
    """Every picture, of one run."""
    ui = str(operated.said["ui"])
    form = operated.api.get("/deployments/name/factory/factory").json()["id"]
    take(f"{ui}/deployments/deployment/{form}/run", into / "form.png")
    with OneBadBatch() as server:
        server.script.latency_s = 0.5
        run = operated.run("factory", "factory", settings=settings_of(folder, server.base_url))
        operated.wait(run, "Failed")
        take(f"{ui}/runs/flow-run/{run}", into / "failed.png")
        server.ill = False
        operated.resume()
        operated.wait(run, "Completed")
    take(f"{ui}/runs/flow-run/{run}", into / "resumed.png")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("into", type=Path, help="folder of the pictures")
    into = parser.parse_args().into.resolve()
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder, home = Path(name) / "work", Path(name) / "home"
        folder.mkdir()
        env = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "RPO_"))}
        rpo = Rpo({**env, "PREFECT_HOME": str(home), "PREFECT_WORKER_QUERY_SECONDS": "2", "COLUMNS": "200"}, folder)
        said = rpo.json("up", "--port", str(free_port()))
        try:
            with httpx.Client(base_url=said["api"], timeout=30) as api:
                take_all(Operated(rpo, api, said, home), folder, into)
        finally:
            rpo("down")


if __name__ == "__main__":
    main()
