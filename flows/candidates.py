"""The models that an evaluation measures, and how each is asked: found, checked and made ready to be served."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from flows.trained import finished_trainings, read_trained, serve_trained
from models.endpoints import Endpoint
from models.errors import FactoryError, SettingsError
from models.evaluation import BASE
from models.settings import FactorySettings
from storage.roots import machine_dir

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclass(frozen=True)
class Candidate:
    """A model to measure."""

    label: str
    endpoint_name: str
    endpoint: Endpoint

    def as_policy(self, settings: FactorySettings) -> FactorySettings:
        """The settings with this model as the policy; it samples as the run's policy does."""
        policy = settings.roles.policy.model_copy(update={"endpoint": self.endpoint_name})
        return settings.model_copy(
            update={
                "endpoints": {**settings.endpoints, self.endpoint_name: self.endpoint},
                "roles": settings.roles.model_copy(update={"policy": policy}),
            }
        )


def find_candidates(
    models: Sequence[str], run: str | None, factory: FactorySettings
) -> tuple[list[Candidate], dict[str, str]]:
    """The models to measure, and why some training runs are none (only where nobody asked for them by name).

    Args:
        models: ``base``, names of training runs, LABEL=endpoint:NAME; none: base and the run's finished training runs.
        run: The factory run that trained models must have learned from; None: any, and none unless it is named.
        factory: Settings whose policy is the base model.

    Raises:
        SettingsError: A model that nobody knows: no such training run, an unfinished one, no such endpoint.
        AdapterError: An adapter that the endpoint of the base model cannot serve.
    """
    base = Candidate(BASE, factory.roles.policy.endpoint, factory.endpoints[factory.roles.policy.endpoint])
    if models or run is None:
        return [_find(model, run, factory, base) for model in models or [BASE]], {}
    found, left_out = [base], {}
    for name in finished_trainings(machine_dir(factory.data), run):
        try:
            found.append(_trained_candidate(name, run, factory, base))
        except FactoryError as error:
            left_out[name] = f"{error.what} {error.next_step}"
    return found, left_out


def _find(model: str, run: str | None, factory: FactorySettings, base: Candidate) -> Candidate:
    label, assigned, source = model.partition("=")
    if not _LABEL.fullmatch(label):
        raise SettingsError(
            f"--model {model!r}: a label has letters, digits, dots, - and _ only.",
            safe="Nothing was started.",
            next_step="Write base, the name of a training run, or LABEL=endpoint:NAME.",
        )
    if not assigned:
        return base if label == BASE else _trained_candidate(label, run, factory, base)
    kind, _, name = source.partition(":")
    if kind != "endpoint" or name not in factory.endpoints:
        known = ", ".join(sorted(factory.endpoints))
        raise SettingsError(
            f"--model {model!r} names no endpoint; known endpoints: {known}.",
            safe="Nothing was started.",
            next_step=f"Write it like {label}=endpoint:{next(iter(factory.endpoints))}, or add [endpoints.NAME] to "
            "factory.toml.",
        )
    return Candidate(label, name, factory.endpoints[name])


def _trained_candidate(name: str, run: str | None, factory: FactorySettings, base: Candidate) -> Candidate:
    here = machine_dir(factory.data)
    record = read_trained(here, name, run)
    if run is not None and record.run != run:
        raise SettingsError(
            f"The training run {name!r} learned from run {record.run!r}, not from {run!r}: what it has seen "
            "would not be held out.",
            safe="Nothing was started.",
            next_step=f"Type: rpo evaluate --run {record.run} --model {name}",
        )
    endpoint = serve_trained(here, name, base.endpoint_name, base.endpoint)
    return Candidate(name, f"trained_{name}", endpoint)
