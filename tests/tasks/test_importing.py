"""Imports of rows: what of a file becomes a seed, what does not, and that every row is accounted for."""

from __future__ import annotations

import csv
import json
import os
import string
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.errors import ImportFileError, SettingsError, StorageError
from models.imports import ImportSettings, ImportSummary
from models.languages import guess_language
from models.media import find_media
from models.records import PersonaSeed, RoleSeed
from storage.imports.duplicates import open_seen
from tasks.importing import import_seeds
from tasks.seeds import ROOT, read_seeds

AWESOME = ROOT.parent / "shared/data/roles/awesome_prompts_cc0.jsonl"
NURSE = "A night nurse in a small harbour hospital who tells her patients about the sea."


Rows = list[dict[str, Any]]


def written(folder: Path, rows: list[Any]) -> Path:
    path = folder / "rows.jsonl"
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def run(folder: Path, rows: list[Any], **given: Any) -> tuple[ImportSummary, Rows, Rows]:
    """The summary, the seeds and the report of an import."""
    file = written(folder, rows)
    summary = import_seeds(ImportSettings(file=str(file), to=str(folder / "out.jsonl"), **given))
    seeds, report = (
        [json.loads(line) for line in Path(path).read_text().split("\n") if line]
        for path in (summary.to, summary.report)
    )
    left_out = summary.refused, summary.duplicates, summary.filtered
    assert summary.rows == summary.accepted + sum(sum(counts.values()) for counts in left_out)
    assert len(seeds) == summary.accepted and len(report) == summary.rows - summary.accepted
    return summary, seeds, report


def test_a_collection_of_prompts(tmp_path: Path) -> None:
    rows = [
        {"act": "Sea Guide", "prompt": "Guide tourists along the coast and answer what they ask you."},
        {"act": "Brief", "prompt": "Too short."},
        {"act": "None"},
        {"act": "Number", "prompt": 7},
        '{"act": "broken',
        {"act": "海洋向导", "prompt": "你要带着游客沿着海岸散步，并回答他们提出的各种问题，语气亲切。"},
        {
            "act": "Guide",
            "prompt": "Tu es un guide pour les touristes le long de la côte et tu réponds à leurs questions.",
        },
        {"act": "Logo Maker", "prompt": "You will make what the customers ask you for, and talk about it."},
        {"act": "Again", "prompt": "Guide tourists along the COAST and  answer what they ask you. "},
    ]
    summary, _, report = run(tmp_path, rows)
    assert (summary.layout, summary.languages) == ("prompts", {"en": 1, "zh": 1})
    assert summary.refused == {"too_short": 1, "missing": 1, "not_text": 1, "not_json": 1}
    assert (summary.duplicates, summary.filtered) == ({"exact": 1}, {"language/fr": 1, "image": 1})
    assert summary.stand_ins == {"questions": 2}
    assert [(row["line"], row["outcome"], row["reason"], row["field"]) for row in report] == [
        (2, "refused", "too_short", "text"),
        (3, "refused", "missing", "text"),
        (4, "refused", "not_text", "text"),
        (5, "refused", "not_json", ""),
        (7, "filtered", "language/fr", "text"),
        (8, "filtered", "image", "text"),
        (9, "duplicate", "exact", "text"),
    ]
    assert report[-1]["what"] == "as line 1"
    # the factory reads what was written
    [english] = read_seeds(tmp_path / "out.jsonl", RoleSeed, ["en"])
    assert (english.name, english.skills, english.constraints) == ("Sea Guide", [], [])
    assert len(set(english.questions)) == 6
    # once more, and from other rows: an id is made of the content
    again, [_, *others], _ = run(tmp_path, rows[-2::-1])
    assert again.accepted == 2 and [other["role_id"] for other in others] == [english.role_id]


