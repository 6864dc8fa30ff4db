"""``rpo run --dry-run`` over a scripted server: what it says, and that the run pays nothing twice."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from flows.cli_estimate import run_estimate
from flows.estimate import name_sample, render_markdown, sample_settings
from flows.run import open_run
from flows.terminal_estimate import show_estimate
from models.errors import SettingsError
from models.estimate import Expected, RunEstimate, SampledSeeds, StageEstimate
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
    [responses] = rpo.sql(
        data,
        "select (select count(*) from main.responses) newest, (select count(*) from test_estimate.responses) sampled",
    )
    assert responses == {"newest": 0, "sampled": 4 * 2 * 4}

    done = rpo.json("run", "--config", str(config))
    [counted] = rpo.sql(
        data,
        "select (select count(distinct request_hash) from test_estimate.llm_calls) sampled, "
        "(select count(distinct request_hash) from test.llm_calls) whole, "
        "(select count(*) from main.responses) newest",
    )
    with sqlite3.connect(data / "calls.sqlite") as cache:
        assert cache.execute("select count(*) from calls").fetchone() == (counted["whole"],)
    assert 0 < counted["sampled"] < counted["whole"]
    assert done["calls_made"] == counted["whole"] - counted["sampled"]
    assert counted["newest"] == done["responses"]
    accounts = {(item["stage"], item["role"]): item for item in done["accounts"]}
    assert accounts["play_dialogues", "user"]["calls"] >= done["turns"]
    assert accounts["sample_responses", "policy"]["requests"] == done["turns"]
    assert done["cost"] == pytest.approx(sum(item["cost"] for item in done["accounts"]))

    # a sample of everything is the run, asks nothing and knows everything
    requests = scripted.counts()["requests"]
    known = rpo.json("run", "--config", str(config), "--dry-run", "--sample", "5")
    assert scripted.counts()["requests"] == requests
    assert known["calls"] == {"value": counted["whole"], "low": counted["whole"], "high": counted["whole"]}
    assert known["pairs"]["low"] == known["pairs"]["high"] == done["pairs"]


def test_a_sample_and_a_run_do_not_take_each_others_names(tmp_path: Path) -> None:
    settings = FactorySettings(run="test_estimate", data=str(tmp_path))
    with pytest.raises(RuntimeError, match="stop"), open_run(settings, estimates="test"):
        raise RuntimeError("stop")
    with pytest.raises(SettingsError, match="a sample of run 'test'"), open_run(settings):
        pass
    with pytest.raises(SettingsError, match="at least 1 role"):
        run_estimate(settings, 0, as_json=True)


def test_the_terminal_says_totals_and_what_is_left_to_pay(capsys: pytest.CaptureFixture[str]) -> None:
    def expected(value: float) -> Expected:
        return Expected(value=value, low=value / 2, high=value * 2)

    stage = StageEstimate(
        stage="sample_responses", role="policy", model="m", endpoint="near", scales_with="roles", calls=expected(4000),
        tokens_in=expected(2e6), tokens_out=expected(1e6), cost=expected(30), seconds=expected(7200),
    )  # fmt: skip
    estimated = RunEstimate(
        run="test", sample="test_estimate", seeds=[SampledSeeds(unit="roles", language="zh", sampled=2, whole=9)],
        stages=[stage], calls=stage.calls, tokens_in=stage.tokens_in, tokens_out=stage.tokens_out, cost=stage.cost,
        paid=1.5, to_pay=expected(28.5), budget_left=50, fits=False, unpriced=[], failed=2, pairs=expected(800),
        busiest_endpoint="near", seconds=expected(7200), disk_bytes=12_000_000, sample_seconds=30,
    )  # fmt: skip
    show_estimate(estimated)
    text = " ".join(capsys.readouterr().out.split())
    for words in (
        "from 2 of 9 roles in zh", "whole run 4,000 2,000,000 1,000,000 30.0000", "at most 8,000 4,000,000",
        "800 [400, 1,600]", "the sample has paid 1.5000 of it, to be paid is 28.5000 [14.2500, 57.0000]",
        "50.0000 is left of it: what is to be paid may not fit", "2.0 [1.0, 4.0] h, no less", "about 12.0 MB",
        "2 calls of the sample", "is not subtracted",
    ):  # fmt: skip
        assert words in text
    assert "| sample_responses | policy | m | 4,000 [2,000, 8,000] |" in render_markdown(estimated)


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
