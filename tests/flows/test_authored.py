"""The whole factory with a model in every role over a scripted model server."""

from __future__ import annotations

from pathlib import Path

from tests.flows.conftest import Rpo, Scripted, settings_file

ROLES = """
[roles.author]
endpoint = "scripted"
max_tokens = 4096

[roles.judge]
endpoint = "scripted"
max_tokens = 4096

[roles.critic]
endpoint = "scripted"
max_tokens = 4096

[roles.user]
endpoint = "scripted"
"""


def test_authored_constraints_make_pairs_where_they_can_be_reversed(
    rpo: Rpo, scripted: Scripted, tmp_path: Path
) -> None:
    config = settings_file(tmp_path, scripted.base_url)
    config.write_text(config.read_text().replace("min_score = 0", "min_score = 0.8") + ROLES)
    first = rpo.json("run", "--config", str(config))
    data = tmp_path / "data"
    assert first["pairs"] > 0

    authors = rpo.sql(data, "select author, count(*) n from systems group by all")
    assert {row["author"] for row in authors} == {"scripted"} and sum(row["n"] for row in authors) == 10
    assert rpo.sql(data, "select count(*) n from users where author <> 'scripted'") == [{"n": 0}]
    [counted] = rpo.sql(
        data,
        "select (select count(*) from reversals where verified and method = 'scripted') verified, "
        "(select count(*) from reversals where not verified) irreversible, "
        "(select sum(\"count\") from exclusions where stage = 'reverse_constraints' and reason = 'irreversible') said",
    )
    assert counted["verified"] > 0 and counted["irreversible"] == counted["said"] > 0
    needed = rpo.sql(
        data,
        "select count(*) n from (select unnest(reversed_ids) constraint_id from pairs) join reversals "
        "using (constraint_id) where not verified",
    )
    assert needed == [{"n": 0}]

    [played] = rpo.sql(
        data,
        "select count(*) filter (reference_score < 0.8) poor, count(*) n, "
        "(select sum(\"count\") from exclusions where what = 'dialogues') ended, "
        "(select count(*) from responses where origin = 'refined') refined, "
        "(select count(*) from responses where origin = 'sampled') sampled from turns",
    )
    assert played["poor"] == 0 and played["n"] == first["turns"] and played["sampled"] == 4 * first["turns"]
    assert played["refined"] > 0
    # of 10 dialogues of 2 turns
    assert first["turns"] == 20 or played["ended"] > 0

    calls = scripted.counts()["requests"]
    dropped = rpo.json("run", "--config", str(config), "--set", "pairs.refined=drop")
    strangers = rpo.sql(
        data,
        "select count(*) n from pairs p join responses r on r.response_id in (p.chosen_id, p.rejected_id) "
        "where r.origin = 'refined'",
    )
    assert 0 < dropped["pairs"] < first["pairs"] and strangers == [{"n": 0}]
    for path in (data / "exports/test").rglob("*.jsonl"):
        assert '"refined": true' not in path.read_text("utf-8"), path
    again = rpo.json("run", "--config", str(config))
    assert (again["calls_made"], again["pairs"]) == (0, first["pairs"])
    assert scripted.counts()["requests"] == calls