def test_personas_and_columns(tmp_path: Path) -> None:
    summary, [seed], _ = run(tmp_path, [{"persona": NURSE}], kind="personas")
    assert (summary.layout, summary.stand_ins) == ("personahub", {"tones": 1, "openings": 1})
    [persona] = read_seeds(tmp_path / "out.jsonl", PersonaSeed, ["en"])
    assert persona.persona == NURSE and persona.tone and len(persona.openings) == 6
    rows = [{"meta": {"who": NURSE}, "key": 7, "how": "dry", "asks": "One?\nTwo?;Three?"}]
    columns = {"text": "meta.who", "id": "key", "tone": "how", "openings": "asks"}
    summary, [seed], _ = run(tmp_path, rows, kind="personas", columns=columns)
    assert (seed["persona_id"], seed["tone"], seed["openings"]) == ("7", "dry", ["One?", "Two?", "Three?"])
    assert (summary.layout, summary.unused) == (None, [])
    # as roles
    _, [role], _ = run(tmp_path, [{"persona": NURSE}], kind="roles")
    assert (role["name"], role["description"]) == ("an assistant", NURSE)


def test_layouts_that_are_not_clear(tmp_path: Path) -> None:
    settings = ImportSettings(file=str(written(tmp_path, [{"foo": NURSE}])), to=str(tmp_path / "out.jsonl"))
    with pytest.raises(
        SettingsError, match=r"no layout that is known; the columns of its first rows: 'foo'.*--map text="
    ):
        import_seeds(settings)
    with pytest.raises(SettingsError, match="names the column 'bar'"):
        import_seeds(settings.model_copy(update={"columns": {"text": "bar"}}))
    with pytest.raises(SettingsError, match="--layout prompts is none of personas"):
        import_seeds(settings.model_copy(update={"kind": "personas", "layout": "prompts"}))
    written(tmp_path, [{"act": "a", "prompt": NURSE, "persona": NURSE}])
    with pytest.raises(SettingsError, match=r"several layouts: prompts, personahub.*--layout prompts\|personahub"):
        import_seeds(settings)
    assert not (tmp_path / "out.jsonl").exists()


