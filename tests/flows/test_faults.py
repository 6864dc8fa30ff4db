"""Many roles over a server that does everything wrong: the run finishes, and every failure is accounted for."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

from models.base import Language
from storage.catalog import query
from tests.flows.conftest import ROOT, Rpo, start_scripted, stop
from tests.scripted_text import write_phrase, write_sentence

TURNS, SAMPLES = 5, 5

FAULTS = {
    "rate_limit": "rate_limit",
    "internal": "server_error",
    "slow": "timeout",
    "drop": "connection",
    "not_json": "malformed",
    "malformed_json": "not_json",
    "wrong_value_types": "wrong_schema",
    "missing_ids": "unusable",
    "extra_ids": "unusable",
}
"""What the server does wrong, each in 5 % of its answers, and what the factory calls it."""

ATTEMPTS = ("rate_limit", "server_error", "timeout", "connection", "malformed")

# Small batches: one waits only for the time-outs of its own calls. Three endpoints, as what never comes holds a slot.
SETTINGS = """
run = "test"
data = {data}
batch_size = 20
samples = {samples}
max_failed_share = 0.5

[seeds]
roles = {roles}
personas = {personas}
max_personas = 20

[dialogues]
turns = {turns}
reference_samples = 2
min_score = 0.4
refinements = 1

[judging]
votes = 1

