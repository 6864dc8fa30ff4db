"""One stage of a run by itself, and what is missing before it: what the deployments of single stages run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Literal, get_args

from prefect import flow

from flows import stages
from flows.factory import RUNNER
from flows.rounds import begin_round
from flows.run import Part, Run, SeedPart, open_run
from models.base import Strict
from models.settings import FactorySettings
from storage.manifests import Manifest, load, manifest_path
from storage.roots import data_root

Stage = Literal[
    "expand_systems",
    "expand_users",
    "play_dialogues",
    "sample_responses",
    "judge_responses",
    "calibrate_judge",
    "reverse_constraints",
    "build_pairs",
    "audit_pairs",
]


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
        chain = Chain(run)
        made: Sequence[Part] = getattr(chain, stage)
        refs, *_ = run.collect(made, *chain.begun)
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


class Chain:
    """The stages of a run, each begun when it is first asked for, after those that it needs.

    The whole factory reads as a page of prose (flows/factory.py); this is the same order, asked from its end.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    @property
    def begun(self) -> list[Sequence[Part]]:
        """The parts of every stage that was begun."""
        return [parts for name, parts in vars(self).items() if name in get_args(Stage)]

    @cached_property
    def _roles(self) -> list[SeedPart]:
        return stages.read_roles(self._run)

    @cached_property
    def _personas(self) -> list[SeedPart]:
        return stages.read_personas(self._run)

    @cached_property
    def expand_systems(self) -> list[Part]:
        """Role descriptions to system profiles."""
        return stages.expand_systems(self._run, self._roles)

    @cached_property
    def expand_users(self) -> list[Part]:
        """Personas to user profiles."""
        return stages.expand_users(self._run, self._personas)

    @cached_property
    def play_dialogues(self) -> list[Part]:
        """Dialogues of every system with users of its language."""
        return stages.play_dialogues(self._run, self._roles, self.expand_systems, self._personas, self.expand_users)

    @cached_property
    def sample_responses(self) -> list[Part]:
        """K policy responses a turn."""
        return stages.sample_responses(self._run, self.play_dialogues)

    @cached_property
    def judge_responses(self) -> list[Part]:
        """A verdict for each response and triggered constraint."""
        return stages.judge_responses(self._run, self.sample_responses)

    @cached_property
    def calibrate_judge(self) -> list[Part]:
        """The judge model asked what code knows."""
        return stages.calibrate_judge(self._run, self.sample_responses)

    @cached_property
    def reverse_constraints(self) -> list[Part]:
        """The exact opposite of every constraint."""
        return stages.reverse_constraints(self._run, self.expand_systems)

    @cached_property
    def build_pairs(self) -> list[Part]:
        """Every two responses of a turn that differ, as pairs."""
        needed = (self.sample_responses, self.judge_responses, self.reverse_constraints, self.calibrate_judge)
        self._run.collect(*self.begun)  # a batch that failed before them is the cause that is told
        return [stages.build_pairs(self._run, *self._run.collect(*needed))]

    @cached_property
    def audit_pairs(self) -> list[Part]:
        """The proof of every pair."""
        [pairs], responses, reversals = self._run.collect(
            self.build_pairs, self.sample_responses, self.reverse_constraints
        )
        return list(stages.audit_pairs(self._run, pairs, responses, reversals))
