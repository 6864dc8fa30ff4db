"""The charts of a run, from its counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from flows.report.cases import CASES, OUTCOMES
from flows.report.charts import Chart, Colour, draw_bars, draw_shares
from flows.report.tables import share
from models.agreement import ALL, JudgeAgreement
from models.summary import KindSatisfaction, RunSummary
from storage.report_tables import CaseCount, TurnCount

Item = TypeVar("Item")


def draw_kinds(satisfaction: Sequence[KindSatisfaction], note: str) -> Iterator[Chart]:
    """The kinds, the best followed first; with a note on what is counted."""
    found = sorted(satisfaction, key=lambda item: (-item.followed / item.scored, item.kind))
    for title, kinds in _in_pieces("Constraints followed, by kind", found, at_most=25):
        yield draw_bars(
            title,
            [item.kind for item in kinds],
            {"followed": [item.followed / item.scored for item in kinds]},
            show=share,
            ticks=(0, 0.5, 1),
            details={"of the judged": [f"{item.followed:,} of {item.scored:,}" for item in kinds]},
            first="kind",
            note=note,
        )


def draw_turns(turns: Sequence[TurnCount], note: str) -> Iterator[Chart]:
    """Constraints and whole responses by turn, with a note on what is counted; nothing where nothing was judged."""
    if turns:
        yield draw_bars(
            "Constraints and responses, by turn of the dialogue",
            [f"turn {item.turn}" for item in turns],
            {
                "constraints followed": [item.followed / item.scored if item.scored else None for item in turns],
                "responses that follow all": [item.perfect / item.whole if item.whole else None for item in turns],
            },
            show=share,
            ticks=(0, 0.5, 1),
            details={
                "constraints": [f"{item.followed:,} of {item.scored:,}" for item in turns],
                "responses": [f"{item.perfect:,} of {item.whole:,}" for item in turns],
            },
            colours=(Colour.GOOD, Colour.OTHER),
            first="turn",
            note=note,
        )


def draw_cases(cases: Sequence[CaseCount], summary: RunSummary) -> Chart | None:
    """Plain DPO beside RPO, of the same couples of responses; nothing before the audit, which proves the second bar."""
    if not cases or summary.audited < summary.pairs:
        return None
    by_dpo = dict.fromkeys(OUTCOMES, 0)
    for case in cases:
        by_dpo[CASES[case.case].outcome] += case.couples
    couples, proven = sum(case.couples for case in cases), sum(case.kept for case in cases)
    series = {name: [by_dpo[outcome], proven if outcome == "clean" else 0] for outcome, name in OUTCOMES.items()}
    series["dropped by the audit"] = [0, couples - proven]
    colours = (Colour.PALE, Colour.BAD, Colour.FAIR, Colour.GOOD, Colour.OTHER)
    shown = {name: colour for name, colour in zip(series, colours, strict=True) if any(series[name])}
    return draw_shares(
        "What becomes of two responses that differ",
        ["plain DPO", "RPO"],
        {name: series[name] for name in shown},
        colours=list(shown.values()),
        first="method",
        note=f"{couples:,} couples of responses. Clean under RPO: the audit has proven a pair of them.",
    )


def draw_margins(summary: RunSummary) -> Chart | None:
    """Pairs by margin; None: there are none."""
    if not summary.margins:
        return None
    margins = sorted(summary.margins.items())
    return draw_bars(
        "Pairs by margin",
        [str(margin) for margin, _ in margins],
        {"pairs": [count for _, count in margins]},
        show=lambda value: f"{value:,.0f}",
        ticks=(0, max(summary.margins.values())),
        first="margin",
    )


def draw_judge(calibration: Sequence[JudgeAgreement]) -> Iterator[Chart]:
    """The kinds, those with most measurements first."""
    kinds = sorted((item for item in calibration if item.kind != ALL and item.n), key=lambda item: -item.n)
    languages = {item.language for item in kinds}
    for title, some in _in_pieces("Where the judge model is wrong", kinds, at_most=15):
        yield draw_bars(
            title,
            [item.kind if len(languages) == 1 else f"{item.kind} ({item.language})" for item in some],
            {
                "calls followed what is violated": [item.false_positive for item in some],
                "calls violated what is followed": [item.false_negative for item in some],
            },
            show=share,
            ticks=(0, 0.5, 1),
            details={"measured on": [item.n for item in some]},
            colours=(Colour.BAD, Colour.FAIR),
            first="kind",
        )


def draw_spending(summary: RunSummary) -> list[Chart]:
    """What the calls cost, where prices are known, and how long they took."""
    if not summary.accounts:
        return []
    stages = [item.stage for item in summary.accounts]
    labels = [
        f"{item.stage} · {item.role}" if stages.count(item.stage) > 1 else item.stage for item in summary.accounts
    ]
    charts = [
        draw_bars(
            "Seconds of requests, by stage and role",
            labels,
            {"seconds": [item.seconds for item in summary.accounts]},
            show=lambda value: f"{value:,.0f}",
            ticks=(0, max(item.seconds for item in summary.accounts) or 1),
            first="stage",
            note="Many requests are under way at a time, so these add up to more than the run took.",
        )
    ]
    costs = [item.cost for item in summary.accounts]
    if any(costs):
        charts.insert(
            0,
            draw_bars(
                "Cost, by stage and role",
                labels,
                {"cost": costs},
                show=lambda value: f"{value:,.4f}",
                ticks=(0, max(cost for cost in costs if cost is not None)),
                first="stage",
            ),
        )
    return charts


def _in_pieces(title: str, items: Sequence[Item], *, at_most: int) -> Iterator[tuple[str, Sequence[Item]]]:
    """As many charts as it takes for each to be taken in at a glance, of equal length."""
    pieces = -(-len(items) // at_most)
    for place in range(pieces):
        numbered = f"{title} ({place + 1} of {pieces})" if pieces > 1 else title
        yield numbered, items[place * len(items) // pieces : (place + 1) * len(items) // pieces]
