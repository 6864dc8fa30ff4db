"""The data folder as a person names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.cli import sql
from flows.cli_maintenance import compact
from models.errors import SettingsError, StorageError
from storage.roots import data_folder, data_root


def test_a_wrong_name_makes_no_folder(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(StorageError, match="no data folder"):
        sql("select count(*) from pairs", data=str(nowhere))
    with pytest.raises(StorageError, match="no data folder"):
        compact(data=str(nowhere))
    assert not nowhere.exists()


def test_a_file_is_no_data(tmp_path: Path) -> None:
    (tmp_path / "factory.toml").touch()
    for read in (data_root, data_folder):
        with pytest.raises(SettingsError, match="is a file"):
            read(str(tmp_path / "factory.toml"))
