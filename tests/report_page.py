"""Reading the report of a run, as a test does."""

from __future__ import annotations

import html
import re
from pathlib import Path


def report_of(data: Path, run: str) -> Path:
    return data / f"reports/{run}.html"


def words(page: Path) -> str:
    """What is to be read on a page."""
    body = re.sub(r"<style>.*?</style>", "", page.read_text("utf-8"), flags=re.DOTALL)
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", body).split()))


def captions(page: Path) -> list[str]:
    """The titles of its tables."""
    return [html.unescape(found) for found in re.findall("<caption>(.*?)</caption>", page.read_text("utf-8"))]


def table(page: Path, title: str) -> list[list[str]]:
    """The rows of the first table with this caption."""
    found = next(
        found
        for found in re.findall(r"<table>.*?</table>", page.read_text("utf-8"), flags=re.DOTALL)
        if f"<caption>{html.escape(title)}</caption>" in found
    )
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", found, flags=re.DOTALL)[1:]
    return [[html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]
