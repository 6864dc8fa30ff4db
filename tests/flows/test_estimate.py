"""``rpo run --dry-run`` over a scripted server: what it says, and that the run pays nothing twice."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from flows.estimate import name_sample, sample_settings
from models.settings import Dialogues, FactorySettings, Seeds
from tests.flows.conftest import Rpo, Scripted, settings_file

ROLES = """
price_in = 1.0
price_out = 2.0

[roles.user]
endpoint = "scripted"
max_tokens = 40

[roles.author]
endpoint = "scripted"
max_tokens = 4096

[roles.judge]
endpoint = "scripted"
max_tokens = 4096
"""


def test_the_run_makes_all_calls_but_those_of_the_sample(rpo: Rpo, scripted: Scripted, tmp_path: Path) -> None:
    config, data = settings_file(tmp_path, scripted.base_url, extra=ROLES), tmp_path / "data"
    estimated = rpo.json("run", "--config", str(config), "--dry-run")
    seeds = {(item["unit"], item["language"]): item["sampled"] for item in estimated["seeds"]}
    assert seeds == {("roles", "en"): 2, ("roles", "zh"): 2, ("personas", "en"): 2, ("personas", "zh"): 2}
    assert estimated["pairs"]["value"] > 0 and estimated["disk_bytes"] > 0 and estimated["seconds"]["value"] > 0
    assert 0 < estimated["paid"] < estimated["cost"]["value"]
    # the sample is a run, and not the one that people ask about
    assert rpo.sql(data, "select count(*) n from main.responses") == [{"n": 0}]
    assert rpo.sql(data, "select count(*) n from test_estimate.responses") == [{"n": 4 * 2 * 4}]

    done = rpo.json("run", "--config", str(config))
    [counted] = rpo.sql(
        data,
        "select (select count(distinct request_hash) from test_estimate.llm_calls) sampled, "
        "(select count(distinct request_hash) from test.llm_calls) whole, "
        "(select count(*) from (select distinct stage, role, request_hash from test.llm_calls)) asked",
    )
    with sqlite3.connect(data / "calls.sqlite") as cache:
        assert cache.execute("select count(*) from calls").fetchone() == (counted["whole"],)
    assert 0 < counted["sampled"] < counted["whole"]
    assert done["calls_made"] == counted["whole"] - counted["sampled"]
    assert rpo.sql(data, "select count(*) n from main.responses") == [{"n": done["responses"]}]
    accounts = {(item["stage"], item["role"]): item for item in done["accounts"]}
    assert accounts["play_dialogues", "user"]["calls"] == done["turns"]
    assert accounts["sample_responses", "policy"]["requests"] == done["turns"]
    assert done["cost"] == pytest.approx(sum(item["cost"] for item in done["accounts"]))

    # a sample of everything is the run, asks nothing and knows everything
    requests = scripted.counts()["requests"]
    known = rpo.json("run", "--config", str(config), "--dry-run", "--sample", "5")
    assert scripted.counts()["requests"] == requests
    assert known["calls"] == {"value": counted["asked"], "low": counted["asked"], "high": counted["asked"]}
    assert known["pairs"]["low"] == known["pairs"]["high"] == done["pairs"]

    text = rpo("run", "--config", str(config), "--dry-run")
    for words in ("2 of 5 roles in zh", "at most", "the sample has paid", "is not subtracted"):
        assert words in text
    text = rpo("run", "--config", str(config), "--run", "test_estimate", code=2)
    assert "a sample of run 'test'" in text
    assert "at least 1 role" in rpo("run", "--config", str(config), "--dry-run", "--sample", "0", code=2)


def test_the_sample_has_the_users_of_the_whole_run() -> None:
    settings = FactorySettings(run="big", dialogues=Dialogues(per_system=3), seeds=Seeds(max_personas=7))
    sample = sample_settings(settings, 2)
    # six places, six users; a seventh is met by nobody in the sample
    assert (sample.seeds.max_roles, sample.seeds.max_personas, sample.batch_size) == (2, 6, 1)
    # place 7 meets the first user again: all are needed
    assert sample_settings(settings, 3).seeds.max_personas == 7
    assert sample_settings(settings.model_copy(update={"seeds": Seeds(max_roles=1)}), 2).seeds.max_roles == 1


def test_names_of_samples_are_names_of_runs() -> None:
    assert name_sample("first") == "first_estimate"
    longest = ["a" * 47 + "b", "a" * 47 + "c", "a" * 40, "a" * 39]
    names = [name_sample(run) for run in longest]
    assert len(set(names)) == 4
    for name in names:
        assert FactorySettings(run=name).run.endswith("_estimate")
