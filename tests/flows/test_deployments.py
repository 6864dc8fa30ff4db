"""``prefect.yaml`` is what Prefect takes, and every deployment of it is a flow that can be run as it stands."""

from __future__ import annotations

import os
from typing import Any, get_args

import pytest
import yaml  # type: ignore[import-untyped]
from prefect import Flow
from prefect.cli.deploy._models import DeploymentConfig, PrefectYamlModel
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from flows.chain import Stage
from flows.operate import POOLS, TAG
from tests.flows.conftest import ROOT

GIVEN: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text("utf-8"))
DEPLOYMENTS = {item.name: item for item in PrefectYamlModel.model_validate(GIVEN).deployments}


def load(deployment: DeploymentConfig) -> Flow[Any, Any]:
    """As ``prefect deploy`` does: an entrypoint begins in the project's folder."""
    assert deployment.entrypoint is not None
    before = os.getcwd()
    os.chdir(ROOT)
    try:
        return load_flow_from_entrypoint(deployment.entrypoint)
    finally:
        os.chdir(before)


def test_no_key_is_unknown_to_prefect() -> None:
    # its model passes over what it does not know, and a misspelt schedule would be none; definitions holds YAML anchors
    assert set(GIVEN) - {"definitions"} <= {"prefect-version", *PrefectYamlModel.model_fields}
    for deployment in GIVEN["deployments"]:
        assert set(deployment) <= set(DeploymentConfig.model_fields), deployment["name"]
    assert len(DEPLOYMENTS) == len(GIVEN["deployments"])


def test_everything_has_a_deployment() -> None:
    names = {"factory", "estimate", "train", "evaluate", "benchmark", "import", "import-verdicts", "import-responses"}
    assert set(DEPLOYMENTS) == {*names, *get_args(Stage)}
    assert {item.work_pool.name for item in DEPLOYMENTS.values() if item.work_pool} == set(POOLS)
    [nightly] = GIVEN["deployments"][0]["schedules"]
    assert nightly["active"] is False


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_can_be_run_as_it_stands(name: str) -> None:
    deployment = DEPLOYMENTS[name]
    flow = load(deployment)
    given = flow.validate_parameters(deployment.parameters)
    assert given.get("stage", name) == name
    assert deployment.description and deployment.tags and TAG in deployment.tags
    assert GIVEN["deployments"][list(DEPLOYMENTS).index(name)]["concurrency_limit"] == {
        "limit": 1,
        "collision_strategy": "ENQUEUE",
    }
    # what the form says
    schema = parameter_schema(flow)
    assert all(item.get("description") for item in schema.properties.values())
    for model in schema.definitions.values():
        for key, item in model.get("properties", {}).items():
            # a group of settings is described by its model
            assert item.get("description") or "$ref" in item, f"{model['title']}.{key} has no description"
            assert "default" in item or key in model.get("required", ())
