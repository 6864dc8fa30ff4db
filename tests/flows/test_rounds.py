"""Rounds: the factory over the policy that was trained on the run before, compared on the same turns."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flows.rounds import begin_round, earlier_settings
from flows.trained import serve_trained
from flows.training import policy_weights
from models.endpoints import EMBEDDED, Endpoint, Role, Roles, Serve
from models.errors import AdapterError, SettingsError, StorageError
from models.settings import FactorySettings
from models.training import TrainingOptions, TrainingSettings
from storage.manifests import Manifest, load, save
from storage.parts import PartStore
from storage.rounds import find_chain
from tasks.measures import mean
from tasks.measuring import tally_models
from tasks.training.gguf_lora import adapter_identity
from tests.flows.conftest import Rpo, settings_file, start_scripted, stop
from tests.flows.test_evaluation import write_adapter, write_record
from tests.report_page import report_of, table
from tests.tiny_model import write_first_layers

TURNS, SAMPLES = 20, 4
"""2 languages x 5 roles x 2 turns."""


def trained(data: Path, name: str, run: str, **changes: Any) -> Path:
    """A finished training run with an adapter of its own; returns the adapter's folder."""
    final = write_record(data, name, run=run, **changes) / "final"
    (final / "adapter_model.safetensors").write_bytes(name.encode())
    (final / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8, "lora_alpha": 16}), "utf-8")
    return final


def test_two_rounds_over_the_same_turns(rpo: Rpo, tmp_path: Path) -> None:
    data = tmp_path / "data"
    listed = f"test_rpo-{adapter_identity(trained(data, 'test_rpo', 'test'))[:8]}"
    server = start_scripted("--model", "scripted", "--model", listed)
    try:
        first = rpo.json("run", "--config", str(settings_file(tmp_path, server.base_url)))
        assert first["rounds"] == []
        # where there is no settings file the round has those of the run before
        elsewhere = Rpo(rpo.env, data)
        text = elsewhere("run", "--run", "second", "--policy", "test_rpo", "--data", str(data))
        assert "Rounds" in text and "test_rpo" in text
        # only the policy was asked: systems, queries and reference responses are those of the round before
        assert f"{TURNS * SAMPLES} made now" in text
    finally:
        stop(server.process)

    before, after = load(data, "test"), load(data, "second")
    assert [(m.policy, m.previous) for m in (before, after)] == [(None, None), ("test_rpo", "test")]
    assert before.parts_of("turns") == after.parts_of("turns")
    assert rpo.sql(data, "select distinct model from second.responses") == [{"model": listed}]
    assert after.summary is not None
    base, trained_ = after.summary["rounds"]
    rounds = {row[0]: row[1:] for row in table(report_of(data, "second"), "The rounds beside each other")}
    assert rounds["csr"] == [f"{item['csr']:.3f}" for item in (base, trained_)]
    tallies = tally_models(PartStore(data), {m.run: m.parts_of("judgments") for m in (before, after)}, without=[])
    for item in (base, trained_):
        assert (item["responses"], item["turns"], item["unscored"]) == (TURNS * SAMPLES, TURNS, 0)
        # as an evaluation counts
        for metric in ("csr", "isr"):
            assert item[metric] == pytest.approx(mean(tallies[item["run"]][metric]))
    assert (base["shared_dialogues"], base["csr_change"], trained_["shared_dialogues"]) == (None, None, TURNS / 2)
    change = trained_["csr_change"]
    assert change["value"] == pytest.approx(trained_["csr"] - base["csr"])
    assert change["low"] < change["value"] < change["high"]
    counted = "select count(*) pairs, avg(margin) margin, count(distinct (dialogue_id, turn)) turns from second.pairs"
    [pairs] = rpo.sql(data, counted)
    assert (trained_["pairs"], trained_["mean_margin"]) == (pairs["pairs"], pytest.approx(pairs["margin"]))
    assert trained_["turns_without_pairs"] == TURNS - pairs["turns"]


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.long
def test_a_round_over_an_adapter_on_llama_cpp(rpo: Rpo, tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="needs the extra `train`")
    data, model = tmp_path / "data", write_first_layers(tmp_path / "small.gguf", 2)
    final = write_record(data, "first_rpo", run="first", model=str(model)) / "final"
    write_adapter(final, layers=2)
    (tmp_path / "factory.toml").write_text(
        f"""
        run = "first"
        data = {json.dumps(str(data))}
        samples = 2
        [seeds]
        max_roles = 1
        languages = ["en"]
        [dialogues]
        turns = 1
        reference_samples = 1
        min_score = 0
        [endpoints.demo]
        model = "small"
        serve = {{model_path = {json.dumps(str(model))}}}
        [roles.policy]
        max_tokens = 24
        """,
        "utf-8",
    )
    rpo.json("run")
    second = rpo.json("run", "--run", "second", "--policy", "first_rpo")
    # the first policy was not asked again: its one server is that of the adapter
    assert second["calls_made"] == 2
    assert [(item["run"], item["policy"], item["responses"]) for item in second["rounds"]] == [
        ("first", None, 2),
        ("second", "first_rpo", 2),
    ]
    counts = """select (select count(distinct text) from first.responses) first,
        (select count(*) from second.responses join first.responses using (text)) same,
        (select list(distinct model) from second.responses) models"""
    assert rpo.sql(data, counts) == [{"first": 2, "same": 0, "models": ["first_rpo"]}]


SETTINGS = FactorySettings(run="second", endpoints={"demo": EMBEDDED}, roles=Roles(policy=Role(endpoint="demo")))


