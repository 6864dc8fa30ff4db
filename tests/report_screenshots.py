"""The pictures of the report in docs/: of a real run, as headless Chromium sees it.

    rpo demo --train --data DATA
    python -m tests.report_screenshots DATA docs/report

Needs Debian's ``chromium`` and ``poppler-utils``.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from flows.report.writing import write_report
from tests.browser import DESKTOP, PHONE, QUIET


def take(browser: Browser, page: Path, to: Path, *, at: str, width: int, height: int, dark: bool = False) -> None:
    """A picture of what is seen when a part of the page is called up."""
    context = browser.new_context(
        color_scheme="dark" if dark else "light",
        viewport={"width": width, "height": height},
        reduced_motion="reduce",
    )
    tab = context.new_page()
    tab.goto(f"{page.as_uri()}#{at}")
    tab.screenshot(path=to)
    context.close()


def print_first(browser: Browser, page: Path, to: Path) -> None:
    """The first two sheets of paper, beside each other."""
    tab = browser.new_page()
    tab.goto(page.as_uri())
    pdf = page.with_suffix(".pdf")
    tab.pdf(path=pdf, format="A4", prefer_css_page_size=True, print_background=True)
    sheets = page.with_suffix("")
    subprocess.run(["pdftoppm", "-r", "75", "-png", "-l", "2", str(pdf), str(sheets)], check=True)
    first, second = (Image.open(file) for file in sorted(page.parent.glob("*.png")))
    both = Image.new("RGB", (first.width + second.width + 12, first.height), "#888")
    both.paste(first, (0, 0))
    both.paste(second, (first.width + 12, 0))
    both.save(to, optimize=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="data folder with a run `demo`, trained and evaluated")
    parser.add_argument("into", type=Path, help="folder of the pictures")
    given = parser.parse_args()
    given.into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = write_report(given.data, "demo", Path(folder) / "demo.html")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET)
        into: Path = given.into
        take(browser, page, into / "light.png", at="", width=DESKTOP, height=1400)
        take(browser, page, into / "dark.png", at="dpo", width=DESKTOP, height=1330, dark=True)
        take(browser, page, into / "trained.png", at="training", width=DESKTOP, height=1500)
        take(browser, page, into / "phone.png", at="following", width=PHONE, height=780)
        print_first(browser, page, into / "print.png")
        browser.close()


if __name__ == "__main__":
    main()