[pairs]
max_per_turn = 1
"""
ENDPOINT = """
[endpoints.{name}]
base_url = "{base_url}"
model = "{name}"
max_concurrency = 64
timeout_s = 2
max_tries = 4
"""
PLAYERS = {
    "author": "pen",
    "user": "pen",
    "responder": "pen",
    "critic": "pen",
    "judge": "referee",
    "policy": "learner",
}
"""Who is asked where."""
ENDPOINTS = sorted(set(PLAYERS.values()))


def write_roles(path: Path, count: int) -> None:
    """Role seeds that nobody has written, half of them in Chinese."""
    lines = []
    for number in range(count):
        language: Language = get_args(Language)[number % 2]
        rng, chinese = random.Random(number), language == "zh"
        role = {
            "role_id": f"{language}_{number}",
            "language": language,
            "name": f"{'馆长' if chinese else 'Keeper'} {number}",
            "description": "".join(write_sentence(rng, chinese=chinese) for _ in range(4)),
            "skills": [write_phrase(rng, chinese=chinese) for _ in range(3)],
            "questions": [write_sentence(rng, chinese=chinese) + ("？" if chinese else "?") for _ in range(6)],
        }
        lines.append(json.dumps(role, ensure_ascii=False))
    path.write_text("\n".join(lines), "utf-8")


def write_settings(folder: Path, base_url: str, roles: int) -> Path:
    write_roles(folder / "roles.jsonl", roles)
    text = SETTINGS.format(
        data=json.dumps(str(folder / "data")),
        roles=json.dumps(str(folder / "roles.jsonl")),
        personas=json.dumps(str(ROOT / "seeds/personas.jsonl")),
        samples=SAMPLES,
        turns=TURNS,
    )
    text += "".join(ENDPOINT.format(name=name, base_url=base_url) for name in ENDPOINTS)
    for role, endpoint in PLAYERS.items():
        text += f'\n[roles.{role}]\nendpoint = "{endpoint}"\nmax_tokens = 8192\n'
    path = folder / "factory.toml"
    path.write_text(text, "utf-8")
    return path


@dataclass(frozen=True)
class Ledger:
    """What the tables of the newest run say, in SQL."""

    data: Path

    def number(self, statement: str) -> int:
        [[value]] = query(self.data, statement).rows
        return int(value or 0)

    def left_out(self, stage: str, what: str, reason: str = "%") -> int:
        """How many of ``what`` a stage left out, for this reason or for any."""
        chosen = f"stage = '{stage}' and what = '{what}' and reason like '{reason}'"
        return self.number(f'select sum("count")::bigint from exclusions where {chosen}')

    def lost(self) -> int:
        """Calls that failed for good."""
        return self.number("select count(*) from llm_calls where error is not null")

    def failures(self) -> dict[str, int]:
        return dict(query(self.data, 'select kind, sum("count")::bigint from failures group by 1').rows)


@pytest.mark.slow
@pytest.mark.parametrize("roles", [40, pytest.param(200, marks=pytest.mark.long)])
def test_every_failure_is_counted_and_nothing_is_lost(rpo: Rpo, tmp_path: Path, roles: int) -> None:
    options = [option for fault in FAULTS for option in ("--fault", f"{fault}=0.05")]
    # what is late never comes, so that a time-out is a time-out
    server = start_scripted("--retry-after", "0.05", "--slow-ms", "3600000", *options)
    config = write_settings(tmp_path, server.base_url, roles)
    ledger = Ledger(tmp_path / "data")
    try:
        first = rpo.json("run", "--config", str(config))
        served = server.counts()
    finally:
        stop(server.process)
    late = the_failures_are_those_of_the_server(ledger, served)
    rows_in_are_rows_out(ledger, roles)
    assert first["pairs"] > 0 and sum(first["exported"]["trl"].values()) > 0
    assert ledger.lost() > 0

    # the same command, the server well again and patient: what failed for good is asked, and what follows from it
    server = start_scripted(port=server.port)
    patient = [option for name in ENDPOINTS for option in ("--set", f"endpoints.{name}.timeout_s=300")]
    try:
        rpo.json("run", "--config", str(config), *patient)
        second = server.counts()
        assert ledger.lost() == 0
        rows_in_are_rows_out(ledger, roles)
        assert second["requests"] > 0 and max(second["completed_calls"].values()) == 1
        assert len(served["completed_calls"].keys() & second["attempts"].keys()) <= late
        last = rpo.json("run", "--config", str(config), *patient)
        assert (last["calls_made"], server.counts()["requests"]) == (0, second["requests"])
    finally:
        stop(server.process)


def the_failures_are_those_of_the_server(ledger: Ledger, served: dict[str, Any]) -> int:
    """The counts of both sides are the same; returns how many answers came too late, which is none of the faults.

    Only a machine so busy that an answer takes longer than the time-out makes a difference: the server has given an
    answer, good or bad, and the factory has counted a time-out. So every such time-out may hide one answer.
    """
    said = dict.fromkeys(FAULTS.values(), 0)
    for fault, count in served["faults"].items():
        said[FAULTS[fault]] += count
    assert set(served["faults"]) == set(FAULTS)
    counted = ledger.failures()
    assert counted.keys() == said.keys()
    late = counted.pop("timeout") - said.pop("timeout")
    unseen = {kind: said[kind] - counted[kind] for kind in said}
    # every call that was answered is a row, once
    samples = served["samples"] - ledger.number("select count(*) from llm_calls where not cached and error is null")
    repeated = sum(times - 1 for times in served["completed_calls"].values())
    assert min(unseen.values()) >= 0 and samples >= 0, unseen
    assert sum(unseen.values()) + repeated <= late, (unseen, repeated, late)
    assert samples <= late * SAMPLES
    # what was given up is missing somewhere: counted by the attempt that was the last
    attempts = ", ".join(repr(kind) for kind in ATTEMPTS)
    assert ledger.lost() == ledger.number(f"select sum(lost)::bigint from failures where kind in ({attempts})")
    return late


def rows_in_are_rows_out(ledger: Ledger, roles: int) -> None:
    assert roles == ledger.number("select count(*) from roles") == ledger.number("select count(*) from systems")
    for made in ("systems", "users"):
        by_catalogue = ledger.number(f"select count(*) from {made} where author = 'catalogue'")
        assert by_catalogue == ledger.left_out(f"expand_{made}", "profiles")
    # dialogues: all turns, or fewer and the reason
    ended = ledger.number(f"select count(*) from (from turns select dialogue_id group by 1 having count(*) < {TURNS})")
    never = roles - ledger.number("select count(distinct dialogue_id) from turns")
    assert ended + never == ledger.left_out("play_dialogues", "dialogues")
    # responses: K a turn
    wanted = SAMPLES * ledger.number("select count(*) from turns")
    sampled = ledger.number("select count(*) from responses where origin = 'sampled'")
    assert sampled + ledger.left_out("sample_responses", "responses") == wanted
    played = "responses join turns using (dialogue_id, turn)"
    # judgments: one for each response and triggered constraint, each with its reason
    triggered = f"(select response_id, unnest(triggered_ids) constraint_id from {played})"
    judged = f"judgments join {triggered} using (response_id, constraint_id)"
    wanted = ledger.number(f"select count(*) from {triggered}")
    assert wanted == ledger.number(f"select count(*) from {judged} where reason <> ''")
    assert wanted == ledger.number("select count(*) from judgments")
    assert ledger.number("select count(distinct response_id) from judgments where verdict = 'unscored'") == (
        ledger.left_out("build_pairs", "responses", "unscored")
    )
    # reversals: of every constraint
    constraints = ledger.number("select sum(len(constraints))::bigint from systems")
    assert ledger.number("select count(*) from reversals") == constraints
    assert ledger.number("select count(*) from reversals where not verified") == ledger.left_out(
        "reverse_constraints", "constraints"
    )
    assert ledger.number("select count(*) from audits") == ledger.number("select count(*) from pairs") > 0
