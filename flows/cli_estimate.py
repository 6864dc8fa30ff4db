"""``rpo run --dry-run``: the estimate before a run."""

from __future__ import annotations

from flows.environment import prepare_environment
from flows.stopping import stoppable
from models.errors import SettingsError
from models.settings import FactorySettings


def run_estimate(settings: FactorySettings, roles: int, as_json: bool, policy: str | None = None) -> None:
    """Estimate a run from a sample and show what it will come to.

    Args:
        settings: Those of the run.
        roles: Roles of each language in the sample.
        as_json: One JSON document on standard output.
        policy: A finished training run, whose policy the run samples from.

    Raises:
        SettingsError: A sample of no roles, or there is no such training run.
    """
    if roles < 1:
        raise SettingsError(f"--sample is {roles}; it takes at least 1 role of each language.")
    prepare_environment(quiet=True)
    # imported here: Prefect takes seconds, and a wrong option need not wait for it
    from flows.estimate import estimate
    from flows.rounds import begin_round
    from flows.terminal import show_progress
    from flows.terminal_estimate import announce_sample, show_estimate

    settings, _ = begin_round(settings, policy)
    announce_sample()
    with stoppable(), show_progress():
        estimated = estimate(settings, roles)
    if as_json:
        print(estimated.model_dump_json())
    else:
        show_estimate(estimated)
