"""``rpo resume`` knows every flow of ours, on a real Prefect server."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Failed, Running

from flows.demo import demo_with_training
from flows.estimate import estimate
from flows.import_answers import import_responses
from flows.importing import import_rows
from flows.resume import FLOWS, resume_run
from flows.stopping import stoppable
from flows.training import train
from models.errors import PrefectServerError, SettingsError
from tests.flows.conftest import ROOT, Rpo, free_port, one_message, settings_file, start_scripted, stop


@pytest.fixture
def client(prefect_env: dict[str, str]) -> Iterator[SyncPrefectClient]:
    with (
        temporary_settings({PREFECT_API_URL: prefect_env["PREFECT_API_URL"]}),
        get_client(sync_client=True) as connected,
    ):
        yield connected


def fail(client: SyncPrefectClient, flow: Flow[..., Any], **parameters: Any) -> None:
    run = client.create_flow_run(flow, parameters=parameters, state=Running())
    client.set_flow_run_state(run.id, Failed(message="the moon is full"), force=True)


def test_every_flow_that_something_begins_with_is_known() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text("utf-8"))["deployments"]
    begun = {demo_with_training.name}
    for entry in {deployment["entrypoint"] for deployment in deployments}:
        module, name = entry.split(":")
        begun.add(getattr(import_module(module.removesuffix(".py").replace("/", ".")), name).name)
    assert begun == FLOWS.keys()


def test_the_last_run_of_any_flow(client: SyncPrefectClient, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "runs").mkdir(parents=True)
    (data / "runs/resumed.json").touch()
    settings = {"run": "resumed", "data": str(data)}
    fail(client, import_responses, settings=settings, answers={"path": "answers.jsonl"})
    found = resume_run("resumed")
    assert (found.flow, found.by, found.state, found.message) == (
        "import-responses",
        "this process",
        "Failed",
        "the moon is full",
    )
    assert found.parameters["settings"].data == str(data) and found.parameters["answers"]["path"] == "answers.jsonl"
    fail(client, train, settings={**settings, "training": {"method": "kto"}})
    assert resume_run(None).run == "resumed_kto"
    fail(client, estimate, settings=settings, roles=2)
    assert (resume_run(None).run, resume_run("resumed_estimate").flow) == ("resumed_estimate", "estimate")
    fail(client, import_rows, settings={"kind": "personas", "file": "personas.csv"})
    assert resume_run(None).run == "import-personas" == resume_run("import-personas").run
    fail(client, train, settings={"run": "elsewhere", "data": str(data)})
    with pytest.raises(SettingsError, match=r"nothing of run 'elsewhere_rpo'.*the same `rpo train` again"):
        resume_run(None)
    # of another version of ours
    fail(client, train, settings={"run": "elsewhere", "data": str(data), "moon": "full"})
    with pytest.raises(SettingsError, match="unknown key moon"):
        resume_run("elsewhere")


def test_a_server_that_is_gone() -> None:
    with (
        temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}),
        pytest.raises(PrefectServerError, match="does not answer"),
        stoppable(),
    ):
        pytest.fail("it began")


@pytest.mark.slow
def test_an_evaluation_goes_on_where_it_was_started(rpo: Rpo, tmp_path: Path) -> None:
    port = free_port()
    config = settings_file(tmp_path, f"http://127.0.0.1:{port}/v1", extra="max_tries = 1")
    file = str(ROOT / "seeds/ifeval/input_data.jsonl")
    options = ("--limit", "2", "--file", file, "--data", "data", "--config", str(config), "--name", "measured")
    text = rpo("evaluate", "--benchmark", "ifeval", *options, code=1)
    assert "no connection" in one_message(text) and "`rpo resume measured`" in text
    server = start_scripted(port=port)
    try:
        done = rpo.json("resume", "measured")
        assert (done["evaluation"], done["dialogues"], done["calls_made"]) == ("measured", 2, 2)
    finally:
        stop(server.process)
