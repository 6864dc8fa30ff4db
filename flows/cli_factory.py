"""The factory as a command runs it: with bars while it goes, and its summary at the end."""

from __future__ import annotations

from flows.environment import prepare_environment
from flows.stopping import stoppable
from models.settings import FactorySettings
from storage.roots import data_root


def run_factory(settings: FactorySettings, as_json: bool, policy: str | None = None) -> None:
    """Run the factory in this process and show what it came to.

    Args:
        settings: Those of the run.
        as_json: One JSON document on standard output.
        policy: A finished training run, whose policy the run samples from.
    """
    data_root(settings.data)  # a store that cannot be used is said before Prefect starts
    prepare_environment(quiet=True)
    # imported here: Prefect takes seconds, and `rpo sql` has no use for it
    from flows.factory import factory
    from flows.terminal import show_next_steps, show_progress, show_summary

    with stoppable(), show_progress():
        summary = factory(settings, policy)
    if as_json:
        print(summary.model_dump_json())
    else:
        show_summary(summary)
        show_next_steps(summary, settings.data)