def test_sysbank(tmp_path: Path) -> None:
    profile = {
        "名称": "海洋向导",
        "描述": "带着游客沿着海岸散步，并回答他们提出的各种问题，语气亲切自然。",
        "技能": ["讲故事", "认识鸟类"],
        "约束": ["回答不超过100个字。", "每次都要提到大海。", "回答不超过100个字。"],
    }
    given = {
        "gptId": "g-1",
        "name": "Sea",
        "desription": "x",
        "system_prompt": "flat",
        "structure_system_prompt": profile,
    }
    known = [{"original_cons": "每次都要提到大海。", "reverse_cons": "不要提到大海。"}]
    rows = [
        {**given, "reverse_cons_map": known},
        {**given, "gptId": "g-2", "structure_system_prompt": {**profile, "约束": []}},
    ]
    summary, [seed], [refused] = run(tmp_path, rows, kind="systems")
    assert summary.layout == "sysbank" and (refused["reason"], refused["field"]) == ("missing", "constraints")
    assert (seed["role_id"], seed["name"], seed["skills"]) == ("g-1", "海洋向导", ["讲故事", "认识鸟类"])
    assert seed["constraints"] == [
        {"text": "回答不超过100个字。"},
        {"text": "每次都要提到大海。", "opposite": "不要提到大海。"},
    ]
    # as roles the constraints stay behind
    _, [role, *_], _ = run(tmp_path, rows[:1], kind="roles")
    assert "constraints" not in role and role["description"] == profile["描述"]
    # what was written can be imported again
    run(tmp_path, rows, kind="systems")
    again = import_seeds(ImportSettings(kind="systems", file=str(tmp_path / "out.jsonl"), to=str(tmp_path / "b.jsonl")))
    assert again.layout == "own" and not again.stand_ins
    assert (tmp_path / "b.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()


def test_ids_are_data(tmp_path: Path) -> None:
    ids: list[Any] = [
        "../../../etc/passwd",
        "/tmp/x",
        "C:\\x",
        "a\nb",
        "x" * 300,
        7,
        7.5,
        "same",
        "same",
        "",
        "<b>",
        "=1+1",
    ]
    text = "Guide number {} takes the tourists along coast number {} and tells of ship number {}."
    rows = [{"id": key, "name": "n", "prompt": text.format(n, n * n, n**3)} for n, key in enumerate(ids)]
    before = set(tmp_path.rglob("*"))
    summary, seeds, report = run(tmp_path, rows, near=0)
    assert [(row["line"], row["reason"]) for row in report] == [
        (4, "bad_id"), (5, "bad_id"), (7, "bad_id"), (9, "duplicate_id")
    ]  # fmt: skip
    assert [seed["role_id"] for seed in seeds][:4] == ["../../../etc/passwd", "/tmp/x", "C:\\x", "7"]
    made = {path.name for path in tmp_path.rglob("*") if path not in before}
    assert made == {"rows.jsonl", "out.jsonl", "out.left_out.jsonl", "out.summary.json"}
    assert summary.refused == {"bad_id": 3, "duplicate_id": 1}


def test_ids_as_pandas_writes_them(tmp_path: Path) -> None:
    frame = {"id": [1.0, 2.0, None], "act": ["a", "b", "c"], "prompt": [f"{NURSE} {n}" * 3 for n in range(3)]}
    pq.write_table(pa.table(frame), tmp_path / "a.parquet")
    settings = ImportSettings(file=str(tmp_path / "a.parquet"), to=str(tmp_path / "o.jsonl"), near=0)
    seeds = read_seeds(Path(import_seeds(settings).to), RoleSeed, ["en"])
    assert [seed.role_id[:5] for seed in seeds] == ["1", "2", "role_"]
    summary, _, _ = run(tmp_path, [{"id": key, "act": "a", "prompt": NURSE} for key in (True, "ok")], near=0)
    assert summary.refused == {"bad_id": 1}


def test_the_first_row_need_not_have_every_field(tmp_path: Path) -> None:
    rows = [{"prompt": f"{NURSE} One."}, {"act": "Nurse", "prompt": f"{NURSE} Two.", "meta": {"title": "T"}}]
    summary, seeds, _ = run(tmp_path, rows, near=0)
    assert (summary.layout, [seed["name"] for seed in seeds]) == ("prompts", ["an assistant", "Nurse"])
    _, seeds, _ = run(tmp_path, rows, near=0, columns={"name": "meta.title"})
    assert [seed["name"] for seed in seeds] == ["an assistant", "T"]


def test_html_and_formulas_stay_text_and_our_csv_neutralises_them(tmp_path: Path) -> None:
    html = "=HYPERLINK(\"http://x\") <script>alert('hello there')</script> & [bold]not markup[/bold]"
    rows = [{"id": "a", "name": "<b>", "prompt": html}, {"id": "=2+2", "name": "+x", "prompt": "-short"}]
    file = tmp_path / "rows.csv"
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, ["id", "name", "prompt"])
        writer.writeheader()
        writer.writerows(rows)
        out.write("=1+1\n@SUM(A1),2\n")
    settings = ImportSettings(
        file=str(file), to=str(tmp_path / "o.jsonl"), report=str(tmp_path / "r.csv"), language="en"
    )
    summary = import_seeds(settings)
    [seed] = read_seeds(Path(summary.to), RoleSeed, ["en"])
    assert (seed.name, seed.description) == ("<b>", html)
    with Path(summary.report).open(newline="") as lines:
        report = list(csv.reader(lines))
    assert [row[:3] for row in report[1:]] == [
        ["3", "refused", "too_short"], ["4", "refused", "wrong_columns"], ["5", "refused", "wrong_columns"]
    ]  # fmt: skip
    assert [row[5] for row in report[2:]] == ["'=1+1", "'@SUM(A1),2"]
    assert not any(cell[0] in "=+-@" for row in report for cell in row if cell)


