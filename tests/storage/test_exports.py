"""Exports as files: the same bytes everywhere, as `datasets` reads them, with a card that says what they are."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.exports import make_run, settings_of
from models.base import digest
from models.errors import StorageError
from models.markdown import escape, fence
from models.records import Audit
from models.settings import Export, ExportFormat
from storage.exports import ExportSummary, export_run
from storage.exports.batch import Table
from storage.exports.card import render_card
from storage.exports.parquet import SCHEMAS, ParquetShards
from storage.exports.provenance import PairCounts, public_name, trace_run
from storage.exports.sinks import encode_line
from storage.manifests import Manifest, load, save
from storage.parts import PartStore

ROOT = Path(__file__).resolve().parents[2]
PARTS = 4
EXPORT_IT = """
import sys
from pathlib import Path
from benchmarks.exports import make_run, measure
from tests.storage.test_exports import shuffle_rows
root, order = Path(sys.argv[1]), int(sys.argv[2])
make_run(root, 2, part_order=order)
shuffle_rows(root, order)
measure(root)
"""


def shuffle_rows(root: Path, order: int) -> None:
    """Every part of the run again under its key, its rows in another order."""
    store = PartStore(root)
    for ref in load(root, "bench").parts:
        table = store.read_table(ref)
        places = list(range(table.num_rows))
        random.Random(order).shuffle(places)
        store.write_table(ref.dataset, ref.key, table.take(pa.array(places, pa.int64())), inputs=store.inputs(ref))


def read_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def read_rows(folder: Path, name: str) -> list[dict[str, Any]]:
    paths = sorted((folder / name).glob("*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("run") / "data"
    make_run(root, PARTS)
    return root


def export(data: Path, **options: Any) -> tuple[Path, ExportSummary]:
    done = export_run(PartStore(data), load(data, "bench"), Export(**options))
    return Path(done.folder), done


def test_two_machines_write_the_same_bytes(tmp_path: Path) -> None:
    exports = []
    for number, (zone, language) in enumerate([("Pacific/Auckland", "C"), ("America/Lima", "C.UTF-8")]):
        home = tmp_path / f"home{number}"
        work = home / f"some{'where' * number}"
        work.mkdir(parents=True)
        env = {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(home), "TZ": zone, "LC_ALL": language,
            "PYTHONHASHSEED": str(number + 1), "USER": f"user{number}",
        }  # fmt: skip
        subprocess.run(
            [sys.executable, "-c", EXPORT_IT, "data", str(number)], cwd=work, env=env, check=True, timeout=300
        )
        exports.append(read_files(work / "data/exports/bench"))
        for name, content in exports[-1].items():
            assert str(tmp_path).encode() not in content, name
            assert b"127.0.0.1" not in content, name
    assert exports[0].keys() == exports[1].keys()
    assert {name for name in exports[0] if exports[0][name] != exports[1][name]} == set()
    assert {"README.md", "llamafactory/dataset_info.json", "parquet/rpo/train-00000-of-00001.parquet"} < set(exports[0])


def test_datasets_loads_the_folder(data: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the extra train: datasets")
    datasets.disable_progress_bars()
    folder, done = export(data)
    lines: dict[str, list[dict[str, Any]]] = {}
    for table in get_args(Table):
        loaded = datasets.load_dataset(str(folder), table, cache_dir=str(tmp_path / "cache"))
        for split in ("train", "validation"):
            path = folder / ("trl" if table == "rpo" else table) / f"{split}.jsonl"
            lines[table] = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
            assert loaded[split].to_list() == lines[table]
            assert len(lines[table]) == done.rows["trl" if table == "rpo" else table][split] > 0
    default = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {"prompt", "chosen", "rejected", "margin"} < set(default["train"].column_names)

    # without Parquet, the JSON lines
    plain, _ = export(data, formats=["trl", "sft"])
    loaded = datasets.load_dataset(str(plain), "sft", cache_dir=str(tmp_path / "plain"))
    assert loaded["validation"].to_list() == lines["sft"]
    assert datasets.get_dataset_config_names(str(plain)) == ["rpo", "sft"]


def test_a_line_is_a_line_to_every_reader(data: Path) -> None:
    folder, done = export(data, formats=["trl", "llamafactory"])
    for name in ("trl", "llamafactory"):
        for split in ("train", "validation"):
            [path] = (folder / name).glob(f"*{split}.jsonl")
            # the texts hold U+2028, at which str.splitlines breaks
            text = path.read_text("utf-8")
            assert "\\u2028" in text or split == "validation"
            rows = [json.loads(line) for line in text.splitlines()]
            assert len(rows) == done.rows[name][split]


def test_what_is_not_json_does_not_get_in(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_line({"margin": float("nan")})
    audit = Audit(pair_id="a\ud800", passed=True, chosen_violated=0, rejected_violated=1, undecided=0)
    with pytest.raises(StorageError, match="lone surrogate"):
        PartStore(tmp_path).write("audits", digest("a"), [audit])


def test_shards_are_cut_by_size_and_named_by_number(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "x" * number}], "response_id": f"r{number}", "followed": number,
         "refined": False, "dialogue_id": "d", "turn": 1, "language": "en", "constraints": []}
        for number in range(100)
    ]  # fmt: skip
    with ParquetShards(tmp_path, "train", SCHEMAS["sft"], group_chars=1_000, shard_chars=5_000) as shards:
        for row in rows:
            shards.write(row, len(encode_line(row)))
    with ParquetShards(tmp_path, "validation", SCHEMAS["sft"]):
        pass
    paths = sorted(tmp_path.iterdir())
    assert [path.name for path in paths] == [f"train-{n:05}-of-{len(paths):05}.parquet" for n in range(len(paths))]
    assert len(paths) == 4
    assert all(pq.ParquetFile(path).num_row_groups > 1 for path in paths[:-1])
    assert [row for path in paths for row in pq.read_table(path).to_pylist()] == rows


def test_a_broken_write_leaves_the_earlier_export(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = export(data)
    before = read_files(folder)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ParquetShards, "write", full)
    with pytest.raises(StorageError, match="No space left on device"):
        export(data)
    assert read_files(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["bench"]


def test_the_hubs_tools_read_the_card(data: Path) -> None:
    cards = pytest.importorskip("huggingface_hub", reason="needs the extra hub or dev: huggingface_hub")
    folder, done = export(data, license="cc-by-4.0")
    card = cards.DatasetCard.load(folder / "README.md")
    front = card.data.to_dict()
    assert (front["license"], front["language"], front["size_categories"]) == ("cc-by-4.0", ["en", "zh"], ["n<1K"])
    assert [config["config_name"] for config in front["configs"]] == ["rpo", "dpo", "kto", "sft"]
    for config in front["configs"]:
        for files in config["data_files"]:
            assert list(folder.glob(files["path"]))
    rpo = sum(done.rows["trl"].values())
    assert f"{rpo} preference pairs" in card.text
    assert f"{rpo} of {rpo} pairs were proven" in card.text
    for words in ("Apache-2.0, those that rpo-factory ships", "2025.findings-acl.1064", "## The judge", '"samples": 5'):
        assert words in card.text
    assert "has not said" not in card.text


@pytest.fixture
def traced(data: Path) -> Any:
    store, manifest = PartStore(data), load(data, "bench")
    return trace_run(store, manifest, Export(), PairCounts())


def test_text_from_models_and_files_stays_text(traced: Any) -> None:
    nasty = "a|b <script>alert(1)</script> [x](http://evil) ![i](x) ``` `c` *d*\n# e"
    card = render_card(
        traced.model_copy(
            update={
                "reversed_kinds": {nasty: 1},
                "excluded": [(nasty, nasty, 1)],
                "policy": nasty,
                "seeds_license": "cc0-1.0",
                "seeds": [seed.model_copy(update={"name": nasty, "shipped": False}) for seed in traced.seeds],
                "example": {"Chosen": f"{nasty}\n```\n<img src=x>"},
                "settings": {"author": nasty},
            }
        ),
        [],
    )
    outside: list[str] = []
    inside: list[str] = []
    end = ""
    for line in card.split("---\n", 2)[2].splitlines():
        marks = line[: len(line) - len(line.lstrip("`"))]
        if len(marks) >= 3 and (not end or line == end):
            end = "" if end else marks
        else:
            (inside if end else outside).append(line)
    assert not end
    assert any("<img" in line for line in inside) and not [line for line in outside if "<" in line]
    assert not any("[x](" in line or "://evil" in line for line in outside)
    assert {line.count(" | ") for line in outside if line.startswith("| ") and "alert" in line} <= {1, 2, 3}
    assert "cc0-1.0" in card


def test_escape_and_fence() -> None:
    assert escape("<b>|`_*\n#") == r"&lt;b&gt;\|\`\_\* \#"
    assert escape("http://a") == "http:&#47;&#47;a"
    assert fence("a\n````\nb").splitlines()[0] == "`````text"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("/home/ann/models/policy", "policy"),
        ("~/m/policy.gguf", "policy.gguf"),
        ("./policy", "policy"),
        ("C:\\models\\policy", "policy"),
        ("gpt-4o", "gpt-4o"),
    ],
)
def test_names_of_models_lose_their_folders(given: str, shown: str) -> None:
    assert public_name(given) == shown


def test_seeds_that_are_not_the_factorys_own(tmp_path: Path) -> None:
    manifest = make_run(tmp_path, 1)
    for license_, said in ((None, "not stated"), ("cc0-1.0", "cc0-1.0")):
        seeds = {**manifest.settings["seeds"], "license": license_, "roles": "/home/ann/mine.jsonl"}
        changed = manifest.model_copy(update={"settings": {**manifest.settings, "seeds": seeds}})
        save(tmp_path, changed)
        store = PartStore(tmp_path)
        [roles] = changed.parts_of("roles")
        table = store.read_table(roles)
        names = pa.array(["Somebody else's description of a role."] * table.num_rows)
        place = table.schema.get_field_index("description")
        store.write_table("roles", roles.key, table.set_column(place, table.schema.field(place), names))
        folder, _ = export(tmp_path)
        text = (folder / "README.md").read_text("utf-8")
        assert f"| license of the seeds | {said}" in text
        assert "mine.jsonl" in text and "/home" not in text


def empty_run(data: Path, folder: Path) -> Manifest:
    """The run, as if nothing had made a pair."""
    store = PartStore(folder)
    manifest = load(data, "bench")
    source = PartStore(data)
    for ref in manifest.parts:
        table = source.read_table(ref)
        rows = 0 if ref.dataset in ("pairs", "audits") else table.num_rows
        store.write_table(ref.dataset, ref.key, table.slice(0, rows), inputs=source.inputs(ref))
    parts = [store.find(ref.dataset, ref.key) for ref in manifest.parts]
    changed = manifest.model_copy(update={"parts": parts})
    store.ensure_schemas()
    save(folder, changed)
    return changed


def test_a_run_without_pairs_is_an_export_without_rows(data: Path, tmp_path: Path) -> None:
    empty_run(data, tmp_path)
    folder, done = export(tmp_path)
    counts = {name: sum(splits.values()) for name, splits in done.rows.items()}
    assert counts["trl"] == counts["llamafactory"] == counts["dpo"] == counts["kto"] == 0 < counts["sft"]
    assert (folder / "trl/train.jsonl").read_bytes() == b""
    assert json.loads((folder / "llamafactory/dataset_info.json").read_bytes()) == {}
    text = (folder / "README.md").read_text("utf-8")
    assert "config_name: sft" in text and "config_name: rpo" not in text


def test_pairs_that_are_named_stay_out_of_every_format(data: Path, tmp_path: Path) -> None:
    store, manifest = PartStore(data), load(data, "bench")
    ids = [row["pair_id"] for row in read_rows(export(data)[0], "trl")]
    done = export_run(store, manifest, Export(), target=tmp_path / "fewer", without={ids[0], ids[-1]})
    assert done.flagged == 2
    assert [row["pair_id"] for row in read_rows(tmp_path / "fewer", "trl")] == ids[1:-1]
    assert len(read_rows(tmp_path / "fewer", "llamafactory")) == sum(done.rows["trl"].values()) == len(ids) - 2
    assert "2 that a person flagged are left out" in (tmp_path / "fewer/README.md").read_text("utf-8")


def test_runs_that_have_nothing_to_export_say_so(data: Path, tmp_path: Path) -> None:
    manifest = load(data, "bench")
    bare = manifest.model_copy(update={"parts": []})
    with pytest.raises(StorageError, match=r"no audited pairs to export.*rpo run --run bench"):
        export_run(PartStore(tmp_path), bare, Export())
    with pytest.raises(StorageError, match=r"an evaluation, which makes no pairs.*rpo export --run first"):
        export_run(PartStore(tmp_path), bare.model_copy(update={"evaluates": "first"}), Export())
    with pytest.raises(StorageError, match=r"no run 'x' in .*known runs: bench"):
        load(data, "x")


def test_every_format_is_written_by_default() -> None:
    assert set(Export().formats) == set(get_args(ExportFormat))
    assert settings_of(Path("data")).export == Export()
