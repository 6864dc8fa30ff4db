"""Two machines and an S3 store: separate homes, no shared disk; one correct run, whoever is killed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from storage.leases import LEASE_S
from storage.manifests import load
from storage.parts import PartStore
from storage.roots import Root, data_root
from storage.shared_calls import SHARE_S
from tests.flows.conftest import Rpo, settings_file, start_scripted, stop
from tests.flows.test_kill import kill_group
from tests.report_page import report_of
from tests.s3_store import BUCKET, Store, environment, start_store
from tests.tiny_model import make_tiny_model

DATA = f"s3://{BUCKET}/data"
LATENCY_S = 0.5
# what differs from run to run: how long each call took
TIMED = ("llm_calls",)


@dataclass
class Machine:
    """A home of its own; nothing but the store and the Prefect server is shared."""

    rpo: Rpo
    home: Path

    @property
    def cache(self) -> Path:
        [folder] = (self.home / "cache/rpo-factory").iterdir()
        return folder


def machine(env: dict[str, str], folder: Path, store: Store) -> Machine:
    folder.mkdir()
    home = {"HOME": str(folder), "PREFECT_HOME": str(folder / "prefect"), "XDG_CACHE_HOME": str(folder / "cache")}
    return Machine(Rpo({**env, **store.env, **home}, folder), folder)


def wait_for(condition: Any, process: subprocess.Popen[str], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)


def hash_parts(root: Root) -> dict[tuple[str, str], str]:
    """The bytes of every part of the run, by dataset and key."""
    store = PartStore(root)
    found = {}
    for ref in load(root, "test").parts:
        if ref.dataset not in TIMED:
            found[ref.dataset, ref.key] = hashlib.sha256(store.locate(ref).read_bytes()).hexdigest()
    return found


def hash_files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_one_machine_finishes_what_a_killed_one_began(prefect_env: dict[str, str], tmp_path: Path) -> None:
    model, calm = start_scripted("--latency-ms", str(LATENCY_S * 1000)), start_scripted()
    with start_store() as store, environment(store.env):
        try:
            first, second, third = (machine(prefect_env, tmp_path / name, store) for name in ("a", "b", "c"))
            (tmp_path / "shared").mkdir()
            config = settings_file(tmp_path / "shared", model.base_url)
            run = ["run", "--config", str(config), "--data", DATA, "--set", "seeds.max_roles=4"]
            slow = first.rpo.start(*run, "--set", "endpoints.scripted.max_concurrency=2")
            wait_for(lambda: sum(model.counts()["completed_calls"].values()) >= 8, slow)
            waiting = second.rpo.start(*run)
            done = model.counts()
            time.sleep(SHARE_S + 2)
            assert waiting.poll() is None and slow.poll() is None
            kill_group(slow)
            killed_at = time.monotonic()
            # what it had left in flight is answered into the void
            time.sleep(LATENCY_S)
            lost = sum(model.counts()["completed_calls"].values()) - sum(done["completed_calls"].values())
            # meanwhile, in a folder and undisturbed; where a server is says nothing about its answers
            undisturbed = settings_file(tmp_path, calm.base_url)
            local = third.rpo.json("run", "--config", str(undisturbed), "--set", "seeds.max_roles=4")
            _, err = waiting.communicate(timeout=300)
            assert waiting.returncode == 0, err
            assert "is being worked on by process" in err
            assert time.monotonic() - killed_at > LEASE_S - SHARE_S

            after = model.counts()
            repeated = [call for call in done["completed_calls"] if after["attempts"][call] != done["attempts"][call]]
            assert not repeated, f"{len(repeated)} completed and shared calls were made again"
            assert sum(count - 1 for count in after["completed_calls"].values()) <= lost

            here, there = tmp_path / "data", data_root(DATA)
            assert hash_parts(there) == hash_parts(here)
            assert {dataset for dataset, _ in hash_parts(here)} >= {"systems", "turns", "judgments", "pairs", "audits"}
            assert local["pairs"] > 0

            # a third machine, which has seen nothing of it
            [counted] = third.rpo.json("sql", "select count(*) as n from test.pairs", "--data", DATA)
            assert counted["n"] == local["pairs"]
            assert third.rpo.json("report", "--data", DATA)["report"] == str(report_of(third.cache, "test"))
            third.rpo("export", "--run", "test", "--data", DATA)
            exported = hash_files(third.cache / "exports/test")
            assert exported == hash_files(second.cache / "exports/test") == hash_files(here / "exports/test")

            findings = third.rpo.json("doctor", "--store", "--data", DATA)
            assert [finding for finding in findings if not finding["ok"]] == []
            freed = third.rpo.json("gc", "--delete", "--grace", "0", "--data", DATA)
            assert (freed["deleted"], freed["left_alone"]) == (True, [])
            assert {total["what"] for total in freed["freed"]} <= {"llm_calls", "exclusions", "temporaries"}
            assert all(finding["ok"] for finding in third.rpo.json("doctor", "--store", "--data", DATA))
        finally:
            stop(model.process)
            stop(calm.process)

    for folder in (first, second, third):
        for path in folder.home.rglob("*"):
            if path.is_file() and not path.is_symlink():
                assert store.env["AWS_SECRET_ACCESS_KEY"].encode() not in path.read_bytes(), path


def test_a_store_that_cannot_be_used_is_one_message(prefect_env: dict[str, str], tmp_path: Path) -> None:
    with start_store() as store:
        somewhere = machine(prefect_env, tmp_path / "a", store)
        err = somewhere.rpo("run", "--data", "s3://nowhere/data", code=1)
        assert "there is no bucket 'nowhere'" in err and "Traceback" not in err


@pytest.mark.long
def test_a_run_in_a_store_is_checked_trained_on_and_measured(prefect_env: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="needs the extra `train`")
    model = start_scripted("--model", "scripted")
    with start_store() as store:
        try:
            home = machine({**prefect_env, "OMP_NUM_THREADS": "1"}, tmp_path / "a", store)
            config = settings_file(home.home, model.base_url)  # factory.toml of the folder it is started in
            text = config.read_text().replace(json.dumps(str(home.home / "data")), json.dumps(DATA))
            config.write_text(text)
            findings = home.rpo.json("doctor")
            assert all(finding["ok"] for finding in findings), findings
            assert any("conditional writes" in finding["what"] for finding in findings)

            made = home.rpo.json("run")
            assert made["audited"] == made["pairs"] > 0
            again = home.rpo.json("run")
            assert (again["calls_made"], again["pairs"]) == (0, made["pairs"])

            make_tiny_model(tmp_path / "tiny")
            given = [f"training.model={tmp_path / 'tiny'}", "training.gradient_checkpointing=false", "pairs.max_rows=8"]
            options = [f"--set={item}" for item in given]
            trained = home.rpo.json("train", "--run", "test", "--data", DATA, "--name", "tiny", *options)
            assert Path(trained["folder"]) == home.cache / "training/tiny"

            measure = ["evaluate", "--run", "test", "--data", DATA, "--model", "base", "--systems", "1"]
            measured = home.rpo.json(*measure)
            [metric] = [each for each in measured["metrics"] if each["metric"] == "csr"]
            asked = "select value from metrics where metric = 'csr'"
            assert home.rpo.json("sql", asked, "--data", DATA) == [{"value": metric["value"]}]
        finally:
            stop(model.process)
