"""The report of real runs over a scripted server: what it says is what the tables say, whatever became of the run."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.catalog import query
from tests.browser import DESKTOP, PHONE, OpenPage
from tests.flows.conftest import Rpo, settings_file, start_scripted, stop
from tests.flows.test_authored import ROLES
from tests.flows.test_watching import ask as ask_prefect
from tests.report_page import captions, report_of, table, words

SECRETS = """
price_in = 0.5
price_out = 1.5

[endpoints.other]
base_url = "http://127.0.0.1:9/v1?key=hunter3"
model = "unused"
api_key_env = "sk-hunter4"
"""


@pytest.fixture(scope="module")
def run(prefect_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rpo]:
    """A run with a model in every role, and its summary in ``summary.json``."""
    folder = tmp_path_factory.mktemp("report")
    rpo, server = Rpo(prefect_env, folder), start_scripted()
    try:
        config = settings_file(folder, server.base_url, extra=SECRETS)
        judging = "\n[judging]\ncalibration_share = 0.5\n"
        config.write_text(config.read_text().replace("min_score = 0", "min_score = 0.5") + ROLES + judging)
        (folder / "summary.json").write_text(json.dumps(rpo.json("run", "--config", str(config))))
        yield rpo
    finally:
        stop(server.process)


def ask(data: Path, sql: str) -> list[dict[str, Any]]:
    found = query(data, sql)
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


def page_of(rpo: Rpo) -> Path:
    return report_of(rpo.cwd / "data", "test")


def test_its_numbers_are_those_of_the_tables(run: Rpo) -> None:
    data, page = run.cwd / "data", page_of(run)
    summary = json.loads((run.cwd / "summary.json").read_text())

    kinds = ask(
        data,
        "select kind, count(*) filter (verdict = 'followed') f, count(*) n from judgments join (select "
        "unnest(constraints, recursive := true) from systems) using (constraint_id) join responses using (response_id) "
        "where verdict in ('followed', 'violated') and origin = 'sampled' group by kind",
    )
    titles = [title for title in captions(page) if title.startswith("Constraints followed, by kind")]
    shown = [row for title in titles for row in table(page, title)]
    assert {tuple(row) for row in shown} == {
        (row["kind"], f"{row['f'] / row['n']:.0%}", f"{row['f']:,} of {row['n']:,}") for row in kinds
    }

    turns = ask(
        data,
        "select turn, sum(f)::int f, sum(n)::int n, count(*) filter (v = 0 and f = a) p, "
        "count(*) filter (v > 0 or f = a) w from (select response_id, turn, count(*) filter (verdict = 'followed') f, "
        "count(*) filter (verdict = 'violated') v, count(*) filter (verdict in ('followed', 'violated')) n, "
        "count(*) a from judgments join responses using (response_id, turn) where origin = 'sampled' "
        "group by response_id, turn) group by turn order by turn",
    )
    assert table(page, "Constraints and responses, by turn of the dialogue") == [
        [
            f"turn {row['turn']}", f"{row['f'] / row['n']:.0%}", f"{row['p'] / row['w']:.0%}",
            f"{row['f']:,} of {row['n']:,}", f"{row['p']:,} of {row['w']:,}",
        ]
        for row in turns
    ]  # fmt: skip

    assert sum(row["n"] for row in kinds) == sum(row["n"] for row in turns)

    margins = ask(data, "select margin, count(*) n from pairs group by 1 order by 1")
    assert table(page, "Pairs by margin") == [[str(row["margin"]), f"{row['n']:,}"] for row in margins]

    cases = ask(
        data,
        "select noise_case, count(*) pairs, avg(margin) mean, count(distinct list_sort([chosen_id, rejected_id])) "
        "couples from pairs group by 1",
    )
    couples = sum(row["couples"] for row in cases)
    for row in cases:
        assert (
            f"{row['couples']:,} couple{'' if row['couples'] == 1 else 's'} here ({row['couples'] / couples:.0%}), "
            f"{row['pairs']:,} RPO pairs, mean margin {row['mean']:.2f}"
        ) in words(page)
    by_case = {row["noise_case"]: row["couples"] for row in cases}
    [[proven]] = query(
        data,
        "select count(distinct list_sort([chosen_id, rejected_id])) from pairs "
        "join audits using (pair_id) where passed",
    ).rows
    by_dpo, by_rpo = table(page, "What becomes of two responses that differ")
    by_dpo_expected = [by_case.get(1, 0) + by_case.get(2, 0), by_case.get(3, 0) + by_case.get(4, 0), by_case.get(5, 0)]
    assert by_dpo[1:] == [f"{count:,}" for count in (*by_dpo_expected, by_case.get(6, 0))]
    assert by_rpo[1:] == ["0", "0", "0", f"{proven:,}"]
    assert 0 < proven == couples  # a column of what the audit drops is there where there is any: test_report_texts

    [audit] = ask(data, "select count(*) n, count(*) filter (passed) passed from audits")
    assert f"{audit['passed']:,} of {audit['n']:,} pairs proven." in words(page)

    calls = ask(
        data,
        "select stage, role, count(*) n, sum(prompt_tokens) i, sum(completion_tokens) o, sum(cost) cost from llm_calls "
        "group by 1, 2",
    )
    accounts = table(page, "Calls by stage and role")
    assert {(*row[:2], row[3], *row[7:10]) for row in accounts} == {
        (row["stage"], row["role"], *(f"{row[name]:,}" for name in ("n", "i", "o")), f"{row['cost']:.4f}")
        for row in calls
    }

    judged = ask(data, "select count(*) n, avg((by_code = by_judge)::int) same from calibrations")
    whole = table(page, "The judge model against the checks, by kind and language")[0]
    assert whole[:5] == ["all", "all", str(judged[0]["n"]), "0", f"{judged[0]['same']:.0%}"]
    assert whole[5] == f"{summary['calibration'][0]['kappa']:.2f}"
    assert len(table(page, "How varied the texts are")) == len(summary["diversity"]) == 4
    left_out = ask(data, 'select sum("count") n from exclusions')
    assert sum(int(row[-1].replace(",", "")) for row in table(page, "Left out, and why")) == left_out[0]["n"]


def test_every_chart_has_its_table(run: Rpo) -> None:
    page = page_of(run)
    charts = re.findall(r"<figure.*?</figure>", page.read_text("utf-8"), flags=re.DOTALL)
    assert len(charts) >= 7
    for chart in charts:
        title = html.unescape(re.findall(r"<figcaption>(.*?)</figcaption>", chart)[0])
        assert f'role="img" aria-label="{html.escape(title)}"' in chart
        assert table(page, title)


def test_no_secret_is_in_it_and_the_same_run_gives_the_same_bytes(run: Rpo) -> None:
    page = page_of(run)
    before = page.read_bytes()
    assert b"hunter" not in before and b"http://127.0.0.1:9/v1" in before
    said = run.json("report", "--data", str(run.cwd / "data"), "--run", "test")
    assert said == {"run": "test", "report": str(page.resolve())}
    assert page.read_bytes() == before
    run("report", "--data", str(run.cwd / "data"), "--to", str(run.cwd / "elsewhere.html"))
    assert (run.cwd / "elsewhere.html").read_bytes() == before


def test_prefect_links_it(run: Rpo, prefect_env: dict[str, str]) -> None:
    found = ask_prefect(prefect_env, "artifacts", artifacts={"key": {"any_": ["report-test"]}})
    # runs of this name in other folders have theirs under the same key
    assert any(page_of(run).resolve().as_uri() in each["data"] for each in found)


@pytest.mark.parametrize(("dark", "width"), [(False, PHONE), (True, DESKTOP)])
def test_it_can_be_used_by_everyone(run: Rpo, open_page: OpenPage, dark: bool, width: int) -> None:
    opened = open_page(page_of(run), dark=dark, width=width)
    opened.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert opened.overflow() <= 0
    assert opened.inaccessible() == []
    assert opened.errors == [] and opened.requests == [page_of(run).as_uri()]


def test_the_keyboard_reaches_the_contents_and_unfolds_what_is_folded(run: Rpo, open_page: OpenPage) -> None:
    page = open_page(page_of(run)).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.url.endswith("#content")
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details").first.get_attribute("open") is not None


def test_a_failed_run_says_why_and_what_there_is(rpo: Rpo) -> None:
    config = settings_file(rpo.cwd, "http://127.0.0.1:9/v1", extra="max_tries = 1")
    error = rpo("run", "--config", str(config), code=1)
    page = words(page_of(rpo))
    assert "This run failed." in page and "batches did not finish" in page
    assert re.findall(r"error: (.*)", error)[0] in page
    assert "No preference pairs" in page and "10 system prompts" in page
    assert "Nothing was judged." in page


def test_where_there_is_no_run_or_an_evaluation(rpo: Rpo) -> None:
    assert "There is no run in" in rpo("report", "--data", str(rpo.cwd / "data"), code=2)
    assert "There is no run 'gone'" in rpo("report", "--data", str(rpo.cwd / "data"), "--run", "gone", code=1)
