"""Pushing an export, with the real client against a stand-in for the Hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.exports import make_run
from flows.cli_export import export
from models.errors import HubError, SettingsError
from models.settings import Export
from storage.exports import export_run
from storage.exports.hub import TRIES, Destination, Pushed, check_destination, list_files, push_folder
from storage.manifests import load
from storage.parts import PartStore
from tests.hub_server import READER, TOKEN, Fault, HubServer, Repo
from tests.storage.test_exports import empty_run

pytest.importorskip("huggingface_hub", reason="needs the extra hub or dev: huggingface_hub")

ROOT = Path(__file__).resolve().parents[2]
REPO = "lab/pairs"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("run") / "data"
    make_run(root, 1)
    return root


@pytest.fixture(scope="module")
def folder(data: Path) -> Path:
    return Path(export_run(PartStore(data), load(data, "bench"), Export()).folder)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A stand-in that the client of this process talks to, over the classic LFS uploads: Xet has no stand-in."""
    from huggingface_hub import constants

    with HubServer() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub._commit_api.is_xet_available", lambda: False)
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
        monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


def push(folder: Path, *, private: bool = False, revision: str = "main", repo: str = REPO) -> Pushed:
    return push_folder(folder, Destination(repo=repo, private=private, revision=revision), "bench")


def read_folder(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in list_files(folder)}


def test_what_is_there_is_what_was_written(hub: HubServer, folder: Path) -> None:
    done = push(folder, private=True)
    repo = hub.repos[REPO]
    assert repo.private and repo.branches["main"].files == read_folder(folder)
    assert done.changed and done.commit == repo.branches["main"].commits[-1]
    assert done.url == f"{hub.url}/datasets/{REPO}/tree/main"
    assert len(hub.objects) == hub.count("PUT /lfs/") == sum(".parquet" in name for name in list_files(folder))
    assert len(repo.branches["main"].commits) == 2


def test_the_same_bytes_make_no_commit(hub: HubServer, folder: Path) -> None:
    first = push(folder)
    uploads = hub.count("PUT")
    again = push(folder)
    assert again == first.model_copy(update={"changed": False})
    assert hub.count("POST .*/commit/") == 1 and hub.count("PUT") == uploads


def test_what_is_gone_from_the_export_goes_and_what_is_not_ours_stays(hub: HubServer, data: Path, folder: Path) -> None:
    push(folder)
    files = hub.repos[REPO].branches["main"].files
    files["notes.txt"] = b"by hand"
    files["parquet/rpo/train-00001-of-00002.parquet"] = b"of a larger run"
    smaller = data / "smaller"
    export_run(PartStore(data), load(data, "bench"), Export(formats=["parquet"]), target=smaller)
    assert push(smaller).changed
    assert hub.repos[REPO].branches["main"].files == {**read_folder(smaller), "notes.txt": b"by hand"}


def test_a_branch_of_its_own(hub: HubServer, folder: Path) -> None:
    hub.repos[REPO] = Repo(private=False)
    assert push(folder, revision="round2").changed
    assert hub.repos[REPO].branches["round2"].files == read_folder(folder)
    assert hub.repos[REPO].branches["main"].files == {}
    assert not push(folder, revision="round2").changed


def test_private_is_not_given_for_a_dataset_that_everybody_sees(hub: HubServer, folder: Path) -> None:
    hub.repos[REPO] = Repo(private=False)
    with pytest.raises(HubError, match=r"everybody can see it.*Nothing was pushed"):
        push(folder, private=True)
    assert hub.repos[REPO].branches["main"].files == {}


@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET /api/datasets", 503, times=2),
        Fault("POST /api/repos/create", 502),
        Fault("POST .*/preupload/", 500, times=3),
        Fault("POST .*/objects/batch", 504),
        Fault("PUT /lfs/", 500, times=2),
        Fault("PUT /lfs/", 0, times=3),
        Fault("POST /lfs/verify", 503),
        Fault("POST .*/commit/", 429),
        Fault("POST .*/commit/", 0),
    ],
    ids=str,
)
def test_trouble_that_passes(hub: HubServer, folder: Path, fault: Fault) -> None:
    hub.faults = [fault]
    assert push(folder).changed
    assert fault.times == 0
    assert hub.repos[REPO].branches["main"].files == read_folder(folder)
    assert len(hub.repos[REPO].branches["main"].commits) == 2


