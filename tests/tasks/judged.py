"""What tests of the judge share: a scripted server, and responses with the systems and turns they descend from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.base import Language
from models.constraints import parse_check
from models.endpoints import Endpoint, Role, Roles
from models.records import Constraint, PartRef, Response, Reversal, SystemProfile, Turn
from models.settings import FactorySettings, Judging
from storage.parts import PartStore
from tasks.llm.gateways import close_gateway
from tests.scripted_server import Script, ScriptedServer

KINDS: dict[str, dict[str, Any] | None] = {
    "sentence_count": {"kind": "sentence_count", "relation": "at_most", "count": 1},
    "no_comma": {"kind": "no_comma"},
    "style": None,
    "content": None,
    "logic": None,
}
"""Kinds of constraint that a test may use, with their checks."""


@contextmanager
def judge_that_says(*texts: str) -> Iterator[ScriptedServer]:
    """A server that answers with these texts, one after the other."""
    with ScriptedServer(Script(texts=texts)) as server:
        try:
            yield server
        finally:
            close_gateway()


def say(*verdicts: str) -> str:
    """What a judge answers that gives these verdicts, in order: f, v or n."""
    words = {"f": "followed", "v": "violated", "n": "not_applicable"}
    given = [
        {"id": f"c{number}", "reason": f"because {letter}", "verdict": words[letter]}
        for number, letter in enumerate(verdicts, start=1)
    ]
    return json.dumps({"verdicts": given})


def settings_of(data: Path, *, judge: str = "", temperature: float = 1.0, **judging: Any) -> FactorySettings:
    """Settings whose judge, if any, is at an address; one request after the other, so that a script can be followed."""
    endpoints = {"policy": Endpoint(base_url="http://127.0.0.1:1/v1", model="policy")}
    roles = Roles(policy=Role(endpoint="policy"))
    if judge:
        endpoints["judge"] = Endpoint(base_url=judge, model="referee", max_concurrency=1)
        roles = Roles(policy=Role(endpoint="policy"), judge=Role(endpoint="judge", temperature=temperature))
    return FactorySettings(data=str(data), endpoints=endpoints, roles=roles, judging=Judging(**judging))


def make_constraint(kind: str, place: int = 0, owner: str = "s") -> Constraint:
    check = KINDS[kind]
    return Constraint(
        constraint_id=f"{owner}-{place}",
        text=f"demand {place} of {owner}",
        kind=kind,
        check=None if check is None else parse_check(check),
    )


def make_system(kinds: Sequence[str], system_id: str = "s", language: Language = "en") -> SystemProfile:
    return SystemProfile(
        system_id=system_id, role_id="r", language=language, name="a guide", description="shows the way",
        skills=["maps"], questions=[], author="author",
        constraints=[make_constraint(kind, place, system_id) for place, kind in enumerate(kinds)],
    )  # fmt: skip


def store_responses(
    store: PartStore, systems: Sequence[SystemProfile], texts: Sequence[str], *, untriggered: Sequence[str] = ()
) -> PartRef:
    """Each text as a response to the one turn of each system, all constraints but some triggered."""
    store.ensure_schemas()
    turns = [
        Turn(
            dialogue_id=f"d-{system.system_id}", turn=1, system_id=system.system_id, user_id="u", query="Where?",
            triggered_ids=[c.constraint_id for c in system.constraints if c.constraint_id not in untriggered],
            reference="There.", reference_score=1, reference_model="m",
        )
        for system in systems
    ]  # fmt: skip
    responses = [
        Response(
            response_id=f"{turn.dialogue_id}-{sample}", dialogue_id=turn.dialogue_id, turn=1, sample=sample, text=text,
            model="policy", finish_reason="stop", prompt_tokens=1, completion_tokens=1, origin="sampled",
        )
        for turn in turns
        for sample, text in enumerate(texts)
    ]  # fmt: skip
    played = store.write("turns", f"{2:032x}", turns, inputs=[store.write("systems", f"{1:032x}", systems)])
    return store.write("responses", f"{3:032x}", responses, inputs=[played])


def store_reversals(store: PartStore, *systems: SystemProfile) -> PartRef:
    """An opposite of every constraint."""
    rows = [
        Reversal(
            constraint_id=constraint.constraint_id, system_id=system.system_id, text=f"not {constraint.text}",
            method="author", verified=True,
        )
        for system in systems
        for constraint in system.constraints
    ]  # fmt: skip
    return store.write("reversals", f"{4:032x}", rows)
