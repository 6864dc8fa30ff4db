"""Load an export as LLaMA-Factory's own training does; run by the Python that has it, prints what it found as JSON.

python llamafactory_rows.py DATASET_DIR MODEL OUTPUT
"""

import json
import sys
from typing import Any

from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.data.loader import _get_merged_dataset
from llamafactory.hparams import get_train_args
from transformers import AutoTokenizer


def main(dataset_dir: str, model: str, output: str) -> None:
    """Read both data sets: as the converter aligns them, and as token ids."""
    arguments = {
        "stage": "dpo", "do_train": True, "model_name_or_path": model, "template": "chatml", "dataset_dir": dataset_dir,
        "dataset": "rpo_train", "eval_dataset": "rpo_validation", "finetuning_type": "lora", "output_dir": output,
        "cutoff_len": 100_000, "use_cpu": True,
    }  # fmt: skip
    model_args, data_args, training_args, _, _ = get_train_args(arguments)
    tokenizer = AutoTokenizer.from_pretrained(model)
    template = get_template_and_fix_tokenizer(tokenizer, data_args)
    found: dict[str, Any] = {}
    for split, names in (("train", data_args.dataset), ("validation", data_args.eval_dataset)):
        aligned = _get_merged_dataset(names, model_args, data_args, training_args, "rm")
        found[split] = [{name: row[name] for name in ("_system", "_prompt", "_response")} for row in aligned]
    module = get_dataset(template, model_args, data_args, training_args, stage="rm", tokenizer=tokenizer)
    for split, name in (("train", "train_dataset"), ("validation", "eval_dataset")):
        for row, tokens in zip(found[split], module[name], strict=True):
            row["chosen"] = tokenizer.decode(tokens["chosen_input_ids"])
            row["rejected"] = tokenizer.decode(tokens["rejected_input_ids"])
    with open(f"{output}.json", "w", encoding="utf-8") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
