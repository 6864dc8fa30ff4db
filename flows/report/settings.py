"""The settings of a run as the report shows them: nothing that could be a secret."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from models.endpoints import Role, RoleName
from models.settings import FactorySettings

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
HIDDEN = "(not shown)"
_ADDRESS = re.compile(r"""(\w+://)(?:[^/\s'"]*@)?([^\s?#'"]*)(?:[?#][^\s'"]*)?""")


class Fact(NamedTuple):
    """A setting and its value."""

    key: str
    value: str


class Player(NamedTuple):
    """Who played a role."""

    role: str
    model: str
    endpoint: str
    sampling: str


def describe_players(settings: FactorySettings, asked: Sequence[RoleName]) -> list[Player]:
    """The models of a run by role, of those that it asks; a role that nobody plays is left out."""
    found = []
    for name in asked:
        role: Role | None = getattr(settings.roles, name)
        if role is not None:
            sampling = f"temperature {role.temperature:g}, top_p {role.top_p:g}, {role.max_tokens} tokens"
            found.append(Player(name, settings.endpoints[role.endpoint].model, role.endpoint, sampling))
    return found


def list_settings(settings: Mapping[str, Any]) -> list[Fact]:
    """Every setting of a manifest that has a value, by its key.

    A key itself is in no setting, but an address may hold a password, and a server's options a key.
    """
    return [Fact(key, _show(key, value)) for key, value in _flatten(settings) if value is not None]


def _flatten(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _show(key: str, value: Any) -> str:
    name = key.rpartition(".")[2]
    if name in ("base_url", "address"):
        return ", ".join(map(hide_secrets, value if isinstance(value, list) else [value]))
    if name == "options" and value:
        return HIDDEN
    if name == "api_key_env":
        # someone may have put the key itself there
        return str(value) if _VARIABLE.fullmatch(str(value)) else HIDDEN
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def hide_secrets(text: str) -> str:
    """A text with its addresses bare: nothing of what may stand before a host or behind a path."""
    return _ADDRESS.sub(r"\1\2", text)
