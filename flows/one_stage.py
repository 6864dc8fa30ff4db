"""One stage of a run by itself, and what is missing before it: what the deployments of single stages run."""

from __future__ import annotations

from prefect import flow

from flows.chain import Chain, Stage
from flows.factory import RUNNER
from flows.rounds import begin_round
from flows.run import open_run
from models.base import Strict
from models.settings import FactorySettings
from storage.manifests import Manifest, load, manifest_path
from storage.roots import data_root


class StageSummary(Strict):
    """What one stage came to."""

    run: str
    stage: Stage
    parts: int
    rows: int


@flow(name="stage", flow_run_name="{stage} {settings.run}", task_runner=RUNNER)
def make_stage(settings: FactorySettings, stage: Stage, policy: str | None = None) -> StageSummary:
    """Make the parts of one stage, and those before it that are not there yet. What is there is not made again.

    The parts belong to the run; a later run of the whole factory of that name finds them and goes on from them.

    Args:
        settings: Everything the run depends on.
        stage: The stage to make.
        policy: A finished training run in the same data folder: the next round samples from its policy.
    """
    settings, previous = begin_round(settings, policy)
    earlier = find_earlier(settings, policy)
    with open_run(settings, policy=policy, previous=previous) as run:
        if earlier is not None:
            run.book.add(earlier.parts)
        refs = Chain(run).make(stage)
        if earlier is not None and earlier.status == "complete" and run.book.manifest.parts == earlier.parts:
            run.book.finish("complete", earlier.summary)
        else:
            run.book.finish("partial")
    return StageSummary(run=settings.run, stage=stage, parts=len(refs), rows=sum(ref.rows for ref in refs))


def find_earlier(settings: FactorySettings, policy: str | None) -> Manifest | None:
    """The run of this name so far, where it is of the same settings: its other stages' parts stay with it."""
    root = data_root(settings.data)
    if not manifest_path(root, settings.run).is_file():
        return None
    earlier = load(root, settings.run)
    same = earlier.settings == settings.model_dump(mode="json") and earlier.policy == policy
    return earlier if same else None
