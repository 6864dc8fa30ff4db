"""The pictures in docs/: a real run in the Prefect UI, as headless Chromium sees it.

    python -m tests.screenshots docs/operating

Starts what ``rpo up`` starts, in a folder of its own; runs the factory over the scripted server, which fails a part of
one judge batch; takes the failed run, resumes it, and takes what there is then, and a run that went through. Needs
Debian's ``chromium``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page, ViewportSize, sync_playwright

from tests.flows.conftest import Rpo, free_port
from tests.flows.test_operate import OneBadBatch, Operated, mark_role, write_settings

SIZE = ViewportSize(width=1400, height=1000)
DRAWN_MS = 6_000
"""So long a page of the UI moves after its last answer: the graph finds its places."""
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
)  # fmt: skip


def take(page: Page, url: str, path: Path, *clicks: str) -> None:
    """A picture of a page, after clicks on what bears these names."""
    page.goto(url)
    for name in clicks:
        page.get_by_text(name, exact=True).first.click()
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(DRAWN_MS)
    page.screenshot(path=path)
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


def take_all(page: Page, operated: Operated, folder: Path, into: Path) -> None:
    """Every picture."""
    ui = str(operated.said["ui"])
    form = operated.ask("GET", "/deployments/name/factory/factory")["id"]
    take(page, f"{ui}/deployments/deployment/{form}/run", into / "form.png")
    with OneBadBatch() as server:
        server.script.latency_s = 0.5
        settings = settings_of(folder, server.base_url)
        run = operated.run("factory", "factory", settings=settings)
        operated.wait(run, "Failed")
        take(page, f"{ui}/runs/flow-run/{run}", into / "failed.png", "Details", "See More")
        tables = {"flow_runs": {"id": {"any_": [run]}}, "artifacts": {"type": {"any_": ["table"]}}}
        [judged] = [made["id"] for made in operated.post("/artifacts/filter", tables) if "judge-resp" in made["key"]]
        take(page, f"{ui}/artifacts/artifact/{judged}", into / "stage.png")
        server.ill = False
        operated.resume()
        operated.wait(run, "Completed")
        take(page, f"{ui}/runs/flow-run/{run}", into / "resumed.png")
        run = operated.run("factory", "factory", settings={**settings, "run": "first", "data": str(folder / "first")})
        operated.wait(run, "Completed")
        take(page, f"{ui}/runs/flow-run/{run}", into / "artifacts.png", "Artifacts")


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
            with httpx.Client(base_url=said["api"], timeout=30) as api, sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(QUIET))
                take_all(browser.new_page(viewport=SIZE), Operated(rpo, api, said, home), folder, into)
        finally:
            rpo("down")


if __name__ == "__main__":
    main()
