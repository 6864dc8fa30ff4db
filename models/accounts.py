"""What the calls of a run came to, by stage and role."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from models.base import Strict
from models.endpoints import Role, Roles
from models.settings import FactorySettings


class CallAccount(Strict):
    """The calls of one role in one stage.

    Tokens, cost and time are those of the day on which a call was made, also where the call cache answered it since:
    this is what the run's answers are worth, whoever paid for them.
    """

    stage: str = Field(description="The stage that asked.")
    role: str = Field(description="The role that answered.")
    model: str = Field(description="The model that played it.")
    endpoint: str = Field(description="The endpoint that the settings give the role; empty: none now.")
    calls: int = Field(ge=0, description="Calls; each sample of a request is one.")
    cached: int = Field(ge=0, description="Of them answered by the call cache when their part was made.")
    failed: int = Field(ge=0, description="Of them failed for good.")
    requests: int = Field(ge=0, description="Requests that were answered: samples that came together are one.")
    retries: int = Field(ge=0, description="Attempts beyond the first of the requests that were answered.")
    tokens_in: int = Field(ge=0, description="Prompt tokens; of a request with several samples, counted once.")
    tokens_out: int = Field(ge=0, description="Completion tokens.")
    cost: float | None = Field(description="Price of these tokens; null: the price of some was not known.")
    seconds: float = Field(ge=0, description="Sum over the requests, many of which are under way at a time.")
    median_seconds: float | None = Field(description="Median over the requests (t-digest); null: none.")


def endpoint_of(settings: FactorySettings, role: str) -> str:
    """The endpoint of a role; empty for one that the settings do not have any more, as a part remembers it."""
    player: Role | None = settings.role(role) if role in Roles.model_fields else None  # type: ignore[arg-type]
    return "" if player is None else player.endpoint


def find_unpriced(settings: FactorySettings, endpoints: Iterable[str]) -> list[str]:
    """Of some endpoints those whose prices are not both known."""
    found = {name: settings.endpoints[name] for name in endpoints if name in settings.endpoints}
    return sorted(name for name, item in found.items() if item.price_in is None or item.price_out is None)
