"""The accounts of a run as the terminal shows them: what the calls cost, by stage and role, and how varied they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.table import Table

from models.accounts import CallAccount
from models.diversity import Diversity
from models.summary import RunSummary

PLAIN_ROLES = {"policy", "responder"}
"""Roles of a run that asks one model for responses only: one line says all of its calls."""


def say_cost(summary: RunSummary) -> str:
    """The cost of a run, or why nobody knows it."""
    if summary.cost is not None:
        paid = f"{summary.spent or 0:.4f}"
        cost = f"{summary.cost:.4f}"
        if paid == cost:
            return cost
        # of other settings, say
        more = (summary.spent or 0) > summary.cost
        rest = "also for answers that it does not use now" if more else "the rest answered by the call cache"
        return f"{cost} ({paid} paid by this run, {rest})"
    asked = {account.endpoint for account in summary.accounts if account.endpoint}
    if not summary.accounts:
        return "none"
    if asked <= set(summary.unpriced):
        return "unknown (no prices set)"
    if summary.unpriced:
        return f"unknown (no prices: {', '.join(f'endpoints.{name}' for name in summary.unpriced)})"
    return "unknown (some calls were made before their prices were set, or their server counted no tokens)"


def say_failures(summary: RunSummary) -> str:
    """What went wrong with calls and answers, and what became of it."""
    kinds = ", ".join(f"{kind} {count}" for kind, count in summary.failures.items())
    given_up = "none was given up" if not summary.lost else f"{summary.lost} were given up (`failures`, `exclusions`)"
    return f"{sum(summary.failures.values())} attempts and answers were no good ({kinds}); {given_up}"


def tabulate_accounts(accounts: Sequence[CallAccount]) -> Table | None:
    """Calls by stage and role; None where a line says as much: one model's responses, unpriced, at the first try."""
    roles, models = {account.role for account in accounts}, {account.model for account in accounts}
    plain = roles <= PLAIN_ROLES and len(models) <= 1
    if plain and not any(account.cost or account.retries or account.failed for account in accounts):
        return None
    table = Table(title="Calls by stage and role", title_justify="left", title_style="bold", box=None)
    # on a narrow terminal a name may break, a number must not
    table.add_column("stage", overflow="fold")
    table.add_column("role", overflow="fold")
    columns = _columns(accounts)
    for head in columns:
        table.add_column(head, justify="right", no_wrap=True)
    for account in accounts:
        table.add_row(account.stage, account.role, *(show(account) for show in columns.values()))
    return table


def _columns(accounts: Sequence[CallAccount]) -> dict[str, Callable[[CallAccount], str]]:
    """What to show of an account; nothing that is the same for all because there is none of it."""
    columns: dict[str, Callable[[CallAccount], str]] = {"calls": lambda account: str(account.calls)}
    if any(account.cached for account in accounts):
        columns["cached"] = lambda account: str(account.cached)
    if any(account.failed for account in accounts):
        columns["failed"] = lambda account: str(account.failed)
    if any(account.retries for account in accounts):
        columns["retries"] = lambda account: str(account.retries)
    columns["in"] = lambda account: str(account.tokens_in)
    columns["out"] = lambda account: str(account.tokens_out)
    if any(account.cost is not None for account in accounts):
        columns["cost"] = lambda account: "-" if account.cost is None else f"{account.cost:.4f}"
    columns["s/call"] = lambda account: "-" if account.median_seconds is None else f"{account.median_seconds:.2f}"
    return columns


def say_diversity(diversity: Sequence[Diversity]) -> str:
    """How varied the queries are, in a line."""
    return "; ".join(
        f"queries {item.language}: {item.distinct_openings:.0%} distinct openings, "
        f"{_share(item.distinct_trigrams)} distinct trigrams, compress {item.compression_ratio:.1f} times"
        for item in diversity
        if item.what == "queries"
    )


def _share(value: float | None) -> str:
    return "no" if value is None else f"{value:.0%}"
