"""Rolling out SysBench's sessions as a person does it: what is asked after each history, and that nothing is twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.benchmark import benchmark_settings
from flows.terminal_evaluation import show_differences
from models.errors import SeedError, SettingsError
from models.evaluation import BenchmarkSettings, Difference
from tasks.benchmarks.dialogues import read_turns
from tasks.benchmarks.sysbench import SYSBENCH
from tests.flows.conftest import Rpo, Scripted, settings_file
from tests.tasks.sysbench_sessions import make_session, write_sessions
from tests.tasks.test_sysbench_files import write_sheet

SESSIONS, TURNS = 4, 3
ANSWERS = SESSIONS * TURNS
JUDGE = '\n[roles.judge]\nendpoint = "scripted"\n'


def roll_out(tmp_path: Path, base_url: str) -> tuple[str, ...]:
    config = settings_file(tmp_path, base_url)
    config.write_text(config.read_text("utf-8") + JUDGE, "utf-8")
    file = write_sessions(tmp_path / "data.json", [make_session(n, turns=TURNS) for n in range(1, SESSIONS + 1)])
    data = str(tmp_path / "data")
    return "evaluate", "--benchmark", "sysbench", "--file", str(file), "--config", str(config), "--data", data


def test_own_history_then_the_ground_truths_and_nothing_is_asked_twice(
    rpo: Rpo, scripted: Scripted, tmp_path: Path
) -> None:
    args = roll_out(tmp_path, scripted.base_url)
    own = rpo.json(*args)
    # a call an answer, a call a judgment
    assert (own["calls_made"], own["calls_cached"]) == (2 * ANSWERS, 0)
    assert scripted.counts()["requests"] == 2 * ANSWERS
    assert (own["evaluation"], own["dialogues"], own["turns"], own["unanswered"]) == ("sysbench", SESSIONS, ANSWERS, {})
    metrics = {item["metric"]: item for item in own["metrics"]}
    assert list(metrics)[:4] == ["csr", "isr", "ssr", "average"]
    assert [metrics[name]["n"] for name in ("csr", "isr", "ssr")] == [2 * ANSWERS, ANSWERS, SESSIONS]
    assert 0 < metrics["csr"]["value"] < 1
    assert metrics["average"]["value"] == pytest.approx(
        sum(metrics[name]["value"] for name in ("csr", "isr", "ssr")) / 3
    )
    assert metrics["csr/kind/action"]["n"] + metrics["csr/kind/format"]["n"] == metrics["csr"]["n"]
    assert sum(metrics[f"ssr/turn/{turn}"]["value"] for turn in (1, 2, 3)) / 3 == pytest.approx(metrics["ssr"]["value"])
    assert {item["benchmark"] for item in own["metrics"]} == {"sysbench"}

    again = rpo.json(*args)
    assert (again["calls_made"], again["metrics"]) == (0, own["metrics"])

    # the first turn has no history: its answers and verdicts are there already
    truth = rpo.json(*args, "--history", "gt")
    assert (truth["calls_made"], truth["calls_cached"]) == (2 * (ANSWERS - SESSIONS), 2 * SESSIONS)
    assert (truth["evaluation"], {item["benchmark"] for item in truth["metrics"]}) == ("sysbench_gt", {"sysbench-gt"})
    of_turn = {item["metric"]: item["value"] for item in truth["metrics"]}
    assert of_turn["isr/turn/1"] == metrics["isr/turn/1"]["value"]
    assert scripted.counts()["requests"] == 4 * ANSWERS - 2 * SESSIONS
    told = rpo.sql(
        tmp_path / "data",
        """select count(*) n, count(distinct response_id) answers, list(distinct judge) judges,
        count(distinct kind) kinds from sysbench_gt.scores""",
    )
    assert told == [{"n": 2 * ANSWERS, "answers": ANSWERS, "judges": ["scripted"], "kinds": 2}]


def test_what_it_needs(tmp_path: Path) -> None:
    settings = BenchmarkSettings(benchmark="sysbench", file=str(tmp_path / "data.json"), history="gt")
    with pytest.raises(SettingsError, match="sysbench is scored by a judge model, and there is none"):
        benchmark_settings(settings, SYSBENCH)
    session = make_session(1, turns=2)
    # the last answer of the ground truth is nobody's history
    write_sessions(tmp_path / "data.json", [{**session, "messages": session["messages"][:-1]}])
    assert len(read_turns(SYSBENCH, settings)[0]) == 2
    write_sheet(tmp_path / "m_analysis.xlsx")
    without = settings.model_copy(update={"file": str(tmp_path / "m_analysis.xlsx")})
    with pytest.raises(SeedError, match="dialogue '7': there is no ground truth"):
        read_turns(SYSBENCH, without)
    assert len(read_turns(SYSBENCH, without.model_copy(update={"history": "own"}))[0]) == 2


def test_domains_are_too_many_for_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"before": 0.5, "after": 0.6, "value": 0.1, "low": None, "high": None, "n": 3}
    metrics = ("average", "csr", "csr/domain/law", "csr/kind/action", "ssr/turn/2")
    show_differences([Difference(model="a", against="b", metric=metric, **found) for metric in metrics], kinds=True)
    shown = capsys.readouterr().out
    assert "law" not in shown
    assert all(text in shown for text in ("average", "ssr/turn/2", "action"))


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.long
def test_the_embedded_model_answers_and_judges_itself(rpo: Rpo, tmp_path: Path) -> None:
    """A model of 135M parameters is no judge: what it cannot put in the asked form is unscored, and counted."""
    file = write_sessions(tmp_path / "data.json", [make_session(1, turns=2), make_session(2, turns=2)])
    config = tmp_path / "factory.toml"
    config.write_text('[roles.policy]\nmax_tokens = 40\n[roles.judge]\nendpoint = "demo"\nmax_tokens = 160\n', "utf-8")
    args = ("evaluate", "--benchmark", "sysbench", "--file", str(file), "--config", str(config), "--max-tokens", "40")
    found = rpo.json(*args, "--data", str(tmp_path / "data"))
    assert (found["dialogues"], found["turns"], found["unanswered"]) == (2, 4, {})
    verdicts = rpo.sql(tmp_path / "data", "select verdict, count(*) n from sysbench.scores group by 1")
    assert sum(row["n"] for row in verdicts) == 8
    undecided = sum(row["n"] for row in verdicts if row["verdict"] not in ("followed", "violated"))
    assert found["undecided"] == ({"base": undecided} if undecided else {})
    assert rpo.json(*args, "--data", str(tmp_path / "data"))["calls_made"] == 0
