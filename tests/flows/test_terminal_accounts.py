"""The accounts on the terminal: a table where it says more than the line below it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from flows.finish import render_markdown
from flows.terminal_accounts import say_cost, say_diversity, say_failures, tabulate_accounts
from models.accounts import CallAccount
from models.diversity import measure_diversity
from models.summary import RunSummary


def account(role: str = "policy", **changes: Any) -> CallAccount:
    values = {
        "stage": "sample_responses", "role": role, "model": "m", "endpoint": "near", "calls": 40, "cached": 0,
        "failed": 0, "requests": 10, "retries": 0, "tokens_in": 1000, "tokens_out": 2000, "cost": None, "seconds": 5.0,
        "median_seconds": 0.5,
    }  # fmt: skip
    return CallAccount.model_validate(values | changes)


def summary(*accounts: CallAccount, **changes: Any) -> RunSummary:
    values = {
        "run": "test", "systems": 1, "dialogues": 1, "turns": 1, "responses": 4, "judgments": 4, "unscored": 0,
        "satisfaction": [], "pairs": 2, "margins": {1: 2}, "noise_cases": {2: 2}, "audited": 2, "audit_failed": 0,
        "calls_made": 40, "calls_cached": 0, "tokens_in": 1000, "tokens_out": 2000, "cost": None, "exported": {},
        "export_folder": None, "seconds": 1.0, "accounts": accounts,
    }  # fmt: skip
    return RunSummary.model_validate(values | changes)


def shown(*accounts: CallAccount) -> str:
    table = tabulate_accounts(accounts)
    if table is None:
        return ""
    console = Console(file=io.StringIO(), width=100)
    console.print(table)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("accounts", "head"),
    [
        ((), ""),
        # the policy writes the reference responses too: the demo
        ((account(), account("responder")), ""),
        ((account(cost=0.0),), ""),
        ((account(), account("responder", model="other")), "stage role calls in out s/call"),
        ((account(), account("judge")), "stage role calls in out s/call"),
        ((account(cost=1.5),), "stage role calls in out cost s/call"),
        ((account(retries=1),), "stage role calls retries in out s/call"),
        ((account(failed=1, cached=3),), "stage role calls cached failed in out s/call"),
    ],
)
def test_a_table_where_there_is_something_to_tell(accounts: tuple[CallAccount, ...], head: str) -> None:
    lines = shown(*accounts).splitlines()
    assert (" ".join(lines[1].split()) if lines else "") == head


def test_why_a_cost_is_unknown() -> None:
    near, far = account(cost=1.0), account("judge", endpoint="far")
    assert say_cost(summary()) == "none"
    assert say_cost(summary(account(), unpriced=["near"])) == "unknown (no prices set)"
    assert say_cost(summary(near, far, unpriced=["far"])) == "unknown (no prices: endpoints.far)"
    assert "before their prices were set" in say_cost(summary(near, far))


def test_what_the_run_has_paid_of_its_cost() -> None:
    assert say_cost(summary(cost=2.5, spent=2.5)) == "2.5000"
    assert say_cost(summary(cost=2.5, spent=0.5)).startswith("2.5000 (0.5000 paid by this run")
    assert "also for answers" in say_cost(summary(cost=2.5, spent=4.0))
    assert say_cost(summary(cost=2.5)).startswith("2.5000 (0.0000 paid by this run")


def test_queries_are_told_and_the_rest_is_in_the_artifact() -> None:
    diversity = [
        measure_diversity("queries", "en", ["Why is it so?", "Tell me more now."], texts=2),
        measure_diversity("responses", "en", ["It is so."] * 4, texts=4),
    ]
    line = say_diversity(diversity)
    assert line.startswith("queries en: 100% distinct openings, 100% distinct trigrams") and "responses" not in line
    page = render_markdown(summary(account(), diversity=diversity))
    assert "| responses | en | 4 | 4 | 25% | 25% |" in page
    assert "| sample_responses | policy | m | 40 | 0 | 0 | 0 | 1,000 | 2,000 | unknown | 0.50 | 5.0 |" in page


def test_numbers_are_whole_on_a_narrow_terminal() -> None:
    busy = account("responder", stage="reverse_constraints", cost=1234.5678, retries=123_456, cached=1, failed=1)
    console = Console(file=io.StringIO(), width=72)
    console.print(tabulate_accounts([account(), busy]))
    text = str(console.file.getvalue())  # type: ignore[attr-defined]
    assert all(number in text for number in ("1234.5678", "123456", "retries", "s/call"))


def test_failures_are_told_with_what_became_of_them() -> None:
    told = say_failures(summary(failures={"rate_limit": 3, "not_json": 1}))
    assert told == "4 attempts and answers were no good (rate_limit 3, not_json 1); none was given up"
    lossy = summary(failures={"timeout": 7}, lost=2)
    assert "2 were given up" in say_failures(lossy)
    assert f"Failures: {say_failures(lossy)}" in render_markdown(lossy)
    assert "Failures" not in render_markdown(summary())
