"""Exporting a run and ten times as large a one: rows a second, and peak memory, which must not grow with the rows.

    python -m benchmarks.exports --parts 20

makes runs of so many parts of responses, and of ten times as many, and exports each in a process of its own, in every
format, with its card. Systems, verdicts, reversals, pairs and audits are made by the factory's own stages; queries and
responses are words drawn by number. Exit code 1 if the peak of the larger one is more than 1.2 times that of the other.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from benchmarks.judging import peak_mb
from models.base import Language, digest
from models.endpoints import Endpoint, Role, Roles
from models.records import PartRef, PersonaSeed, Response, RoleSeed, SystemProfile, Turn, UserProfile
from models.settings import FactorySettings
from storage.exports import export_run
from storage.manifests import Manifest, load, save
from storage.parts import PartStore
from tasks.auditing import audit_pairs
from tasks.expansion import expand_systems, expand_users
from tasks.judging import judge_responses
from tasks.pairing import build_pairs
from tasks.reversal import reverse_constraints
from tasks.seeds import read_seeds, seed_path

TIMES, MAX_RATIO = 10, 1.2
DIALOGUES, TURNS, SAMPLES = 5, 2, 4
"""Of a part: dialogues, turns of each, responses to each."""
LANGUAGES: tuple[Language, ...] = ("en", "zh")
_WORDS: dict[Language, list[str]] = {
    "en": ["The mill, I think, is open.", "Is it far?", "Walk north", "<b>two</b> hours |", "```stop```", "1. Tea."],
    "zh": ["磨坊今天开门。", "远吗？", "往北走，", "两小时", "“好”", "一、喝茶\u2028"],
}


def settings_of(root: Path) -> FactorySettings:
    """The settings of the run: no model is asked."""
    nobody = Endpoint(base_url="http://127.0.0.1:1/v1", model=str(root / "models" / "tiny"))
    return FactorySettings(
        run="bench", data=str(root), endpoints={"nobody": nobody}, roles=Roles(policy=Role(endpoint="nobody"))
    )


def make_run(root: Path, parts: int, *, part_order: int = 0) -> Manifest:
    """A finished run of so many parts of responses.

    Args:
        root: The data folder.
        parts: Parts of responses, in English and Chinese by turns.
        part_order: Shuffles the order in which the run came by its parts.
    """
    settings, store = settings_of(root), PartStore(root)
    store.ensure_schemas()
    made: dict[str, list[PartRef]] = {name: [] for name in ("responses", "judgments", "reversals")}
    users = {language: _make_users(settings, store, language) for language in LANGUAGES}
    refs = [ref for pair in users.values() for ref in pair]
    for number in range(parts):
        language = LANGUAGES[number % len(LANGUAGES)]
        roles = store.write("roles", digest(["roles", number]), list(_roles(language, number)))
        systems = expand_systems.fn(settings, roles)
        profiles = store.read(systems, SystemProfile)
        user = store.read(users[language][1], UserProfile)[0]
        turns = list(_play(number, language, profiles, user))
        played = store.write("turns", digest(["turns", number]), turns, inputs=[systems, users[language][1]])
        answers = list(_answer(number, language, turns))
        responses = store.write("responses", digest(["responses", number]), answers, inputs=[played])
        made["responses"].append(responses)
        made["judgments"].append(judge_responses.fn(settings, responses))
        made["reversals"].append(reverse_constraints.fn(settings, systems))
        refs += [roles, systems, played]
    pairs = build_pairs.fn(settings, made["responses"], made["judgments"], made["reversals"])
    audits = [
        audit_pairs.fn(settings, pairs, responses, reversals)
        for responses, reversals in zip(made["responses"], made["reversals"], strict=True)
    ]
    refs += [ref for group in made.values() for ref in group] + [pairs, *audits]
    excluded = store.find("exclusions", pairs.key)
    refs += [excluded] if excluded else []
    random.Random(part_order).shuffle(refs)
    values, now = settings.model_dump(mode="json"), datetime.now(UTC)
    manifest = Manifest(
        run=settings.run, settings_hash=digest(values), settings=values, started_at=now, finished_at=now,
        status="complete", parts=refs,
    )  # fmt: skip
    save(root, manifest)
    return manifest


def _make_users(settings: FactorySettings, store: PartStore, language: Language) -> tuple[PartRef, PartRef]:
    seeds = read_seeds(seed_path(settings.seeds.personas), PersonaSeed, [language])[:3]
    personas = store.write("personas", digest(["personas", language]), seeds)
    return personas, expand_users.fn(settings, personas)


def _roles(language: Language, part: int) -> Iterator[RoleSeed]:
    """The factory's own roles, again and again: those of later rounds have ids of their own."""
    seeds = read_seeds(seed_path("seeds/roles.jsonl"), RoleSeed, [language])
    for place in range(part * DIALOGUES, (part + 1) * DIALOGUES):
        seed = seeds[place % len(seeds)]
        yield seed.model_copy(update={"role_id": f"{seed.role_id}_{place // len(seeds)}"})


