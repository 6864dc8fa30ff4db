"""A real headless Chromium for the tests of what people look at.

Debian's ``chromium`` (``apt-get install chromium``) driven by Playwright; where it is not there, its tests are skipped.
``tests/conftest.py`` gives the fixtures to every test.
"""

from __future__ import annotations

import importlib.resources
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
"""Without these Chromium asks Google's hosts at every start."""

PHONE = 360
DESKTOP = 1280


@dataclass
class Opened:
    """A page, and what it said and asked for since it was opened."""

    page: Page
    errors: list[str] = field(default_factory=list)
    """Errors and warnings on the console, what the content security policy refused, uncaught exceptions."""
    requests: list[str] = field(default_factory=list)

    @property
    def strangers(self) -> list[str]:
        """Requests that left this machine."""
        own = ("file://", "data:", "http://127.0.0.1:", "http://localhost:")
        return [url for url in self.requests if not url.startswith(own)]

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window: more than 0 scrolls sideways."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def inaccessible(self) -> list[str]:
        """What axe-core finds serious or critical: the rule, and where."""
        self.page.evaluate(_axe())
        found: dict[str, Any] = self.page.evaluate("axe.run({resultTypes: ['violations']})")
        return [
            f"{rule['id']}: {node['html'][:200]} {json.dumps([check['message'] for check in node['any']])[:300]}"
            for rule in found["violations"]
            if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"]
        ]


OpenPage = Callable[..., Opened]


def _axe() -> str:
    return (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8")


# of a module, not of the session: while Playwright is open, no test of the same process can run a loop of its own
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Chromium, for the tests of a module."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs Debian's chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright  # here: most tests have no browser

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[OpenPage]:
    """Opens addresses or files: ``open_page(path, dark=True, width=PHONE)``, each in a profile of its own."""
    contexts = []

    def open_one(where: str | Path, *, dark: bool = False, width: int = DESKTOP) -> Opened:
        context = chromium.new_context(
            color_scheme="dark" if dark else "light", viewport={"width": width, "height": 900}
        )
        contexts.append(context)
        opened = Opened(context.new_page())

        def note(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                opened.errors.append(message.text)

        def asked(request: Request) -> None:
            opened.requests.append(request.url)

        opened.page.on("console", note)
        opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
        opened.page.on("request", asked)
        opened.page.goto(where.as_uri() if isinstance(where, Path) else where)
        return opened

    yield open_one
    for context in contexts:
        context.close()
