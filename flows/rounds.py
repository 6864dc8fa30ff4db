"""Iterative rounds: the factory again, over the policy that was trained on the pairs of the run before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flows.trained import read_trained, serve_trained
from models.errors import SettingsError
from models.evaluation import BASE, EvaluationSettings
from models.settings import FactorySettings
from models.summary import Change, RoundResult
from storage.manifests import Manifest, load
from storage.roots import Root, data_root, machine_dir
from storage.rounds import Following, count_following, count_round, count_shared, find_chain
from tasks.measures import Bootstrap, Total, mean

RESAMPLES = EvaluationSettings().resamples


def begin_round(settings: FactorySettings, policy: str | None) -> tuple[FactorySettings, str | None]:
    """The settings of a round whose policy is that of a finished training run, and the run that it was trained on.

    Only the policy changes. The role's own endpoint goes on writing the reference responses, where the settings name no
    responder: so the rounds answer the same turns, whose calls are paid once, and are compared on them.

    Raises:
        SettingsError: There is no such training run, or the round has the name of a run that it descends from.
        AdapterError: The endpoint of the policy cannot serve it.
    """
    if policy is None:
        return settings, None
    root, here = data_root(settings.data), machine_dir(settings.data)
    trained = read_trained(here, policy)
    earlier = load(root, trained.run)
    if settings.run in {run.run for run in find_chain(root, earlier)}:
        raise SettingsError(
            f"The policy {policy!r} descends from run {settings.run!r}: the round needs a name of its own.",
            safe="Nothing was started.",
            next_step="Give it one: `--run NAME`.",
        )
    base = settings.roles.policy.endpoint
    endpoint = serve_trained(here, policy, base, settings.endpoints[base])
    name = f"trained_{policy}"
    roles = settings.roles.model_copy(
        update={
            "policy": settings.roles.policy.model_copy(update={"endpoint": name}),
            "responder": settings.role("responder"),
        }
    )
    endpoints = {**settings.endpoints, name: endpoint}
    return settings.model_copy(update={"endpoints": endpoints, "roles": roles}), trained.run


def earlier_settings(data: str | Path, policy: str) -> dict[str, Any]:
    """The settings of the run that a policy was trained on, with the policy that the first round had.

    Raises:
        SettingsError: There is no such training run.
        StorageError: A run that it descends from is gone.
    """
    root = data_root(data)
    earlier = load(root, read_trained(machine_dir(root), policy).run)
    first, *later = find_chain(root, earlier)
    values = {**earlier.settings, "data": str(data)}
    # what earlier rounds sampled from is made anew from their training runs
    names = {f"trained_{run.policy}" for run in later}
    values["endpoints"] = {name: value for name, value in values["endpoints"].items() if name not in names}
    values["roles"] = {**values["roles"], "policy": first.settings["roles"]["policy"]}
    return values


def compare_rounds(root: Root, manifest: Manifest) -> list[RoundResult]:
    """What the rounds up to a run came to, each against the one before it; nothing where there is one only.

    Raises:
        StorageError: A run of the chain is gone.
    """
    chain = find_chain(root, manifest)
    if len(chain) < 2:
        return []
    return [_describe_round(root, run, before) for before, run in zip([None, *chain], chain, strict=False)]


def _describe_round(root: Root, run: Manifest, before: Manifest | None) -> RoundResult:
    found = count_following(root, run.run)
    shared = None if before is None else count_shared(root, before.run, run.run)
    now, then = found, [] if before is None else count_following(root, before.run)
    if before is not None and shared:
        now = count_following(root, run.run, shared_with=before.run)
        then = count_following(root, before.run, shared_with=run.run)
    bootstrap = Bootstrap(
        {item.role for item in (*now, *then)}, resamples=RESAMPLES, seed=int(run.settings.get("seed", 0))
    )

    def change(which: int) -> Change | None:
        early, late = _totals(then, which), _totals(now, which)
        if not early or not late:
            return None
        estimate = bootstrap.compare(early, late)
        # other turns are another exam: their difference is shown, and claims nothing
        return Change(value=estimate.value, **({"low": estimate.low, "high": estimate.high} if shared else _UNKNOWN))

    return RoundResult(
        run=run.run,
        policy=run.policy,
        csr=_mean(found, _CSR),
        isr=_mean(found, _ISR),
        shared_dialogues=shared,
        csr_change=change(_CSR),
        isr_change=change(_ISR),
        **count_round(root, run.run),
    )


_CSR, _ISR = 0, 1
_UNKNOWN: dict[str, float | None] = {"low": None, "high": None}


def _totals(found: Sequence[Following], which: int) -> dict[str, Total]:
    totals = {
        item.role: Total(item.followed, item.scored) if which == _CSR else Total(item.perfect, item.whole)
        for item in found
    }
    return {role: total for role, total in totals.items() if total.n}


def _mean(found: Sequence[Following], which: int) -> float | None:
    totals = _totals(found, which)
    return mean(totals) if totals else None


def tabulate_rounds(rounds: Sequence[RoundResult]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The head and the rows of a table with a column a round."""
    rows: dict[str, Callable[[RoundResult], str]] = {
        "policy": lambda item: item.policy or BASE,
        "responses": lambda item: str(item.responses),
        "csr": lambda item: _number(item.csr),
        "change of csr": lambda item: _change(item.csr_change),
        "isr": lambda item: _number(item.isr),
        "change of isr": lambda item: _change(item.isr_change),
        "unscored verdicts": lambda item: str(item.unscored),
        "turns without pairs": lambda item: f"{item.turns_without_pairs} of {item.turns}",
        "pairs": lambda item: str(item.pairs),
        "mean margin": lambda item: "-" if item.mean_margin is None else f"{item.mean_margin:.2f}",
        "audit passed": lambda item: f"{item.audited - item.audit_failed} of {item.audited}",
    }
    head = ("round", *(item.run for item in rounds))
    return head, [(name, *(show(item) for item in rounds)) for name, show in rows.items()]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _change(change: Change | None) -> str:
    if change is None:
        return ""
    if change.low is None or change.high is None:
        return f"{change.value:+.3f}"
    return f"{change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"
