"""A run with a judge model over a scripted server: measured where code decides, paid once."""

from __future__ import annotations

from pathlib import Path

from tests.flows.conftest import Rpo, Scripted, settings_file

JUDGE = """
[roles.judge]
endpoint = "scripted"
temperature = 0.0

[judging]
calibration_share = 0.5
"""


def test_a_judge_is_measured_and_changes_no_verdict_of_code(rpo: Rpo, scripted: Scripted, tmp_path: Path) -> None:
    config, data = settings_file(tmp_path, scripted.base_url), tmp_path / "data"
    plain = rpo.json("run", "--config", str(config), "--run", "plain")
    assert plain["calibration"] == []
    config.write_text(config.read_text() + JUDGE)
    first = rpo.json("run", "--config", str(config))
    whole, *parts = first["calibration"]
    assert (whole["kind"], whole["language"]) == ("all", "all")
    assert whole["n"] == sum(item["n"] for item in parts if item["kind"] == "all") > 50
    assert -1 <= whole["kappa"] <= 1
    [stored] = rpo.sql(data, "select count(*) n, count(*) filter (by_judge = 'unscored') unscored from calibrations")
    assert stored == {"n": whole["n"] + whole["unscored"], "unscored": whole["unscored"]}
    [strangers] = rpo.sql(
        data,
        "select count(*) n from calibrations c left join judgments j using (response_id, constraint_id) "
        "where c.by_code is distinct from j.verdict or j.judge <> 'code'",
    )
    assert strangers == {"n": 0}
    [calls] = rpo.sql(data, "select count(*) n from llm_calls where role = 'judge' and stage = 'calibrate_judge'")
    assert calls["n"] > 0
    # who judges is part of every id, for it may have a say in what is played: the texts are compared
    texts = (
        "select c.text chosen, r.text rejected, margin from {run}.pairs join {run}.responses c on "
        "c.response_id = chosen_id join {run}.responses r on r.response_id = rejected_id"
    )
    not_in_test = f"select count(*) n from ({texts.format(run='plain')} except all {texts.format(run='test')})"
    assert rpo.sql(data, not_in_test) == [{"n": 0}]
    assert first["pairs"] == plain["pairs"]

    asked = scripted.counts()["requests"]
    text = rpo("run", "--config", str(config), "--set", "judging.min_kappa=0.99")
    assert scripted.counts()["requests"] == asked
    assert "agrees with the checks on" in text
    # a gate for the judge is none for code
    gated = rpo.sql(data, "select reason, count from exclusions where reason = 'poor_judge'")
    assert gated == [{"reason": "poor_judge", "count": 0}]
    assert rpo.sql(data, "select count(*) n from pairs") == [{"n": plain["pairs"]}]
