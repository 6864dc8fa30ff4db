"""The base model: 164 thousand parameters, from scratch, one for each seed; and sampling from any model.

The base is imperfect on purpose: it is trained briefly, on examples that ignore a share of their constraints. It has
read both polarities of every kind, as an instruction-tuned model has.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.rpo_vs_dpo.language import CONSTRAINTS, LONGEST, VOCABULARY, draw_example, render_prompt

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
IGNORED = 0.1
"""Share of constraints that a pretraining response does not follow."""
STEPS, BATCH, RATE = 800, 64, 3e-3
MOST_TOKENS = LONGEST + 4
SAMPLED_AT_ONCE = 1000


def make_tokenizer() -> Any:
    """One token a word."""
    vocabulary = {word: number for number, word in enumerate((PAD, END, UNKNOWN, *VOCABULARY))}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token=PAD, eos_token=END, unk_token=UNKNOWN, padding_side="left"
    )


def make_model(tokenizer: Any) -> Any:
    """A Llama of 3 layers and width 64, with fresh weights from torch's generator."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=192,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )


def pretrain(tokenizer: Any, seed: int, steps: int = STEPS) -> Any:
    """A base model of a seed: its own weights, its own examples, no example twice.

    The loss counts response tokens only, the learning rate falls linearly to 0.
    """
    torch.manual_seed(seed)
    rng = random.Random(f"pretraining {seed}")
    model = make_model(tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    warm = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (steps - step) / max(1, steps - warm))
    )
    arrow = tokenizer.convert_tokens_to_ids("=>")
    model.train()
    for _ in range(steps):
        several = rng.randint(1, CONSTRAINTS)
        drawn = [draw_example(rng, several, IGNORED) for _ in range(BATCH)]
        lines = [f"{render_prompt(prompt)} {response} {END}" for prompt, response in drawn]
        batch = tokenizer(lines, return_tensors="pt", padding=True, padding_side="right")
        ids = batch["input_ids"]
        answered = (ids == arrow).cumsum(dim=1) - (ids == arrow).long()
        labels = torch.where((answered > 0) & (batch["attention_mask"] > 0), ids, -100)
        loss = model(input_ids=ids, attention_mask=batch["attention_mask"], labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    model.eval()
    return model


@torch.no_grad()
def sample(
    model: Any, tokenizer: Any, prompts: Sequence[str], seed: int, times: int = 1, greedy: bool = False
) -> list[list[str]]:
    """``times`` responses for each prompt, at temperature 1 over the whole vocabulary, or the greedy one."""
    torch.manual_seed(seed)
    settings = GenerationConfig(
        do_sample=not greedy,
        temperature=None if greedy else 1.0,
        top_k=None if greedy else 0,
        num_return_sequences=times,
        max_new_tokens=MOST_TOKENS,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model.eval()
    responses: list[list[str]] = []
    for first in range(0, len(prompts), SAMPLED_AT_ONCE):
        batch = tokenizer(list(prompts[first : first + SAMPLED_AT_ONCE]), return_tensors="pt", padding=True)
        known = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        made = model.generate(**known, generation_config=settings)[:, batch["input_ids"].shape[1] :]
        texts = tokenizer.batch_decode(made, skip_special_tokens=True)
        responses += [texts[start : start + times] for start in range(0, len(texts), times)]
    return responses
