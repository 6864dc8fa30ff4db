"""English and Chinese from seeds to a trainer's batch: every text in its language, every row read back as written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from storage.catalog import query
from tasks.llm.prompts.scripts import is_written_in
from tests.flows.conftest import Rpo, Scripted, settings_file

FORMATS = ("trl", "llamafactory", "sft", "kto", "dpo")
ROLES = """
[roles.author]
endpoint = "scripted"
max_tokens = 4096

[roles.user]
endpoint = "scripted"

[roles.judge]
endpoint = "scripted"
"""


@pytest.fixture
def exports(rpo: Rpo, scripted: Scripted, tmp_path: Path) -> Path:
    """The exports of a run in both languages."""
    config = settings_file(tmp_path, scripted.base_url)
    config.write_text(config.read_text("utf-8") + ROLES, "utf-8")
    done = rpo.json("run", "--config", str(config), "--set", "seeds.max_roles=4", "--set", "samples=3")
    assert done["pairs"] > 20
    folder = Path(done["export_folder"])
    for name in FORMATS:
        assert {split: len(rows) for split, rows in read_lines(folder / name).items()} == done["exported"][name]
    return folder


def read_lines(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of an export by split."""
    found = {}
    for split in ("train", "validation"):
        path = next(path for path in folder.glob(f"*{split}.jsonl"))
        found[split] = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return found


TEXTS = """
select language, 'constraint', c.text from systems, unnest(constraints) t(c)
union all select s.language, 'opposite', r.text from reversals r join systems s using (system_id) where r.text <> ''
union all select language, 'user', profile from users
union all select language, 'query', query from turns join systems using (system_id)
union all select language, 'reference', reference from turns join systems using (system_id)
union all select s.language, 'response', r.text
    from responses r join turns using (dialogue_id, turn) join systems s using (system_id)
"""


@pytest.mark.slow
def test_both_languages_come_through_to_the_trainer(exports: Path, tmp_path: Path) -> None:
    texts = query(tmp_path / "data", TEXTS).rows
    kinds = {(language, kind) for language, kind, _ in texts}
    assert len(kinds) == 2 * 6
    strangers = [row for row in texts if not is_written_in(row[2], row[0])]
    assert not strangers

    datasets = pytest.importorskip("datasets", reason="reading back needs the extra train: datasets, trl, torch")
    datasets.disable_progress_bars()
    for name in FORMATS:
        written = read_lines(exports / name)
        files = {split: str(next((exports / name).glob(f"*{split}.jsonl"))) for split in written}
        loaded = datasets.load_dataset("json", data_files=files, cache_dir=str(tmp_path / "cache"))
        for split, rows in written.items():
            assert loaded[split].to_list() == rows
            assert {row["language"] for row in rows} == {"en", "zh"} or split == "validation"
        if name != "llamafactory":
            # the folder as a data set: the card's configs, which name the Parquet files
            config = "rpo" if name == "trl" else name
            parquet = datasets.load_dataset(str(exports), config, cache_dir=str(tmp_path / "cache"))
            assert {split: rows.to_list() for split, rows in parquet.items()} == written
    trl_takes_every_row(datasets.load_dataset(str(exports), cache_dir=str(tmp_path / "cache")), tmp_path)


def trl_takes_every_row(loaded: Any, folder: Path) -> None:
    """TRL's own preparation, as its trainers do it: what its tokens say, and the margins in a batch."""
    pytest.importorskip("trl", reason="reading back needs the extra train: datasets, trl, torch")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tasks.training.trainer import RPOConfig, RPOTrainer
    from tests.tiny_model import make_tiny_model

    model = make_tiny_model(folder / "tiny")
    tokenizer = AutoTokenizer.from_pretrained(model)
    arguments = RPOConfig(
        output_dir=str(folder / "out"), use_cpu=True, bf16=False, report_to=[], max_length=None,
        per_device_train_batch_size=4, dataloader_pin_memory=False, disable_tqdm=True,
    )  # fmt: skip
    trainer = RPOTrainer(
        AutoModelForCausalLM.from_pretrained(model),
        args=arguments,
        train_dataset=loaded["train"],
        eval_dataset=loaded["validation"],
        processing_class=tokenizer,
    )
    for rows, prepared in ((loaded["train"], trainer.train_dataset), (loaded["validation"], trainer.eval_dataset)):
        assert len(prepared) == len(rows) > 0
        for row, tokens in zip(rows, prepared, strict=True):
            assert tokens["margin"] == row["margin"]
            prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
            assert tokenizer.decode(tokens["prompt_ids"]) == prompt
            for side in ("chosen", "rejected"):
                assert tokenizer.decode(tokens[f"{side}_ids"]) == f"{row[side][0]['content']}<|im_end|>\n"
    seen = sorted(float(margin) for batch in trainer.get_train_dataloader() for margin in batch["margin"])
    assert seen == sorted(loaded["train"]["margin"])