def save_run(data: Path, name: str, **changes: Any) -> Manifest:
    values = SETTINGS.model_copy(update={"run": name, "data": str(data)}).model_dump(mode="json")
    given: dict[str, Any] = {"run": name, "settings": values, "settings_hash": "", "started_at": datetime.now(UTC)}
    manifest = Manifest.model_validate(given | changes)
    save(data, manifest)
    return manifest


@pytest.fixture
def settings(tmp_path: Path) -> FactorySettings:
    """A data folder with a run and two training runs on it."""
    save_run(tmp_path, "test")
    trained(tmp_path, "test_rpo", "test")
    trained(tmp_path, "lost_rpo", "lost")
    return SETTINGS.model_copy(update={"data": str(tmp_path)})


def test_rounds_that_cannot_begin(settings: FactorySettings) -> None:
    with pytest.raises(SettingsError, match=r"finished ones: .*test_rpo"):
        begin_round(settings, "nobody")
    with pytest.raises(SettingsError, match="no training run"):
        begin_round(settings, "../training/test_rpo")
    with pytest.raises(StorageError, match="no run 'lost'"):
        begin_round(settings, "lost_rpo")
    with pytest.raises(SettingsError, match="descends from run 'test'") as caught:
        begin_round(settings.model_copy(update={"run": "test"}), "test_rpo")
    assert "--run NAME" in caught.value.next_step
    assert begin_round(settings, None) == (settings, None)
    save_run(settings.data_dir, "a", previous="b")
    with pytest.raises(StorageError, match="descends from"):
        find_chain(settings.data_dir, save_run(settings.data_dir, "b", previous="a"))


def test_a_round_keeps_all_but_the_policy(settings: FactorySettings) -> None:
    serve = Serve(engine="transformers", model_path=settings.data)
    plain = settings.model_copy(update={"endpoints": {"demo": Endpoint(model="m", serve=serve)}})
    (settings.data_dir / "config.json").write_text("{}")
    (settings.data_dir / "training/test_rpo/record.json").write_text(
        json.dumps({"run": "test", "model": settings.data, "adapter": True})
    )
    made, previous = begin_round(plain, "test_rpo")
    assert previous == "test"
    assert made.roles.responder == plain.roles.policy
    policy = made.endpoints[made.roles.policy.endpoint]
    assert policy.model == "test_rpo" and policy.identity
    assert policy.serve is not None and policy.serve.lora_path
    other = Role(endpoint="demo", max_tokens=7)
    roles = plain.roles.model_copy(update={"responder": other})
    assert begin_round(plain.model_copy(update={"roles": roles}), "test_rpo")[0].roles.responder == other

    # the next round begins from the first one's policy again, not from the adapter
    save_run(settings.data_dir, "second", previous="test", policy="test_rpo", settings=made.model_dump(mode="json"))
    trained(settings.data_dir, "second_rpo", "second")
    again = earlier_settings(settings.data_dir, "second_rpo")
    assert list(again["endpoints"]) == ["demo"]
    assert FactorySettings.model_validate(again).roles.policy.endpoint == "demo"


def test_training_goes_on_from_the_policy_that_sampled(settings: FactorySettings) -> None:
    wanted = TrainingSettings(run="second", data=settings.data)
    first, second = load(settings.data_dir, "test"), save_run(settings.data_dir, "second", policy="test_rpo")
    assert policy_weights(first, wanted) == ("embedded", None)
    final = settings.data_dir.resolve() / "training/test_rpo/final"
    assert policy_weights(second, wanted) == ("embedded", str(final))
    with pytest.raises(SettingsError, match="lora_rank = 0") as caught:
        policy_weights(second, wanted.model_copy(update={"training": TrainingOptions(lora_rank=0)}))
    assert "training.model=FOLDER" in caught.value.next_step
    trained(settings.data_dir, "whole", "test", adapter=False)
    third = save_run(settings.data_dir, "third", policy="whole")
    assert policy_weights(third, wanted) == (str(final.parents[1] / "whole/final"), None)


@contextmanager
def model_server(load_status: int) -> Iterator[tuple[str, list[str]]]:
    """A server of yours with one model; it answers a request to load an adapter with a status, and may load it."""
    models = ["base"]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, {"data": [{"id": name} for name in models]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if load_status == 200:
                models.append(asked["lora_name"])
            self._answer(load_status, {"error": {"message": "no adapter there"}})

        def _answer(self, status: int, body: Any) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", models
    server.shutdown()
    server.server_close()


def test_an_adapter_on_a_server_of_yours(settings: FactorySettings) -> None:
    data = settings.data_dir
    name = f"test_rpo-{adapter_identity(data / 'training/test_rpo/final')[:8]}"
    with model_server(200) as (url, models):
        # loaded once, then found
        for _ in range(2):
            endpoint = serve_trained(data, "test_rpo", "mine", Endpoint(base_url=url, model="base"))
        assert (endpoint.model, models) == (name, ["base", name])
        assert endpoint.identity
    for status in (404, 400):
        why = rf"answers {status} when it is asked to load it: .*no adapter there"
        with model_server(status) as (url, _), pytest.raises(AdapterError, match=why) as caught:
            serve_trained(data, "test_rpo", "mine", Endpoint(base_url=url, model="base"))
        assert f"--enable-lora --lora-modules {name}=" in caught.value.next_step
    with pytest.raises(AdapterError, match="does not list its models"):
        serve_trained(data, "test_rpo", "mine", Endpoint(base_url=url, model="base"))
