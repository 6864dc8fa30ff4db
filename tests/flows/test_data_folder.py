"""The data folder as a person names it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.cli import sql, status
from flows.cli_maintenance import compact
from flows.run import open_run
from models.errors import SettingsError, StageError, StorageError
from models.settings import FactorySettings
from storage.call_cache import CALL_CACHE_FILE, CallCache
from storage.roots import data_root


@contextmanager
def somebody_else() -> Iterator[None]:
    """Root may write and read everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def test_a_wrong_name_makes_no_folder(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(StorageError, match="no data folder"):
        sql("select count(*) from pairs", data=str(nowhere))
    with pytest.raises(StorageError, match="no data folder"):
        compact(data=str(nowhere))
    assert not nowhere.exists()


def test_a_file_is_no_data(tmp_path: Path) -> None:
    (tmp_path / "factory.toml").touch()
    with pytest.raises(SettingsError, match="is a file"):
        data_root(str(tmp_path / "factory.toml"))


def test_a_folder_that_may_only_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        CallCache(folder / CALL_CACHE_FILE).close()
        folder.chmod(0o555)
        with somebody_else():
            status(data=name, as_json=True)
            assert capsys.readouterr().out == "[]\n"
        folder.chmod(0o000)
        with somebody_else(), pytest.raises(SettingsError, match="may not be read"):
            status(data=f"{name}/data", as_json=True)
        folder.chmod(0o755)


def test_why_a_run_failed_is_told_also_where_the_catalog_cannot_be_built(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/other.json").write_text("{")
    with pytest.raises(StageError, match="why it failed"), open_run(FactorySettings(run="mine", data=str(tmp_path))):
        raise StageError("why it failed")
