"""The charts of the report: SVG by pygal, in the colours of the page, each with the table of its numbers.

pygal is one package of pure Python (1.3 MB), and names the parts of a chart by classes, so that the page's own style
sheet colours them, in light and in dark. Its style sheet, its script and its tooltips are left out: the page runs
nothing, and a content security policy holds it to that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any
from xml.etree import ElementTree

import pygal
from markupsafe import Markup
from pygal.style import Style

from flows.report.tables import share

Number = float | int | None
Interval = tuple[Number, Number, Number]
"""A value, and both ends of its interval where it has one."""
Format = Callable[[float], str]


class Colour(IntEnum):
    """The colours of series, by the number of their class in page.css."""

    GOOD = 0
    FAIR = 1
    BAD = 2
    OTHER = 3
    PALE = 4
    FURTHER = 5


# As wide as a small phone: on a large screen the text only gets larger.
_WIDTH = 340
_ROW = 22
_FONT = 11
_LETTER = 6.5
"""Width of a letter or digit."""
_LABEL = 26
"""Characters of a label in a picture; its table has the whole."""
_FEW = 12
"""Points of a line that are drawn as dots too."""


@dataclass(frozen=True)
class Chart:
    """A picture with what it says in words and numbers."""

    title: str
    svg: Markup
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    """The same numbers, for those who do not see the picture or want them exactly."""
    keys: list[tuple[Colour, str]]
    """What the colours mean; empty: there is only one."""
    note: str


def draw_bars(
    title: str,
    labels: Sequence[str],
    series: Mapping[str, Sequence[Number]],
    *,
    show: Format,
    ticks: Sequence[float],
    colours: Sequence[Colour] = (Colour.GOOD,),
    details: Mapping[str, Sequence[object]] | None = None,
    first: str,
    note: str = "",
) -> Chart:
    """Horizontal bars, the first label on top; a group of them for each label where there are several series.

    Args:
        title: What is shown.
        labels: One a group.
        series: Values by name; None: there is none.
        show: How a value is written.
        ticks: Where the guides are, from 0 to the end of the axis.
        colours: One a series.
        details: Further columns of the table.
        first: What the labels are.
        note: A sentence below.
    """
    height = len(labels) * _ROW * (1 if len(series) == 1 else 0.75 * len(series))
    longest = max((len(_cell(value, show)) for values in series.values() for value in values), default=0)
    # room for what is written behind the longest bar
    chart = pygal.HorizontalBar(**_config(height, show, ticks) | {"margin_right": 10 + longest * _LETTER})
    chart.x_labels = [_short(label) for label in reversed(labels)]
    for name, values in series.items():
        chart.add(name, list(reversed(values)))
    cells = [[_cell(value, show) for value in values] for values in series.values()]
    further = [[str(value) for value in values] for values in (details or {}).values()]
    head = (first, *series, *(details or {}))
    return _chart(title, chart, head, zip(labels, *cells, *further, strict=True), series, colours, note)


def draw_shares(
    title: str,
    labels: Sequence[str],
    series: Mapping[str, Sequence[int]],
    *,
    colours: Sequence[Colour],
    first: str,
    note: str = "",
) -> Chart:
    """One bar a label, divided among the series; the table has their counts."""
    totals = [sum(counts) or 1 for counts in zip(*series.values(), strict=True)]
    config = _config(len(labels) * 1.6 * _ROW, share, (0, 0.5, 1))
    chart = pygal.HorizontalStackedBar(**config | {"print_values": False})
    chart.x_labels = list(reversed(labels))
    for name, counts in series.items():
        chart.add(name, [count / total for count, total in zip(counts, totals, strict=True)][::-1])
    cells = [[f"{count:,}" for count in counts] for counts in series.values()]
    return _chart(title, chart, (first, *series), zip(labels, *cells, strict=True), series, colours, note)


def draw_columns(
    title: str,
    labels: Sequence[str],
    series: Mapping[str, Sequence[Interval]],
    *,
    show: Format,
    colours: Sequence[Colour],
    first: str,
    note: str = "",
) -> Chart:
    """Upright bars with their intervals."""
    most = max((end for values in series.values() for item in values for end in item if end is not None), default=1)
    config = _config(8 * _ROW, show, None) | {"print_values": False, "range": (0, most), "max_scale": 6}
    if any(len(label) > _WIDTH / len(labels) / _LETTER - 3 for label in labels):
        config |= {"x_label_rotation": 25, "height": config["height"] + 40}
    chart = pygal.Bar(**config)
    chart.x_labels = list(labels)
    for name, values in series.items():
        chart.add(
            name,
            [
                value if low is None or high is None else {"value": value, "ci": {"low": low, "high": high}}
                for value, low, high in values
            ],
        )
    cells = [
        [
            _cell(value, show) + ("" if low is None or high is None else f" [{show(low)}, {show(high)}]")
            for value, low, high in values
        ]
        for values in series.values()
    ]
    return _chart(title, chart, (first, *series), zip(labels, *cells, strict=True), series, colours, note)


def draw_lines(title: str, lines: Mapping[str, Sequence[tuple[float, float]]], *, first: str) -> Chart:
    """Lines over a common axis; one of few points has dots."""
    xs = sorted({x for points in lines.values() for x, _ in points})
    config = _config(8 * _ROW, lambda value: f"{value:.3g}", None) | {"min_scale": 3, "max_scale": 6}
    chart = pygal.XY(**config | {"print_values": False, "x_value_formatter": lambda value: f"{value:g}"})
    chart.x_labels = sorted({xs[0], xs[len(xs) // 2], xs[-1]})
    for name, points in lines.items():
        chart.add(name, list(points), show_dots=len(points) <= _FEW, dots_size=2.5)
    by_x = [dict(points) for points in lines.values()]
    rows = ((f"{x:g}", *(_cell(found.get(x), lambda value: f"{value:.4g}") for found in by_x)) for x in xs)
    return _chart(title, chart, (first, *lines), rows, lines, _LINES, "")


_LINES = (Colour.GOOD, Colour.FAIR, Colour.OTHER)


def _short(label: str) -> str:
    return label if len(label) <= _LABEL else f"{label[: _LABEL - 1]}…"


def _cell(value: Number, show: Format) -> str:
    return "" if value is None else show(value)


def _config(height: float, show: Format, ticks: Sequence[float] | None) -> dict[str, Any]:
    config: dict[str, Any] = {
        "width": _WIDTH,
        "height": round(height) + 40,
        "style": Style(label_font_size=_FONT, major_label_font_size=_FONT, value_font_size=_FONT),
        "value_formatter": show,
        "print_values": True,
        "print_values_position": "top",
        "show_legend": False,
        "truncate_label": -1,
        "margin": 4,
        "margin_right": 34,
        "spacing": 4,
        "js": [],
        "no_prefix": True,
        "rounded_bars": 1,
    }
    return config if ticks is None else config | {"y_labels": list(ticks), "range": (min(ticks), max(ticks))}


def _chart(
    title: str,
    chart: Any,
    head: tuple[str, ...],
    rows: Iterable[tuple[str, ...]],
    series: Iterable[str],
    colours: Sequence[Colour],
    note: str,
) -> Chart:
    keys = list(zip(colours, series, strict=False))
    svg = _draw(chart, title, [colour for colour, _ in keys])
    return Chart(title, svg, head, list(rows), keys if len(keys) > 1 else [], note)


def _draw(chart: Any, title: str, colours: Sequence[Colour]) -> Markup:
    """The drawing alone: no style, no script, no ids, nothing of the day; what a bar stands for as its own title."""
    root = chart.render_tree()
    for group in list(root.iter()):
        for node in list(group):
            drawn = isinstance(node.tag, str) and node.tag not in ("defs", "title")
            if not drawn or "tooltip-overlay" in node.get("class", ""):
                group.remove(node)
        _name_from_tooltip(group)
    names = {f"color-{place}": f"colour-{colour.value}" for place, colour in enumerate(colours)}
    for node in root.iter():
        for attribute in ("id", "style"):
            node.attrib.pop(attribute, None)
        if classes := node.get("class"):
            node.set("class", " ".join(names.get(name, name) for name in classes.split()))
    root.set("role", "img")
    root.set("aria-label", title)
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704  (ElementTree escapes what it writes)


def _name_from_tooltip(group: Any) -> None:
    """What pygal's script would show beside the pointer, as the browser's own."""
    told = {node.get("class"): node.text for node in group if node.tag == "desc"}
    for node in [node for node in group if node.tag == "desc"]:
        group.remove(node)
    if told.get("value"):
        text = ": ".join(part for part in (told.get("x_label"), told["value"]) if part)
        ElementTree.SubElement(group, "title").text = text
