"""What is refused before a run begins, so that it does not fail after it has paid."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from models.endpoints import RoleName
from models.errors import SettingsError
from models.settings import FactorySettings
from storage.manifests import ImportedFrom, Manifest, load, manifest_path
from storage.roots import data_root


def refuse_idle_roles(settings: FactorySettings) -> None:
    """A role that nobody asks would be a setting without effect, and an author without a judge one without pairs.

    Raises:
        SettingsError: There is such a role.
    """
    if settings.roles.critic is not None and not (settings.dialogues.min_score and settings.dialogues.refinements):
        raise SettingsError(
            "roles.critic would never be asked: dialogues.min_score or dialogues.refinements is 0.",
            safe="Nothing was started.",
            next_step="Raise them, or remove roles.critic from the settings.",
        )
    if settings.roles.author is not None and settings.roles.judge is None:
        raise SettingsError(
            "roles.author writes constraints that no check decides, and there is no roles.judge to decide them: hardly "
            "a response would make a pair.",
            safe="Nothing was started.",
            next_step="Set roles.judge, or remove roles.author: the catalogue's constraints need no judge.",
        )


def require_keys(settings: FactorySettings, roles: Sequence[RoleName]) -> None:
    """Refuse what would fail at the first call of one of the roles.

    Raises:
        SettingsError: The variable that should hold an endpoint's key is not set.
    """
    players = [role for name in roles if (role := settings.role(name)) is not None]
    for name in sorted({role.endpoint for role in players}):
        variable = settings.endpoints[name].api_key_env
        if variable and not os.environ.get(variable):
            raise SettingsError(
                f"endpoints.{name}.api_key_env names the environment variable {variable}, which is not set.",
                safe="Nothing was started.",
                next_step=f"export {variable}=... (the key itself belongs in no settings file)",
            )


def find_earlier(settings: FactorySettings) -> Manifest | None:
    """The run of that name that is there already.

    Raises:
        StorageError: Its manifest is damaged.
    """
    root = data_root(settings.data)
    return load(root, settings.run) if manifest_path(root, settings.run).is_file() else None


def refuse_other_kind(
    there: Manifest, settings: FactorySettings, of_kind: Mapping[str, str | None], imported: ImportedFrom | None
) -> None:
    """An evaluation, a sample or an import must not take the name of a factory run, nor of another import.

    Args:
        there: The run of that name.
        settings: Those of the run that begins.
        of_kind: What the run is, by the fields of its manifest.
        imported: The file that it is imported from.

    Raises:
        SettingsError: A run of that name is of another kind.
    """
    if there.model_dump(include=set(of_kind)) != of_kind or there.imported != imported:
        what = "a factory run" if there.imported is None else f"an import (`{there.imported.command}`)"
        if there.benchmark is not None:
            what = f"an evaluation on {there.benchmark}" + (f" of run {there.evaluates!r}" if there.evaluates else "")
        elif there.evaluates is not None:
            what = f"an evaluation of run {there.evaluates!r}"
        elif there.estimates is not None:
            what = f"a sample of run {there.estimates!r}"
        option = "--name" if of_kind["evaluates"] or of_kind["benchmark"] else "--run"
        raise SettingsError(
            f"{settings.run!r} is the name of {what} in {settings.data}.",
            safe="Nothing was started.",
            next_step=f"Give another name: `{option} NAME`.",
        )


def refuse_other_policy(there: Manifest, policy: str | None) -> None:
    """A round must not take the name of another, nor lose its own by a forgotten option.

    Raises:
        SettingsError: The run of that name has another policy.
    """
    sampled = there.policy
    if sampled != policy:
        what = "its settings name" if sampled is None else f"the training run {sampled!r} made"
        again = "without --policy" if sampled is None else f"with `--policy {sampled}`"
        raise SettingsError(
            f"{there.run!r} is the name of a run that sampled from the policy that {what}.",
            safe="Nothing was started.",
            next_step=f"Go on with it {again}, or give another name: `--run NAME`.",
        )
