"""The order of the stages: each is begun when it is first asked for, after those that it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Literal, get_args

from flows import stages
from flows.run import Part, Run, SeedPart
from models.records import PartRef

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


class Chain:
    """The stages of a run. No stage waits for all of another, but for the pairs, which see the whole run.

    Args:
        run: The run.
        given: Stages that are not made, with their parts: an import enters the chain after them.
    """

    def __init__(self, run: Run, given: Mapping[Stage, Sequence[PartRef]] | None = None) -> None:
        self._run = run
        self._made: dict[str, list[PartRef]] = {}
        self._given = given or {}
        for stage, parts in self._given.items():
            vars(self)[stage] = parts

    def make(self, stage: Stage) -> list[PartRef]:
        """The parts of a stage, when they and those of all before it are there, and belong to the run.

        Raises:
            StageError: Batches failed. All others were finished first, and are stored.
        """
        getattr(self, stage)
        self._collect()
        return self._made[stage]

    def _collect(self) -> None:
        """Wait for the parts of every stage that was begun: one that failed first is the cause that is told."""
        begun: dict[str, Sequence[Part]] = {
            name: parts for name, parts in vars(self).items() if name in get_args(Stage) and name not in self._made
        }
        self._made |= dict(zip(begun, self._run.collect(*begun.values()), strict=True))

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
    def build_pairs(self) -> list[PartRef]:
        """Every two responses of a turn that differ, as pairs."""
        needed: tuple[Stage, ...] = ("sample_responses", "judge_responses", "reverse_constraints", "calibrate_judge")
        for stage in needed:
            getattr(self, stage)
        self._collect()
        return [stages.build_pairs(self._run, *(self._made[stage] for stage in needed))]

    @cached_property
    def audit_pairs(self) -> list[PartRef]:
        """The proof of every pair."""
        [pairs], made = self.build_pairs, self._made
        responses, reversals = made["sample_responses"], made["reverse_constraints"]
        if "judge_responses" in self._given:
            return stages.audit_by_verdicts(self._run, pairs, responses, reversals, made["judge_responses"])
        return stages.audit_pairs(self._run, pairs, responses, reversals)