def test_nothing_is_left_where_nothing_can_be_used(tmp_path: Path) -> None:
    settings = ImportSettings(file=str(written(tmp_path, ["nonsense", '{"act": 1}'])), to=str(tmp_path / "o.jsonl"))
    settings = settings.model_copy(update={"layout": "prompts"})
    with pytest.raises(ImportFileError, match=r"No row .* can be used: not_json 1, missing 1"):
        import_seeds(settings)
    assert len((tmp_path / "o.left_out.jsonl").read_text().splitlines()) == 2
    assert not (tmp_path / "o.jsonl").exists()
    header = tmp_path / "header.csv"
    header.write_text("act,prompt\n")
    with pytest.raises(ImportFileError, match=r"it has no rows\. No seed file was written\. Check the file"):
        import_seeds(settings.model_copy(update={"file": str(header)}))


def test_files_of_others_are_not_overwritten(tmp_path: Path) -> None:
    file = written(tmp_path, [{"persona": NURSE}])
    for given in ({"to": str(file)}, {"to": str(tmp_path / "a"), "report": str(file)}):
        with pytest.raises(SettingsError, match="not all different"):
            import_seeds(ImportSettings(file=str(file), **given))
    with pytest.raises(SettingsError, match="no file of this machine"):
        import_seeds(ImportSettings(file=str(file), to="s3://bucket/roles.jsonl"))
    with pytest.raises(ImportFileError, match="is a folder"):
        import_seeds(ImportSettings(file=str(tmp_path)))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SettingsError, match="read twice"):
        import_seeds(ImportSettings(file=str(tmp_path / "pipe")))
    (tmp_path / "mine.jsonl").write_text("by hand")
    with pytest.raises(SettingsError, match="no import has written it"):
        import_seeds(ImportSettings(file=str(file), to=str(tmp_path / "mine.jsonl")))
    assert (tmp_path / "mine.jsonl").read_text() == "by hand"


def test_near_duplicates() -> None:
    words = [f"{a}{b}" for a in string.ascii_lowercase for b in string.ascii_lowercase][:100]
    base = " ".join(words)
    changed = {n: " ".join("changed" if i < n else word for i, word in enumerate(words)) for n in (2, 40)}
    chinese = "你是一位经验丰富的海洋向导，带着游客沿着海岸散步，并耐心回答他们提出的各种问题。" * 2
    with open_seen(0.9) as seen:
        assert seen.find_text(base) is None
        seen.keep(1, "")
        assert seen.find_text(base.upper().replace(" ", "\n")) == ("exact", 1, 1.0)
        near = seen.find_text(changed[2])
        assert near is not None and (near.kind, near.line) == ("near", 1) and near.similarity >= 0.9
        assert seen.find_text(changed[40]) is None
    with open_seen(0.8) as seen:
        assert seen.find_text(chinese) is None
        seen.keep(7, "")
        near = seen.find_text(chinese.replace("耐心", "认真"))
        assert near is not None and (near.kind, near.line) == ("near", 7)
    with open_seen(0) as seen:
        assert seen.find_text(base) is None
        seen.keep(1, "")
        assert seen.find_text(changed[2]) is None
        assert seen.find_text(base) is not None


def test_languages() -> None:
    shipped = [
        *((seed.description, seed.language) for seed in read_seeds(ROOT / "seeds/roles.jsonl", RoleSeed, ["en", "zh"])),
        *(
            (seed.persona, seed.language)
            for seed in read_seeds(ROOT / "seeds/personas.jsonl", PersonaSeed, ["en", "zh"])
        ),
    ]
    assert [text for text, language in shipped if guess_language(text) != language] == []
    others = {
        "fr": "Je suis un chef cuisinier qui aime la cuisine provençale et les marchés.",
        "de": "Eine Krankenschwester aus Hamburg, die gern segelt und viel liest.",
        "nl": "Een leraar geschiedenis uit Utrecht die van fietsen en van water houdt.",
        "ja": "東京に住む三十歳の看護師で、猫が好きです。",
        "ko": "서울에 사는 젊은 개발자이며 등산을 좋아한다.",
        "ru": "Молодой программист из Москвы, увлекается шахматами.",
    }
    assert {code: guess_language(text) for code, text in others.items()} == {code: code for code in others}
    assert guess_language("12345 67890 !!!") == ""


