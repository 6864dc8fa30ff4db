"""The pictures of the pair browser in docs/: a real demo run in ``rpo browse``, as headless Chromium sees it.

    python -m tests.screenshots_browse docs/browse

Runs ``rpo demo`` in a folder of its own (minutes), or shows the run of ``--data``. Needs Debian's ``chromium``.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from storage.catalog import query
from tests.browser import PHONE, QUIET

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# an English pair of a second turn with something reversed, whose texts are worth reading
SHOWN = """
SELECT pair_id FROM pairs JOIN turns USING (dialogue_id, turn) JOIN systems USING (system_id)
JOIN responses c ON c.response_id = chosen_id JOIN responses r ON r.response_id = rejected_id
WHERE language = 'en' AND pairs.turn = 2 AND len(reversed_ids) BETWEEN 1 AND 2 AND margin >= 2
ORDER BY least(len(c.text), 400) + least(len(r.text), 400) DESC, pair_id LIMIT 1
"""


def open_page(browser: Browser, address: str, width: int, height: int, *, dark: bool = False) -> Page:
    """A page whose pair is drawn."""
    page = browser.new_page(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", device_scale_factor=1
    )
    page.goto(address)
    page.locator("main[data-answer='1']").wait_for()
    return page


def take_all(browser: Browser, address: str, pair: str, into: Path) -> None:
    """Every picture."""
    one = f"{address}?pair={pair}"
    open_page(browser, one, 1400, 1000).screenshot(path=into / "pair.png", full_page=True)
    open_page(browser, one, 1400, 1000, dark=True).screenshot(path=into / "dark.png")
    open_page(browser, one, PHONE, 900).screenshot(path=into / "phone.png")
    page = open_page(browser, f"{address}?text=night&margin=2", 1400, 1000)
    page.keyboard.press("m")
    page.keyboard.type("the chosen one only looks better")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    page.get_by_role("status").get_by_text("Note kept").wait_for(state="attached")
    page.screenshot(path=into / "filters.png")
    page.keyboard.press("Escape")
    page.keyboard.press("f")
    page.locator("#flag[aria-pressed=false]").wait_for()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("into", type=Path, help="folder of the pictures")
    parser.add_argument("--data", type=Path, help="folder with a finished run `demo`; without: it is made")
    given = parser.parse_args()
    given.into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        data = given.data or Path(temporary)
        if given.data is None:
            subprocess.run([sys.executable, "rpo.py", "demo", "--data", str(data)], check=True)
        ((pair,),) = query(data, SHOWN).rows
        command = [sys.executable, "rpo.py", "browse", "--data", str(data), "--port", "0", "--no-open"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served, sync_playwright() as playwright:
            assert served.stdout is not None
            address = next(line.split()[2] for line in served.stdout if line.startswith("Pairs at "))
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET)
            take_all(browser, address, pair, given.into)
            browser.close()
            served.terminate()


if __name__ == "__main__":
    main()
