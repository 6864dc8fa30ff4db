"""The stages: how each fans out over the parts of the one before it. No stage waits for all of another."""

from __future__ import annotations

import random
from collections.abc import Sequence

from flows.run import Part, Run, SeedPart
from models.errors import SeedError
from models.records import PartRef, PersonaSeed, RoleSeed
from tasks import auditing, calibration, dialogues, expansion, judging, pairing, reversal, sampling
from tasks.identity import part_key
from tasks.seeds import Seed, read_seeds, seed_path


def read_roles(run: Run) -> list[SeedPart]:
    """The role seeds, in batches of one language."""
    seeds = run.settings.seeds
    roles = read_seeds(seed_path(seeds.roles), RoleSeed, list(seeds.languages))
    return store_seeds(run, "roles", roles, at_most=seeds.max_roles)


def read_personas(run: Run) -> list[SeedPart]:
    """The persona seeds, in batches of one language, in an order that the run's seed shuffles."""
    seeds = run.settings.seeds
    personas = read_seeds(seed_path(seeds.personas), PersonaSeed, list(seeds.languages))
    random.Random(run.settings.seed).shuffle(personas)  # noqa: S311  (draws, not secrets)
    return store_seeds(run, "personas", personas, at_most=seeds.max_personas)


def store_seeds(run: Run, dataset: str, seeds: Sequence[Seed], at_most: int | None = None) -> list[SeedPart]:
    """Seeds as parts of one language each; ``at_most`` so many of each language."""
    parts = []
    for language in run.settings.seeds.languages:
        rows = [seed for seed in seeds if seed.language == language][:at_most]
        for first in range(0, len(rows), run.settings.batch_size):
            batch = rows[first : first + run.settings.batch_size]
            key = part_key(f"read_{dataset}", run.settings, [], *(seed.identity() for seed in batch))
            ref = run.store.find(dataset, key) or run.store.write(dataset, key, batch)
            parts.append(SeedPart(ref, language, first))
    run.register([part.ref for part in parts])
    return parts


def expand_systems(run: Run, roles: Sequence[SeedPart]) -> list[Part]:
    """Role descriptions to system profiles with constraints."""
    return run.fan_out(expansion.expand_systems, [(part.ref,) for part in roles])


def expand_users(run: Run, personas: Sequence[SeedPart]) -> list[Part]:
    """Personas to user profiles."""
    return run.fan_out(expansion.expand_users, [(part.ref,) for part in personas])


def play_dialogues(
    run: Run,
    roles: Sequence[SeedPart],
    systems: Sequence[Part],
    personas: Sequence[SeedPart],
    users: Sequence[Part],
) -> list[Part]:
    """Dialogues of every system with users of its language."""
    speakers = {
        role.language: [
            user for persona, user in zip(personas, users, strict=True) if persona.language == role.language
        ]
        for role in roles
    }
    silent = [language for language, people in speakers.items() if not people]
    if silent:
        raise SeedError(
            f"There are roles in {silent[0]} and no persona that speaks it.",
            next_step=f"Add one to {run.settings.seeds.personas}, or leave {silent[0]} out of seeds.languages.",
        )
    return run.fan_out(
        dialogues.play_dialogues,
        [(system, speakers[role.language], role.first) for role, system in zip(roles, systems, strict=True)],
    )


def sample_responses(run: Run, turns: Sequence[Part]) -> list[Part]:
    """K policy responses a turn."""
    return run.fan_out(sampling.sample_responses, [(part,) for part in turns])


def judge_responses(run: Run, responses: Sequence[Part]) -> list[Part]:
    """A verdict for each response and triggered constraint."""
    return run.fan_out(judging.judge_responses, [(part,) for part in responses])


def calibrate_judge(run: Run, responses: Sequence[Part]) -> list[Part]:
    """The judge model asked what code knows; nothing where there is no judge, or no share of it is wanted."""
    if run.settings.roles.judge is None or not run.settings.judging.calibration_share:
        return []
    return run.fan_out(calibration.calibrate_judge, [(part,) for part in responses])


def reverse_constraints(run: Run, systems: Sequence[Part]) -> list[Part]:
    """The exact opposite of every constraint; imported dialogues of several parts may share a part of systems."""
    distinct = list(dict.fromkeys(systems))
    made = run.fan_out(reversal.reverse_constraints, [(part,) for part in distinct])
    reversals = dict(zip(distinct, made, strict=True))
    return [reversals[part] for part in systems]


def build_pairs(
    run: Run,
    responses: Sequence[PartRef],
    judgments: Sequence[PartRef],
    reversals: Sequence[PartRef],
    calibrations: Sequence[PartRef],
) -> PartRef:
    """Every two responses of a turn that differ, as pairs: the one stage that sees the whole run."""
    # only a gate looks at calibrations: without one the pairs do not depend on them
    evidence = [] if run.settings.judging.min_kappa is None else list(calibrations)
    distinct = list(dict.fromkeys(reversals))
    futures = run.fan_out(pairing.build_pairs, [(list(responses), list(judgments), distinct, evidence)])
    return run.collect(futures)[0][0]


def audit_pairs(run: Run, pairs: PartRef, responses: Sequence[PartRef], reversals: Sequence[PartRef]) -> list[PartRef]:
    """The proof of every pair."""
    matched = list(zip(responses, reversals, strict=True))
    return run.collect(run.fan_out(auditing.audit_pairs, [(pairs, *both) for both in matched]))[0]


def audit_by_verdicts(
    run: Run,
    pairs: PartRef,
    responses: Sequence[PartRef],
    reversals: Sequence[PartRef],
    judgments: Sequence[PartRef],
) -> list[PartRef]:
    """The proof of every pair by the verdicts that were imported."""
    matched = list(zip(responses, reversals, judgments, strict=True))
    return run.collect(run.fan_out(auditing.audit_by_verdicts, [(pairs, *each) for each in matched]))[0]
