"""The factory: seeds to audited preference pairs."""

from __future__ import annotations

from typing import Any, cast

from prefect import flow
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.chain import Chain
from flows.finish import finish_run
from flows.report.publishing import publish_report, report_failure
from flows.rounds import begin_round
from flows.run import open_run
from models.settings import FactorySettings
from models.summary import RunSummary

# A waiting task holds a thread (FINDINGS), and a chain of batches waits: enough that late stages start early. With 256
# the peak of ten times the roles was 335 MB, with 64 it is 313.
RUNNER: TaskRunner[PrefectFuture[Any]] = cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=64))


@flow(
    name="factory",
    flow_run_name="factory {settings.run}",
    task_runner=RUNNER,
    on_failure=[report_failure],
)
def factory(settings: FactorySettings, policy: str | None = None) -> RunSummary:
    """Seeds to audited preference pairs (paper, section 3).

    Args:
        settings: Everything the run depends on.
        policy: A finished training run in the same data folder: the next round samples from its policy.
    """
    settings, previous = begin_round(settings, policy)
    with open_run(settings, policy=policy, previous=previous) as run:
        Chain(run).make("audit_pairs")
        summary = finish_run(run)
    publish_report(settings.data, settings.run)
    return summary
