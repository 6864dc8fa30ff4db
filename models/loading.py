"""Settings from ``factory.toml``, the environment and the command line, in that order; the last one wins."""

from __future__ import annotations

import copy
import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from models.errors import SettingsError
from models.settings import FactorySettings

SETTINGS_FILE = "factory.toml"
ENV_PREFIX = "RPO_"
FACTORY_KEYS = "`rpo doctor --settings` lists every key with its description."

Settings = TypeVar("Settings", bound=BaseModel)


def load_settings(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Iterable[str] = (),
    base: Mapping[str, Any] | None = None,
) -> FactorySettings:
    """Read the settings of a run.

    Args:
        path: A TOML file; None: ``factory.toml`` in the current folder if there is one.
        environ: ``RPO_DIALOGUES__TURNS=3`` sets ``dialogues.turns``; values are JSON where they read as JSON.
        overrides: ``dialogues.turns=3``, as from the command line.
        base: Settings that all of these change, such as those of an earlier run; None: the defaults.

    Raises:
        SettingsError: A file that is not there or not TOML, an unknown key (the nearest known one is named), or a
            value out of bounds.
    """
    if path is None and Path(SETTINGS_FILE).is_file():
        path = Path(SETTINGS_FILE)
    return load_as(FactorySettings, path, environ=environ, overrides=overrides, keys=FACTORY_KEYS, base=base)


def load_as(
    model: type[Settings],
    path: Path | None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Iterable[str] = (),
    keys: str,
    base: Mapping[str, Any] | None = None,
) -> Settings:
    """Settings of any kind from a TOML file, the environment and overrides; as ``load_settings``.

    Args:
        model: The settings.
        path: A TOML file, or none.
        environ: Variables that begin with ``RPO_``.
        overrides: ``KEY=VALUE``.
        keys: Where every key is explained, for the message.
        base: As for ``load_settings``.

    Raises:
        SettingsError: As ``load_settings``.
    """
    values: dict[str, Any] = copy.deepcopy(dict(base or {}))
    if path is not None:
        try:
            values |= tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            raise SettingsError(
                f"The settings file {path} cannot be read: {error.strerror}.",
                next_step="Give another one with --config, or none for the defaults.",
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"The settings file {path} is not TOML: {error}.") from error
    for name, text in sorted((environ or {}).items()):
        if name.startswith(ENV_PREFIX) and name != ENV_PREFIX:
            _assign(values, name.removeprefix(ENV_PREFIX).lower().split("__"), text, source=name)
    for item in overrides:
        key, equals, text = item.partition("=")
        if not equals:
            raise SettingsError(f"--set takes KEY=VALUE, not {item!r}.", next_step="Example: --set dialogues.turns=3")
        _assign(values, key.strip().split("."), text, source=f"--set {key.strip()}")
    return validate_as(model, values, source=str(path) if path else "the settings", keys=keys)


def validate_settings(values: Mapping[str, Any], *, source: str = "the settings") -> FactorySettings:
    """The factory's settings in a nested mapping.

    Raises:
        SettingsError: With a line for each wrong key.
    """
    return validate_as(FactorySettings, values, source=source, keys=FACTORY_KEYS)


def validate_as(model: type[Settings], values: Mapping[str, Any], *, source: str, keys: str) -> Settings:
    """The settings in a nested mapping, or one message that lists everything wrong with it.

    Args:
        model: The settings.
        values: The mapping.
        source: Where it is from, for the message.
        keys: Where every key is explained, for the message.

    Raises:
        SettingsError: With a line for each wrong key.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_explain(model, problem) for problem in error.errors()]
        raise SettingsError(
            f"In {source}: " + "; ".join(lines) + ".", safe="Nothing was started.", next_step=keys
        ) from error


def _assign(values: dict[str, Any], keys: list[str], text: str, *, source: str) -> None:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    inner = values
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"{source}: {key!r} is a single value and has no keys inside.")
    inner[keys[-1]] = value


def _explain(model: type[BaseModel], problem: Any) -> str:
    """One validation error as a person would say it, with the nearest known key for an unknown one."""
    location = [str(step) for step in problem["loc"]]
    name = ".".join(location) or "settings"
    if problem["type"] != "extra_forbidden":
        message = problem["msg"].removeprefix("Value error, ")
        # a key pasted where its variable's name belongs must not come back in a message
        shown = "" if isinstance(problem["input"], dict | list | BaseModel) else f" (it is {problem['input']!r})"
        return f"{name}: {message}{'' if 'api_key' in name else shown}"
    known = list(_model_at(model, location[:-1]).model_fields)
    near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.4)
    prefix = "".join(f"{step}." for step in location[:-1])
    hint = f"did you mean {prefix}{near[0]}?" if near else f"known keys: {', '.join(known)}"
    return f"unknown key {name}; {hint}"


def _model_at(model: type[BaseModel], location: list[str]) -> type[BaseModel]:
    """The settings model at a path of keys; keys of a mapping are skipped."""
    for step in location:
        if step in model.model_fields:
            model = _inner_model(model.model_fields[step].annotation) or model
    return model


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) is Literal:
        return None
    found = (_inner_model(argument) for argument in get_args(annotation))
    return next((model for model in found if model is not None), None)


def describe_settings(model: type[BaseModel] = FactorySettings, prefix: str = "") -> list[tuple[str, str, str]]:
    """Every key with its default and description, depth first: what ``rpo doctor --settings`` and the docs show."""
    rows: list[tuple[str, str, str]] = []
    for name, info in model.model_fields.items():
        inner = _inner_model(info.annotation)
        is_mapping = get_origin(info.annotation) is dict
        key = f"{prefix}{name}" + (".NAME" if is_mapping else "")
        if inner is None:
            default = "" if info.is_required() else json.dumps(info.default, default=str, ensure_ascii=False)
            rows.append((key, default, info.description or ""))
        else:
            rows.append((key, "", info.description or ""))
            rows.extend(describe_settings(inner, f"{key}."))
    return rows