def _play(part: int, language: Language, systems: list[SystemProfile], user: UserProfile) -> Iterator[Turn]:
    for system in systems:
        for turn in range(1, TURNS + 1):
            yield Turn(
                dialogue_id=digest(["dialogue", system.system_id], length=16),
                turn=turn,
                system_id=system.system_id,
                user_id=user.user_id,
                query=_text(language, part, system.system_id, turn),
                triggered_ids=[c.constraint_id for c in system.constraints if c.trigger is None],
                reference=_text(language, part, system.system_id, turn, "reference"),
                reference_score=0.5,
                reference_model="tiny",
            )


def _answer(part: int, language: Language, turns: list[Turn]) -> Iterator[Response]:
    for turn in turns:
        for sample in range(SAMPLES):
            yield Response(
                response_id=digest(["response", turn.dialogue_id, turn.turn, sample], length=16),
                dialogue_id=turn.dialogue_id,
                turn=turn.turn,
                sample=sample,
                text=_text(language, part, turn.dialogue_id, turn.turn, sample),
                model="tiny",
                finish_reason="stop",
                prompt_tokens=100,
                completion_tokens=100,
                origin="sampled",
            )


def _text(language: Language, *names: object) -> str:
    draw = random.Random(digest([str(name) for name in names]))
    return " ".join(draw.choices(_WORDS[language], k=draw.randint(3, 60)))


def measure(root: Path) -> dict[str, float]:
    """Export the run, in this process."""
    store, manifest = PartStore(root), load(root, "bench")
    began, worked = time.perf_counter(), time.process_time()
    done = export_run(store, manifest, settings_of(root).export)
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    rows = sum(sum(splits.values()) for splits in done.rows.values())
    size = sum(path.stat().st_size for path in Path(done.folder).rglob("*") if path.is_file())
    return {"rows": rows, "seconds": seconds, "cpu": cpu, "peak_mb": peak_mb(), "mb": size / 1e6}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=20, help="parts of the smaller run (default: 20)")
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.root:
        print(json.dumps(measure(given.root)))
        return
    print(f"{os.cpu_count()} cores, pyarrow {pa.__version__}")
    peaks = []
    for parts in (given.parts, given.parts * TIMES):
        with tempfile.TemporaryDirectory() as folder:
            make_run(Path(folder), parts)
            command = [sys.executable, "-m", "benchmarks.exports", "--root", folder]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        peaks.append(found["peak_mb"])
        print(
            f"  {parts:>5} parts: {found['rows']:,} rows, {found['mb']:.1f} MB in {found['seconds']:.1f} s "
            f"({found['cpu']:.1f} s of CPU, {found['rows'] / found['cpu']:,.0f} rows a second of it), "
            f"peak {found['peak_mb']:.0f} MB"
        )
    print(f"  peak for {TIMES} times the rows: {peaks[1] / peaks[0]:.2f} times (limit {MAX_RATIO:g})")
    if peaks[1] / peaks[0] > MAX_RATIO:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
