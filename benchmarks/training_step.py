"""A training step of RPOTrainer costs at most 1.03 times one of TRL's own DPOTrainer on the same data.

    python -m benchmarks.training_step --pairs 60

Both trainers live in one process and take turns, step by step, on the same batches: a pair of steps is one of each, and
which goes first changes from pair to pair. The ratio is the median over the pairs of RPO's time by DPO's, with a
bootstrap interval, so that what slows the machine for a while slows both, and an outlier does not count. On a CPU the
time is the process's own CPU time in one thread, since other work may share the cores; on a GPU it is wall time between
two synchronisations. A step is the batch from the loader, forward, backward, clipping and the optimizer. The model is a
Llama of SmolLM2-135M's width with fewer layers and random weights, LoRA r=16; once with the reference log-probabilities
computed before, once with the reference pass in every step.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from random import Random
from statistics import median
from typing import Any

import datasets
import torch
import transformers
import trl
from peft import LoraConfig
from tokenizers import Tokenizer, models, pre_tokenizers

from tasks.training.trainer import MARGIN, RPOConfig, RPOTrainer

LIMIT = 1.03
WARM_UP = 2
# of a row on a machine that is too busy for all its pairs
SECONDS, LEAST_PAIRS = 60.0, 8
WORDS = 49_152 - 3
# of a prompt and of a completion
PROMPT, COMPLETION = 32, 24


def make_tokenizer() -> Any:
    """A word is a token."""
    vocabulary = {word: number for number, word in enumerate(["<pad>", "<eos>", "<unk>"])}
    vocabulary |= {f"w{number}": number + 3 for number in range(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def make_dataset(pairs: int) -> Any:
    """Random pairs with margins of 1 to 5."""
    random = Random(0)

    def words(count: int) -> str:
        return " ".join(f"w{random.randrange(WORDS)}" for _ in range(count))

    return datasets.Dataset.from_list(
        [
            {
                "prompt": words(PROMPT) + " ",
                "chosen": words(COMPLETION),
                "rejected": words(COMPLETION),
                MARGIN: float(random.randint(1, 5)),
            }
            for _ in range(pairs)
        ]
    )


def make_model(layers: int) -> Any:
    """SmolLM2-135M has 30 layers; these are fewer of the same."""
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            **{"vocab_size": WORDS + 3, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": layers},
            **{"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True},
            **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1},
        )
    )


class Stepper:
    """A trainer that takes one whole step at a time."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        trainer.create_optimizer()
        self.model, self.optimizer = trainer.accelerator.prepare(trainer.model, trainer.optimizer)
        # what train() sets before it calls training_step
        trainer.current_gradient_accumulation_steps = 1
        self.model.train()
        self.batches = self._forever(trainer.get_train_dataloader())

    @staticmethod
    def _forever(loader: Any) -> Iterator[Any]:
        while True:
            yield from loader

    def step(self) -> float:
        """Seconds of the next step."""
        started = _clock()
        self.trainer.training_step(self.model, next(self.batches))
        self.trainer.accelerator.clip_grad_norm_(self.model.parameters(), self.trainer.args.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return _clock() - started


# another program cannot add to the CPU time of this one
CLOCK = "wall time" if torch.cuda.is_available() else "CPU time of one thread"


def _clock() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def make_steppers(layers: int, pairs: int, precompute: bool, folder: str) -> tuple[Stepper, Stepper]:
    """DPO's and RPO's, with the same weights, data, order and arguments."""
    gpu = torch.cuda.is_available()
    options = {
        **{"output_dir": folder, "report_to": [], "save_strategy": "no", "disable_tqdm": True},
        **{"use_cpu": not gpu, "bf16": gpu, "activation_checkpointing": False},
        **{"per_device_train_batch_size": 1, "precompute_ref_log_probs": precompute, "learning_rate": 1e-4},
    }
    tokenizer, rows = make_tokenizer(), make_dataset(pairs)
    made = [
        Stepper(
            trainer(
                make_model(layers),
                args=config(**options),
                train_dataset=rows,
                processing_class=tokenizer,
                peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"),
            )
        )
        for trainer, config in ((trl.DPOTrainer, trl.DPOConfig), (RPOTrainer, RPOConfig))
    ]
    return made[0], made[1]


def bootstrap(ratios: list[float], draws: int = 2000) -> tuple[float, float]:
    """The middle 95 % of medians of resampled pairs."""
    random = Random(0)
    medians = sorted(median(random.choices(ratios, k=len(ratios))) for _ in range(draws))
    return medians[int(0.025 * draws)], medians[int(0.975 * draws)]


def measure(layers: int, pairs: int, precompute: bool) -> dict[str, Any]:
    """Steps in turn; which trainer goes first changes from pair to pair."""
    with tempfile.TemporaryDirectory() as folder:
        dpo, rpo = make_steppers(layers, pairs, precompute, folder)
        for _ in range(WARM_UP):
            dpo.step()
            rpo.step()
        theirs, ours, started = [], [], time.perf_counter()
        for number in range(pairs):
            if number >= LEAST_PAIRS and time.perf_counter() - started > SECONDS:
                break
            if number % 2:
                ours.append(rpo.step())
                theirs.append(dpo.step())
            else:
                theirs.append(dpo.step())
                ours.append(rpo.step())
    ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
    least, most = bootstrap(ratios)
    return {
        "reference": "precomputed" if precompute else "in every step",
        "dpo_seconds": median(theirs),
        "rpo_seconds": median(ours),
        "ratio": median(ratios),
        "interval": [least, most],
        "pairs": len(ratios),
        "limit": LIMIT,
    }


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pairs", type=int, default=60, help="pairs of steps for each row (default: 60; fewer after a minute)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="2 layers and 10 pairs at most: does it run; the ratio is not judged"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    given = parser.parse_args()
    layers, pairs = (2, min(10, given.pairs)) if given.quick else (6, given.pairs)

    os.environ["TQDM_DISABLE"] = "1"
    warnings.filterwarnings("ignore", category=FutureWarning)
    datasets.disable_progress_bars()
    # on a machine that does other work, one thread is faster and far steadier than several
    torch.set_num_threads(1)
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, 1 of {os.cpu_count()} cores"
    setting = (
        f"{where}, torch {torch.__version__}, trl {trl.__version__}; Llama of {layers} layers, LoRA r=16, "
        f"a step is a pair of 2 x {PROMPT + COMPLETION} tokens"
    )
    if not given.json:
        print(setting)
        print(
            f"median of the ratios of paired steps in one process, order swapped from pair to pair, {CLOCK}; "
            "95 % interval by bootstrap"
        )
    rows = []
    for precompute in (True, False):
        rows.append(row := measure(layers, pairs, precompute))
        verdict = "not judged" if given.quick else "ok" if row["ratio"] <= LIMIT else "ABOVE THE LIMIT"
        if not given.json:
            print(
                f"  reference {row['reference']:13}  DPO {row['dpo_seconds']:.3f} s  RPO {row['rpo_seconds']:.3f} s",
                end="",
            )
            print(f"  ratio {row['ratio']:.3f} [{row['interval'][0]:.3f}, {row['interval'][1]:.3f}]", end="")
            print(f"  limit {LIMIT}  {verdict}  ({row['pairs']} pairs)")
    if given.json:
        print(json.dumps({"setting": setting, "rows": rows}, indent=2))
    if not given.quick and any(row["ratio"] > LIMIT for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
