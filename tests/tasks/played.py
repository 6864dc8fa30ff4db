"""What tests of self-play share: systems with triggers, users, settings with a model in each role, and a play."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from models.base import Language, digest
from models.constraints import Check, Trigger, parse_check
from models.loading import validate_settings
from models.records import Constraint, Exclusion, PartRef, SystemProfile, Turn, UserProfile
from models.settings import FactorySettings
from storage.parts import PartStore
from tasks.dialogues import play_dialogues
from tasks.llm.gateways import close_gateway
from tests.tasks.answering import AnsweringServer, as_json

QUESTIONS: dict[Language, list[str]] = {
    "en": ["Which way to the sea?", "Is the old mill open?", "Who built the tower?"],
    "zh": ["去海边怎么走？", "老磨坊开门吗？", "塔是谁建的？"],
}
OPENINGS: dict[Language, list[str]] = {"en": ["Well, hello."], "zh": ["你好呀。"]}

NO_COMMA = parse_check({"kind": "no_comma"})
SHORT = parse_check({"kind": "sentence_count", "relation": "at_most", "count": 1})


def constraint(text: str, trigger: Trigger | None = None, check: Check | None = None) -> Constraint:
    return Constraint(
        constraint_id=f"id of {text}", text=text, kind=check.kind if check else "style", trigger=trigger, check=check
    )


def system(*constraints: Constraint, name: str = "guide", language: Language = "en") -> SystemProfile:
    return SystemProfile(
        system_id=f"s-{name}", role_id=f"r-{name}", language=language, name=name, description="Shows the way.",
        skills=["maps"], questions=QUESTIONS[language], author="author", constraints=list(constraints),
    )  # fmt: skip


def user(language: Language = "en", **update: Any) -> UserProfile:
    profile = UserProfile(
        user_id="u", persona_id="p", language=language, persona="A sailor on leave.", profile="Bo sails and is lost.",
        tone="gruff", openings=OPENINGS[language], author="author",
    )  # fmt: skip
    return profile.model_copy(update=update)


def settings_for(
    data: Path, server: AnsweringServer | str, *roles: str, tries: int = 1, samples: int = 2, **dialogues: Any
) -> FactorySettings:
    """Settings with a model in each of these roles (and the policy's), each named after its role."""
    url = server if isinstance(server, str) else f"http://127.0.0.1:{server.port}/v1"
    rules = {"turns": 2, "reference_samples": 2, **dialogues}
    return validate_settings(
        {
            "data": str(data),
            "samples": samples,
            "max_failed_share": 1,
            "dialogues": rules,
            "endpoints": {name: {"model": name, "base_url": url, "max_tries": tries} for name in ("policy", *roles)},
            "roles": {name: {"endpoint": name, "max_tokens": 2048} for name in ("policy", *roles)},
        }
    )


class Played(NamedTuple):
    turns: list[Turn]
    left_out: dict[tuple[str, str], int]
    part: PartRef


def play(
    settings: FactorySettings,
    *systems: SystemProfile,
    by: Sequence[UserProfile] = (),
    first: int = 0,
) -> Played:
    """The dialogues of some systems of one language, as a stage makes them."""
    store = PartStore(settings.data_dir)
    store.ensure_schemas()
    people = list(by) or [user(systems[0].language)]
    names = "-".join(each.system_id for each in systems)
    profiles = store.write("systems", _key("systems", names), systems)
    users = store.write("users", _key("users", names), people)
    part = play_dialogues.fn(settings, profiles, [users], first)
    close_gateway()
    found = store.find("exclusions", part.key)
    left_out = {(row.reason, row.what): row.count for row in store.read(found, Exclusion)} if found else {}
    return Played(store.read(part, Turn), left_out, part)


def _key(*parts: str) -> str:
    return digest(list(parts))


def situations(**applies: bool) -> str:
    """What a judge answers about situations: c1=True, ..."""
    return as_json({"situations": [{"id": id_, "evidence": "so", "applies": there} for id_, there in applies.items()]})


def verdicts(**given: str) -> str:
    """What a judge answers about a response: c1="f", ..."""
    words = {"f": "followed", "v": "violated", "n": "not_applicable"}
    return as_json(
        {"verdicts": [{"id": id_, "reason": "so", "verdict": words[letter]} for id_, letter in given.items()]}
    )


def rewrite(text: str, *ids: str) -> str:
    """What a critic answers."""
    return as_json({"needs": [{"id": id_, "change": "mend it"} for id_ in ids], "response": text})


def inside(prompt: str, name: str) -> str:
    """What stands in a fence of a prompt; empty where there is none."""
    found = re.search(rf"^<{name} (\w+)>\n(.*?)\n</{name} \1>$", prompt, re.MULTILINE | re.DOTALL)
    return found.group(2) if found else ""


def by_name(answers: Mapping[str, Any]) -> Any:
    """A reply that has one answer for each name."""
    return lambda name, _prompt: answers[name]
