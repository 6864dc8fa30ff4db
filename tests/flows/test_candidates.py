"""What cannot be measured is refused at the door, with the next step."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.benchmark import benchmark_settings, is_asked_alike
from flows.candidates import find_candidates
from flows.comparison import compare_models
from flows.evaluation import held_out_settings, load_trained
from flows.held_out import hold_out_roles
from flows.run import open_run
from models.endpoints import EMBEDDED, Endpoint, Role, Roles, Serve
from models.errors import AdapterError, FactoryError, SeedError, SettingsError, StorageError
from models.evaluation import BenchmarkSettings, EvaluationSettings
from models.records import RoleSeed
from models.settings import FactorySettings, Seeds
from storage.manifests import Manifest, load, save
from storage.parts import PartStore
from tasks.benchmarks.ifeval import IFEVAL
from tasks.seeds import read_seeds, seed_path
from tests.flows.conftest import ROOT
from tests.flows.test_evaluation import write_record

VLLM = Endpoint(base_url="http://127.0.0.1:1/v1", model="m")
FACTORY = FactorySettings(
    run="test",
    seeds=Seeds(max_roles=5),
    endpoints={"demo": EMBEDDED, "vllm": VLLM},
    roles=Roles(policy=Role(endpoint="demo", max_tokens=72)),
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with a finished run of five roles a language."""
    store = PartStore(tmp_path)
    store.ensure_schemas()
    seeds = read_seeds(seed_path("seeds/roles.jsonl"), RoleSeed, ["en", "zh"])
    used = [seed for language in ("en", "zh") for seed in [s for s in seeds if s.language == language][:5]]
    save_run(tmp_path, "test", parts=[store.write("roles", f"{1:032x}", used)])
    return tmp_path


def save_run(data: Path, name: str, **changes: object) -> None:
    values: dict[str, object] = {
        "run": name, "settings": FACTORY.model_dump(mode="json"), "settings_hash": "", "status": "complete",
        "started_at": datetime.now(UTC),
    }  # fmt: skip
    save(data, Manifest.model_validate(values | changes))


def settings(data: Path, *models: str, **changes: object) -> EvaluationSettings:
    return EvaluationSettings.model_validate({"run": "test", "data": str(data), "models": list(models), **changes})


def refused(data: Path, model: str, factory: FactorySettings = FACTORY) -> FactoryError:
    with pytest.raises((SettingsError, AdapterError)) as caught:
        find_candidates([model], "test", factory.model_copy(update={"data": str(data)}))
    assert caught.value.safe and caught.value.next_step
    return caught.value


def test_models_that_cannot_be_measured(data: Path) -> None:
    write_record(data, "stranger", run="other")
    write_record(data, "foreign", model="/nowhere/other.gguf")
    write_record(data, "whole", adapter=False)
    write_record(data, "good")
    (data / "training/half").mkdir()
    assert "There is no training run 'nobody'" in refused(data, "nobody").what
    assert set(refused(data, "nobody").what.rpartition(": ")[2].rstrip(".").split(", ")) == {"foreign", "good", "whole"}
    assert "'half' is not finished" in refused(data, "half").what
    assert "learned from run 'other'" in refused(data, "stranger").what
    assert "/nowhere/other.gguf" in refused(data, "foreign").what
    assert "holds no weights" in refused(data, "whole").what
    assert "known endpoints: demo, vllm" in refused(data, "mine=endpoint:nothing").what
    assert "a label has letters" in refused(data, "../../etc").what
    (data / "training/whole/final/model.safetensors").write_bytes(b"weights")
    [whole], _ = find_candidates(["whole"], "test", FACTORY.model_copy(update={"data": str(data)}))
    assert whole.endpoint.serve is not None and whole.endpoint.serve.engine == "transformers"
    assert whole.endpoint.identity
    (data / "training/good/final/adapter_model.safetensors").write_bytes(b"weights")
    (data / "training/good/final/adapter_config.json").write_text("{}")
    yours = FACTORY.model_copy(update={"roles": Roles(policy=Role(endpoint="vllm"))})
    error = refused(data, "good", yours)
    assert "server of yours" in error.what
    assert "--enable-lora --lora-modules good-" in error.next_step


def test_endpoints_and_labels(data: Path) -> None:
    found, left_out = find_candidates(["base", "mine=endpoint:vllm"], "test", FACTORY)
    assert [(item.label, item.endpoint_name) for item in found] == [("base", "demo"), ("mine", "vllm")]
    assert not left_out
    policy = found[1].as_policy(FACTORY).roles.policy
    assert policy == FACTORY.roles.policy.model_copy(update={"endpoint": "vllm"})
    with pytest.raises(ValueError, match="base is named twice"):
        settings(data, "base", "base")