def test_a_commit_whose_answer_is_lost_is_found(hub: HubServer, folder: Path) -> None:
    hub.faults = [Fault("POST .*/commit/", 0, after=True)]
    done = push(folder)
    assert done.changed and done.commit == hub.repos[REPO].branches["main"].commits[-1]
    assert len(hub.repos[REPO].branches["main"].commits) == 2


def test_an_upload_that_breaks_for_good_goes_on_where_it_was(hub: HubServer, folder: Path) -> None:
    [first, *_] = sorted(name for name in list_files(folder) if name.endswith(".parquet"))
    assert first
    hub.repos[REPO] = Repo(private=False)
    hub.faults = [Fault("POST .*/commit/", 500, times=TRIES)]
    with pytest.raises(HubError, match=rf"answered 500, {TRIES} times.*as it was.*same command again"):
        push(folder)
    assert hub.repos[REPO].branches["main"].files == {}
    uploads = hub.count("PUT")
    assert push(folder).changed
    assert hub.count("PUT") == uploads


@pytest.mark.parametrize(
    ("token", "repo", "message"),
    [
        ("hf_revoked", REPO, r"does not know the token \(401\).*HF_TOKEN"),
        (READER, REPO, r"may not write there \(403\).*write permission for 'lab'"),
        (TOKEN, "strangers/pairs", r"may not write there \(403\).*write permission for 'strangers'"),
    ],
)
def test_refusals_say_what_to_do(
    hub: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch, token: str, repo: str, message: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubError, match=message) as caught:
        push(folder, repo=repo)
    assert token not in str(caught.value)


def test_a_hub_that_is_not_there(hub: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"http://127.0.0.1:9 .*does not answer \(ConnectError\).*HF_ENDPOINT"):
        push(folder)


@pytest.mark.parametrize("name", ["pairs", "a/b/c", "../x", "lab/", "lab/a b", "lab/-x", "lab/a..b", "lab/a--b"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(SettingsError, match="not the name of a dataset"):
        check_destination(name, private=False, revision=None)
    with pytest.raises(SettingsError, match="not the name of a branch"):
        check_destination(REPO, private=False, revision="a b")


def rpo(data: Path, home: Path, *options: str, **env: str) -> tuple[str, str]:
    """The command, as a person types it."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "rpo.py"), "export", "--run", "bench", "--data", str(data), *options],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "HF_HUB_DISABLE_XET": "1", "COLUMNS": "200", **env},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_the_command(data: Path, tmp_path: Path) -> None:
    push_it = ("--format", "parquet", "--license", "cc-by-4.0", "--push", REPO)
    with HubServer() as server:
        said = [rpo(data, tmp_path, *push_it, "--dry-run", HF_ENDPOINT=server.url)]
        assert f"Would push to {REPO} (main) on {server.url}: " in said[0][0] and "README.md" in said[0][0]
        assert not server.requests
        said.append(rpo(data, tmp_path, *push_it, "--json", HF_ENDPOINT=server.url, HF_TOKEN=TOKEN))
        done = json.loads(said[1][0])
        files = server.repos[REPO].branches["main"].files
        assert done["push"]["changed"]
        assert {name: len(content) for name, content in files.items()} == done["push"]["files"]
        assert b"license: cc-by-4.0" in files["README.md"]
        said.append(rpo(data, tmp_path, *push_it, HF_ENDPOINT=server.url, HF_TOKEN=TOKEN))
        assert "has these very files already: no new commit" in said[2][0]
    assert not any(TOKEN in text for texts in said for text in texts)
    for path in (*tmp_path.rglob("*"), *data.rglob("*")):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"push": REPO}, "There is no token for the Hub.*HF_TOKEN"),
        ({"private": True}, "belong to --push"),
        ({"license_": "My License!"}, "--license: String should match pattern"),
        ({"validation_share": 2.0}, "--validation-share: Input should be less than 1"),
    ],
)
def test_what_the_command_refuses_before_it_writes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match=message):
        export(run="bench", data=str(data), **options)


def test_an_export_without_rows_is_not_pushed(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_run(data, tmp_path)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(HubError, match=r"has no rows.*The Hub was not asked"):
        export(run="bench", data=str(tmp_path), format_=["trl"], push=REPO)
