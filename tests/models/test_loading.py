from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import SettingsError
from models.loading import describe_settings, load_settings, validate_settings
from models.settings import FactorySettings


def test_the_last_source_wins(tmp_path: Path) -> None:
    path = tmp_path / "factory.toml"
    path.write_text('run = "a"\nsamples = 3\n[dialogues]\nturns = 2\n')
    environ = {"RPO_SAMPLES": "4", "RPO_DIALOGUES__TURNS": "3", "HOME": "/"}
    settings = load_settings(path, environ=environ, overrides=["dialogues.turns=4", "data=/some/where"])
    assert (settings.run, settings.samples, settings.dialogues.turns, settings.data) == ("a", 4, 4, "/some/where")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"smaples": 3}, "did you mean samples?"),
        ({"dialogues": {"turn": 3}}, "did you mean dialogues.turns?"),
        ({"endpoints": {"x": {"model": "m", "base_uri": "http://a"}}}, "did you mean endpoints.x.base_url?"),
        ({"roles": {"policy": {"endpoint": "demo", "temprature": 1}}}, "did you mean roles.policy.temperature?"),
        ({"samples": 1}, "greater than or equal to 2 (it is 1)"),
        ({"roles": {"policy": {"endpoint": "nowhere"}}}, "known endpoints: demo"),
        ({"endpoints": {"demo": {"model": "m"}}}, "either base_url or serve"),
        ({"run": "main"}, "a schema of the catalog"),
        ({"run": "order"}, "a word of SQL"),
        ({"run": "../up"}, "run: String should match pattern"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        validate_settings(values)
    assert words in caught.value.what


def test_a_key_in_the_wrong_place_is_not_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        validate_settings({"endpoints": {"x": {"model": "m", "base_url": "u", "api_key": "sk-very-secret"}}})
    assert "did you mean endpoints.x.api_key_env?" in str(caught.value)
    assert "sk-very-secret" not in str(caught.value)
    with pytest.raises(SettingsError) as caught:
        validate_settings({"endpoints": {"x": {"model": "m", "base_url": "u", "api_key_env": ["sk-very-secret"]}}})
    assert "sk-very-secret" not in str(caught.value)


@pytest.mark.parametrize("given", ["https://me:sk-very-secret@host/v1", ["http://a", "https://sk-very-secret@host/v1"]])
def test_a_password_in_an_address_is_refused_and_not_shown(given: str | list[str]) -> None:
    with pytest.raises(SettingsError, match="api_key_env") as caught:
        validate_settings({"endpoints": {"x": {"model": "m", "base_url": given}}})
    assert "sk-very-secret" not in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("run = \n")
    with pytest.raises(SettingsError, match="is not TOML"):
        load_settings(tmp_path / "bad.toml")
    with pytest.raises(SettingsError, match="KEY=VALUE"):
        load_settings(overrides=["samples"])


def test_every_setting_is_described() -> None:
    rows = describe_settings()
    assert {"run", "dialogues.turns", "endpoints.NAME.serve.port", "roles.policy.temperature"} <= {
        row[0] for row in rows
    }
    assert all(description for _, _, description in rows)


def test_the_form_has_descriptions() -> None:
    schema = FactorySettings.model_json_schema()
    models = [schema, *schema["$defs"].values()]
    for item in (item for model in models for item in model.get("properties", {}).values()):
        # where a field says what its model says, the form shows the model's
        referred = schema["$defs"].get(item.get("$ref", "").rpartition("/")[2], {})
        assert item.get("description") or referred.get("description"), item


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "examples").glob("*.toml")), ids=lambda p: p.name)
def test_examples_are_valid(path: Path) -> None:
    load_settings(path)