@pytest.mark.parametrize(
    ("name", "text", "media"),
    [
        ("Logo Maker", "You make what customers want.", "image"),
        ("Helper", "You create stunning images from a description.", "image"),
        ("Helper", "Write prompts for Midjourney.", "image"),
        ("插画师", "根据描述完成作品。", "image"),
        ("助手", "根据用户的描述生成一张图片。", "image"),
        ("Editor", "You edit short videos for the web.", "video"),
        ("助手", "帮用户剪辑短视频。", "video"),
        ("Helper", "You turn a text into sound by text-to-speech.", "audio"),
        ("助手", "把文章转换成语音。", "audio"),
        ("Movie Critic", "You write a creative movie review.", None),
        ("Poet", "You paint with words and create an image of home in the reader's mind, in rhyme.", "image"),
        ("Lyricist", "You write the words of songs about the sea.", None),
        ("海洋向导", "带游客看海，讲讲船和鸟的故事。", None),
    ],
)
def test_media(name: str, text: str, media: str | None) -> None:
    found = find_media(name, text)
    assert (found and found.media) == media


@pytest.mark.skipif(not AWESOME.is_file(), reason="the shared data is not here")
def test_a_real_collection(tmp_path: Path) -> None:
    summary = import_seeds(ImportSettings(file=str(AWESOME), to=str(tmp_path / "roles.jsonl"), license="CC0-1.0"))
    assert (summary.layout, summary.rows, summary.accepted, summary.refused) == (
        "prompts",
        209,
        199,
        {"text_too_long": 2},  # two names that hold the whole prompt
    )
    assert (summary.duplicates, summary.filtered) == ({"near": 1}, {"image": 3, "audio": 2, "video": 2})
    assert len(read_seeds(tmp_path / "roles.jsonl", RoleSeed, ["en"])) == 199


def test_what_hides_in_a_cell(tmp_path: Path) -> None:
    """JSON inside a text is parsed again: what it holds is no better than the file."""
    deep, half = "[" * 10_000, "\\ud800"
    check = {"kind": "starts_with", "phrase": "x", "polarity": "must"}
    odd: list[dict[str, Any]] = [
        {"constraints": ["Speak of the sea."], "skills": deep},
        {"constraints": ["Speak of the sea."], "skills": f'["a", "{half}"]'},
        {"constraints": [{"text": "x", "check": deep}]},
        {"constraints": [{"text": "x", "check": json.dumps(check).replace('"x"', f'"{half}"')}]},
        {"constraints": [{"text": "x", "check": '{"kind": "none"}'}]},
        {"constraints": [{"text": "x", "why": "unknown"}]},
        {"constraints": [{"text": "x", "check": json.dumps(check)}], "language": "<script>"},
        {"constraints": ["Speak."], "name": "n" * 300},
        {"constraints": ["Speak."] * 80},
    ]
    rows = [
        {"role_id": n, "name": f"n{n}", "description": f"{NURSE} Her number in the harbour is {n * 7919}.", **given}
        for n, given in enumerate(odd)
    ]
    summary, seeds, report = run(tmp_path, rows, kind="systems", near=0)
    assert {row["line"]: row["reason"] for row in report} == {
        3: "too_deep", 4: "invalid", 5: "invalid", 6: "invalid", 8: "text_too_long", 9: "too_many"
    }  # fmt: skip
    assert [seed["role_id"] for seed in seeds] == ["0", "1", "6"] and summary.filtered == {}
    assert len(read_seeds(tmp_path / "out.jsonl", RoleSeed, ["en"])) == 3


def fill_small_disk() -> None:
    with open_seen(0.9) as seen:
        seen._database.execute("pragma max_page_count = 5")
        for line in range(1, 2000):
            seen.find_text(f"{NURSE} {line * 7919} {line**3} {line**5} {line**7}")
            seen.keep(line, str(line))


def test_a_full_disk_is_told() -> None:
    with pytest.raises(StorageError, match=r"index of duplicates .* full"):
        fill_small_disk()