def test_runs_that_cannot_be_evaluated(data: Path) -> None:
    with pytest.raises(StorageError, match="There is no run 'nothing'"):
        load_trained(settings(data, run="nothing"))
    save_run(data, "broken", status="failed")
    with pytest.raises(SettingsError, match="'broken' is failed, not complete"):
        load_trained(settings(data, run="broken"))
    save_run(data, "eval", evaluates="test")
    with pytest.raises(SettingsError, match="is an evaluation"):
        load_trained(settings(data, run="eval"))
    with pytest.raises(SettingsError, match="is not a finished evaluation"):
        compare_models(settings(data, name="eval"), ["base", "mine"])
    with pytest.raises(StorageError, match="There is no run 'test_eval'"):
        compare_models(settings(data), ["base", "mine"])


def test_an_evaluation_does_not_take_a_runs_name_nor_the_other_way_round(data: Path) -> None:
    here = FACTORY.model_copy(update={"data": str(data)})
    with pytest.raises(SettingsError, match="'test' is the name of a factory run"), open_run(here, evaluates="test"):
        pass
    save_run(data, "test_eval", evaluates="test")
    taken = here.model_copy(update={"run": "test_eval"})
    with pytest.raises(SettingsError, match="an evaluation of run 'test'"), open_run(taken):
        pass
    assert load(data, "test").status == "complete"


def test_roles_that_training_has_used_are_never_held_out(data: Path, tmp_path: Path) -> None:
    trained = load(data, "test")
    chosen = settings(data, systems=100)
    with open_run(held_out_settings(chosen, trained), evaluates="test") as run:
        parts = hold_out_roles(run, chosen, trained)
        held = {role.role_id for part in parts for role in run.store.read(part.ref, RoleSeed)}
        used = {role.role_id for role in run.store.read(trained.parts[0], RoleSeed)}
        assert (len(held), held & used) == (59, set())
        assert held_out_settings(chosen, trained).seed != FACTORY.seed

        rest = tmp_path / "used.jsonl"
        lines = (ROOT / "seeds/roles.jsonl").read_text("utf-8").splitlines()
        rest.write_text("\n".join(line for line in lines if json.loads(line)["role_id"] in used), "utf-8")
        with pytest.raises(SeedError, match="nothing is left to hold out") as caught:
            hold_out_roles(run, chosen.model_copy(update={"roles": str(rest)}), trained)
        assert "--roles FILE" in caught.value.next_step


def test_an_adapters_endpoint_needs_an_identity_of_its_own() -> None:
    with pytest.raises(ValueError, match="give identity too"):
        Endpoint(model="m", serve=Serve(lora_path="adapter.gguf"))


def test_what_a_benchmark_is_run_with(data: Path) -> None:
    asked = BenchmarkSettings(benchmark="ifeval", run="test", data=str(data), max_tokens=9, policy="vllm")
    here = benchmark_settings(asked, IFEVAL)
    assert (here.run, here.roles.policy.endpoint, here.roles.policy.temperature) == ("test_ifeval", "vllm", 0)
    assert (here.roles.policy.max_tokens, here.roles.judge) == (9, None)
    # without a run the embedded model is base, and trained models are those that are named
    alone = asked.model_copy(update={"run": None, "policy": None})
    assert (alone.evaluation, benchmark_settings(alone, IFEVAL).roles.policy.endpoint) == ("ifeval", "demo")
    write_record(data, "good")
    assert [found.label for found in find_candidates([], None, FACTORY)[0]] == ["base"]
    with pytest.raises(SettingsError, match="endpoint is 'nothing'"):
        benchmark_settings(asked.model_copy(update={"policy": "nothing"}), IFEVAL)
    with pytest.raises(SettingsError, match="scored by a judge model"):
        benchmark_settings(asked, dataclasses.replace(IFEVAL, asks_judge=True))
    # models that were measured earlier stand beside today's only where they were asked alike
    assert not is_asked_alike(here)
    save_run(data, "test_ifeval", settings=here.model_dump(mode="json"), benchmark="ifeval")
    other = benchmark_settings(asked.model_copy(update={"policy": "demo"}), IFEVAL)
    longer = benchmark_settings(asked.model_copy(update={"max_tokens": 10}), IFEVAL)
    assert (is_asked_alike(here), is_asked_alike(other), is_asked_alike(longer)) == (True, True, False)
    taken = here.model_copy(update={"run": "test"})
    refusal = pytest.raises(SettingsError, match="'test' is the name of a factory run")
    with refusal, open_run(taken, benchmark="ifeval"):
        pass
