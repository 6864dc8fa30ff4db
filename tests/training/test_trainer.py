"""RPOTrainer against the formula of the paper, and against TRL's DPOTrainer where the two must be the same."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

pytest.importorskip("trl")

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import TrainerCallback
from trl import DPOConfig, DPOTrainer

from tasks.training.trainer import MARGIN, RPOConfig, RPOTrainer
from tests.training.conftest import WORDS

EOS, FIRST_WORD = 1, 3
LORA = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=["q_proj", "v_proj", "up_proj"])

Row = dict[str, Any]


def draw_rows(seed: int, count: int, largest_margin: int = 8) -> list[Row]:
    """Random pairs of unequal lengths. A prompt ends in a blank, so that it is a prefix of the tokens."""
    random = Random(seed)

    def words(least: int, most: int) -> str:
        return " ".join(random.choice(WORDS) for _ in range(random.randint(least, most)))

    return [
        {
            "prompt": words(1, 6) + " ",
            "chosen": words(1, 6),
            "rejected": words(1, 6),
            MARGIN: float(random.randint(0, largest_margin)),
        }
        for _ in range(count)
    ]


def arguments(kind: type[DPOConfig], folder: Path, **changed: Any) -> Any:
    """Training arguments that write nothing and log every step."""
    quiet = {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_steps": 1,
        "gradient_checkpointing": False,
        "learning_rate": 1e-2,
        "max_steps": 4,
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 4,
    }
    return kind(**{**quiet, **changed})


def stir(policy: Any, seed: int = 7, size: float = 0.05) -> None:
    """Move a policy away from its reference model: at the start every logratio is 0, whatever beta is."""
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in policy.parameters():
            if weight.requires_grad:
                weight += size * torch.randn(weight.shape, generator=noise, dtype=torch.float64).to(weight.dtype)


class Gradients(TrainerCallback):
    """Keeps the gradients of a step, as the optimizer gets them."""

    def __init__(self) -> None:
        self.seen: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        for name, weight in given["model"].named_parameters():
            if weight.requires_grad:
                self.seen[name] = weight.grad.clone()


def log_probability(model: Any, prompt: str, completion: str) -> torch.Tensor:
    """Of a completion and its end, by hand: one unpadded row, log-softmax, the completion's tokens summed."""
    start, end = ([FIRST_WORD + WORDS.index(word) for word in text.split()] for text in (prompt, completion))
    tokens = torch.tensor([*start, *end, EOS])
    logits = model(input_ids=tokens[None]).logits[0].double()
    scores = logits[:-1].log_softmax(-1)[torch.arange(len(tokens) - 1), tokens[1:]]
    return scores[len(start) - 1 :].sum()


def logratios(policy: Any, reference: Any, row: Row) -> tuple[torch.Tensor, torch.Tensor]:
    """The policy's minus the reference model's log-probability, of chosen and of rejected."""
    chosen, rejected = (
        log_probability(policy, row["prompt"], row[side])
        - log_probability(reference, row["prompt"], row[side]).detach()
        for side in ("chosen", "rejected")
    )
    return chosen, rejected


def softplus(value: torch.Tensor) -> torch.Tensor:
    """-log sigmoid(-value)."""
    return torch.logaddexp(value, torch.zeros_like(value))


def closed_form(policy: Any, reference: Any, rows: list[Row], args: RPOConfig) -> torch.Tensor:
    """The mean loss of section 3.4, from scratch."""
    losses = []
    for row in rows:
        chosen, rejected = logratios(policy, reference, row)
        if args.margin_scale == "paper":
            value = args.beta * (chosen - rejected) - args.gamma * row[MARGIN]
        else:
            value = args.beta * (chosen - rejected - args.gamma * row[MARGIN])
        if args.loss_type == ["hinge"]:
            losses.append((1 - value).clamp(min=0))
        elif args.loss_type == ["robust"]:
            flip = args.label_smoothing
            losses.append(((1 - flip) * softplus(-value) - flip * softplus(value)) / (1 - 2 * flip))
        else:
            losses.append(softplus(-value))
    return torch.stack(losses).mean()


# what a person may switch on: (arguments of RPOConfig, with LoRA, with a reference model)
MODES: dict[str, tuple[dict[str, Any], bool, bool]] = {
    "lora": ({}, True, False),
    "full": ({}, False, True),
    "precomputed": ({"precompute_ref_log_probs": True}, False, False),
    "precomputed lora": ({"precompute_ref_log_probs": True}, True, False),
    "checkpointing": ({"gradient_checkpointing": True}, False, True),
    "checkpointing lora": ({"gradient_checkpointing": True}, True, False),
    "robust": ({"loss_type": ["robust"], "label_smoothing": 0.2}, False, True),
    "hinge": ({"loss_type": ["hinge"]}, False, True),
}


@pytest.mark.parametrize("scale", ["paper", "released"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(3))
def test_loss_and_gradients_are_the_closed_form(
    seed: int, mode: str, scale: str, tiny_model: Callable[..., Any], tiny_tokenizer: Any, tmp_path: Path
) -> None:
    options, lora, with_reference = MODES[mode]
    random = Random(f"{seed} {mode} {scale}")
    rows = draw_rows(random.randrange(1000), count=random.randint(1, 6))
    beta, gamma = random.choice([0.05, 0.1, 0.3]), random.choice([0.05, 0.2, 0.5])
    args = arguments(
        RPOConfig,
        tmp_path,
        **options,
        **{"beta": beta, "gamma": gamma, "margin_scale": scale, "max_steps": 1},
        # the gradients as they are
        max_grad_norm=0.0,
        per_device_train_batch_size=len(rows),
    )
    gradients = Gradients()
    trainer = RPOTrainer(
        tiny_model(seed).double(),
        ref_model=tiny_model(seed + 1).double() if with_reference else None,
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=tiny_tokenizer,
        peft_config=LORA if lora else None,
        callbacks=[gradients],
    )
    stir(trainer.model)

    # a policy that TRL has never touched
    policy = get_peft_model(tiny_model(seed).double(), LORA) if lora else tiny_model(seed).double()
    policy.load_state_dict(trainer.model.state_dict())
    reference = tiny_model(seed + 1 if with_reference else seed).double()
    expected = closed_form(policy, reference, rows, args)
    expected.backward()

    losses = []
    compute_loss = trainer.compute_loss

    def kept(*given: Any, **named: Any) -> Any:
        losses.append(compute_loss(*given, **named))
        return losses[-1]

    trainer.compute_loss = kept
    trainer.train()

    assert trainer.model.is_gradient_checkpointing == options.get("gradient_checkpointing", False)
    assert losses[0].item() == pytest.approx(expected.item(), abs=1e-6)
    by_hand = {name: weight.grad for name, weight in policy.named_parameters() if weight.requires_grad}
    assert gradients.seen.keys() == by_hand.keys()
    for name, gradient in by_hand.items():
        assert torch.allclose(gradients.seen[name], gradient, rtol=0, atol=1e-6), name


# the same arguments for both trainers: (arguments, with LoRA, with a reference model)
PLAIN_DPO: dict[str, tuple[dict[str, Any], bool, bool]] = {
    "full": ({}, False, True),
    "precomputed": ({"precompute_ref_log_probs": True}, False, False),
    "accumulation": ({"gradient_accumulation_steps": 3, "per_device_train_batch_size": 2}, False, True),
    "checkpointing": ({"gradient_checkpointing": True}, False, True),
    "lora": ({}, True, False),
    "precomputed lora": ({"precompute_ref_log_probs": True}, True, False),
    "evaluation": ({"eval_strategy": "steps", "eval_steps": 2}, False, True),
    "bf16": ({"bf16": True}, True, False),
}
CLOCK = {"train_runtime", "train_samples_per_second", "train_steps_per_second"}
EVAL_CLOCK = {"eval_runtime", "eval_samples_per_second", "eval_steps_per_second"}


@pytest.mark.parametrize("scale", ["paper", "released"])
@pytest.mark.parametrize("mode", PLAIN_DPO)
def test_without_gamma_it_is_dpo_to_the_bit(
    mode: str, scale: str, tiny_model: Callable[..., Any], tiny_tokenizer: Any, tmp_path: Path
) -> None:
    options, lora, with_reference = PLAIN_DPO[mode]

    def trained(trainer: type[DPOTrainer], args: Any) -> Any:
        made = trainer(
            tiny_model(0),
            ref_model=tiny_model(1) if with_reference else None,
            args=args,
            train_dataset=Dataset.from_list(draw_rows(3, 16)),
            eval_dataset=Dataset.from_list(draw_rows(4, 7)) if "eval_steps" in options else None,
            processing_class=tiny_tokenizer,
            peft_config=LORA if lora else None,
        )
        made.train()
        return made

    dpo = trained(DPOTrainer, arguments(DPOConfig, tmp_path, **options))
    rpo = trained(RPOTrainer, arguments(RPOConfig, tmp_path, gamma=0.0, margin_scale=scale, **options))

    assert len(dpo.state.log_history) == len(rpo.state.log_history) >= 5
    for theirs, ours in zip(dpo.state.log_history, rpo.state.log_history, strict=True):
        compared = theirs.keys() - CLOCK - EVAL_CLOCK
        assert {name: ours[name] for name in compared} == {name: theirs[name] for name in compared}
    assert len({entry["loss"] for entry in rpo.state.log_history if "loss" in entry}) == 4
    for (name, weight), (same, other) in zip(dpo.model.named_parameters(), rpo.model.named_parameters(), strict=True):
        assert name == same and torch.equal(weight, other), name


def test_gamma_changes_the_training(tiny_model: Callable[..., Any], tiny_tokenizer: Any, tmp_path: Path) -> None:
    """What the test above cannot see: a margin that never arrives."""

    def first_step(**options: Any) -> tuple[float, float]:
        trainer = RPOTrainer(
            tiny_model(0),
            ref_model=tiny_model(0),
            args=arguments(RPOConfig, tmp_path, max_steps=1, beta=0.1, **options),
            train_dataset=Dataset.from_list([{**row, MARGIN: 2.0} for row in draw_rows(3, 4)]),
            processing_class=tiny_tokenizer,
        )
        trainer.train()
        logged = trainer.state.log_history[0]
        return logged["loss"], logged["rewards/margin_accuracies"]

    # policy and reference model are the same: -log sigmoid(-margin)
    # and a difference of 0 is not more than a margin of 0
    assert first_step(gamma=0.0) == pytest.approx((math.log(2), 0.0), abs=1e-6)
    assert first_step(gamma=0.5) == pytest.approx((math.log(1 + math.exp(1.0)), 0.0), abs=1e-6)
    assert first_step(gamma=0.5, margin_scale="released") == pytest.approx((math.log(1 + math.exp(0.1)), 0.0), abs=1e-6)


@pytest.mark.parametrize("scale", ["paper", "released"])
def test_bf16_trains_on_cpu(scale: str, tiny_model: Callable[..., Any], tiny_tokenizer: Any, tmp_path: Path) -> None:
    rows, logged = draw_rows(5, 4), {}
    for bf16 in (False, True):
        trainer = RPOTrainer(
            tiny_model(0),
            ref_model=tiny_model(1),
            args=arguments(RPOConfig, tmp_path, bf16=bf16, gamma=0.5, margin_scale=scale, max_steps=2),
            train_dataset=Dataset.from_list(rows),
            processing_class=tiny_tokenizer,
        )
        trainer.train()
        logged[bf16] = trainer.state.log_history[1]
    assert logged[True]["loss"] == pytest.approx(logged[False]["loss"], rel=0.02)
    assert logged[True]["loss"] != logged[False]["loss"]
    assert logged[True]["grad_norm"] == pytest.approx(logged[False]["grad_norm"], rel=0.05)


def rewards_by_hand(policy: Any, reference: Any, rows: list[Row], beta: float) -> list[tuple[float, float]]:
    """DPO's implicit rewards of chosen and rejected."""
    with torch.no_grad():
        return [
            (beta * chosen.item(), beta * rejected.item())
            for chosen, rejected in (logratios(policy, reference, row) for row in rows)
        ]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("scale", ["paper", "released"])
@pytest.mark.parametrize("precompute", [False, True])
def test_logged_rewards_are_counted_by_hand(
    precompute: bool, scale: str, tiny_model: Callable[..., Any], tiny_tokenizer: Any, tmp_path: Path
) -> None:
    rows, beta = draw_rows(11, 11, largest_margin=3), 0.3
    gamma = 0.12 if scale == "paper" else 0.4
    trainer = RPOTrainer(
        tiny_model(0),
        ref_model=tiny_model(1),
        args=arguments(
            RPOConfig,
            tmp_path,
            # the policy stands still, so that every batch can be counted; 11 rows are batches of 4, 4 and 3
            **{"learning_rate": 0.0, "num_train_epochs": 1, "max_steps": -1, "logging_steps": 3},
            **{"beta": beta, "gamma": gamma, "margin_scale": scale, "precompute_ref_log_probs": precompute},
        ),
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(rows),
        processing_class=tiny_tokenizer,
    )
    stir(trainer.model, size=0.15)
    policy = tiny_model(0)
    policy.load_state_dict(trainer.model.state_dict())
    rewards = rewards_by_hand(policy, tiny_model(1), rows, beta)
    required = [row[MARGIN] * gamma * (1.0 if scale == "paper" else beta) for row in rows]
    reached = [float(a - b > need) for (a, b), need in zip(rewards, required, strict=True)]
    of_margin = defaultdict(list)
    for row, one in zip(rows, reached, strict=True):
        of_margin[row[MARGIN]].append(one)

    trainer.train()
    trained = trainer.state.log_history[0]
    evaluated = trainer.evaluate()

    # the draw says something: some pairs reach their margin, some are right without reaching it
    right = [float(a > b) for a, b in rewards]
    assert 0 < sum(reached) < sum(right) < len(rows)
    assert any(0 < sum(ones) < len(ones) for ones in of_margin.values())
    batches = [slice(0, 4), slice(4, 8), slice(8, 11)]
    assert mean([mean(reached[batch]) for batch in batches]) != pytest.approx(mean(reached), abs=1e-3)

    # shares of rows, however they fall into batches
    for prefix, log in (("", trained), ("eval_", evaluated)):
        name = f"{prefix}rewards/margin_accuracies"
        assert log[name] == pytest.approx(mean(reached))
        for margin, ones in of_margin.items():
            assert log[f"{name}/{margin:g}"] == pytest.approx(mean(ones))
        assert sum(key.startswith(f"{name}/") for key in log) == len(of_margin)

    # TRL's own metrics: the mean of the batches' means, evaluation takes the rows in order
    for metric, values in {
        "rewards/chosen": [a for a, _ in rewards],
        "rewards/rejected": [b for _, b in rewards],
        "rewards/margins": [a - b for a, b in rewards],
        "rewards/accuracies": right,
    }.items():
        by_batch = mean([mean(values[batch]) for batch in batches])
        assert evaluated[f"eval_{metric}"] == pytest.approx(by_batch, abs=1e-5), metric
    assert trained["rewards/margins"] == pytest.approx(
        trained["rewards/chosen"] - trained["rewards/rejected"], abs=1e-6
    )


@pytest.mark.parametrize("remove_unused_columns", [True, False])
@pytest.mark.parametrize("precompute", [False, True])
@pytest.mark.parametrize("lora", [False, True])
def test_models_never_see_the_margin(
    lora: bool,
    precompute: bool,
    remove_unused_columns: bool,
    tiny_model: Callable[..., Any],
    tiny_tokenizer: Any,
    tmp_path: Path,
) -> None:
    policy, reference, seen = tiny_model(0), None if lora else tiny_model(1), set()
    modules = [*policy.modules(), *(reference.modules() if reference else [])]
    for module in modules:
        module.register_forward_pre_hook(lambda _, __, named: seen.update(named), with_kwargs=True)
    rows = [{**row, "note": "not for the model"} for row in draw_rows(6, 8)]
    args = arguments(RPOConfig, tmp_path, precompute_ref_log_probs=precompute, max_steps=2)
    args.remove_unused_columns = remove_unused_columns
    trainer = RPOTrainer(
        policy,
        ref_model=reference,
        args=args,
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(rows),
        processing_class=tiny_tokenizer,
        peft_config=LORA if lora else None,
    )
    trainer.train()
    trainer.evaluate()
    # a data set that was not there at the start
    trainer.evaluate(Dataset.from_list(rows[:3]))
    assert "input_ids" in seen
    assert not seen & {MARGIN, "note", "completion_mask", "ref_chosen_logps", "ref_rejected_logps"}


def test_a_batch_may_be_used_again(tiny_model: Callable[..., Any], tiny_tokenizer: Any, tmp_path: Path) -> None:
    """Also with the outputs, for which TRL runs the model a second time."""
    trainer = RPOTrainer(
        tiny_model(0),
        ref_model=tiny_model(1),
        args=arguments(RPOConfig, tmp_path),
        train_dataset=Dataset.from_list(draw_rows(6, 4)),
        processing_class=tiny_tokenizer,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    names = set(batch)
    loss = trainer.compute_loss(trainer.model, batch)
    again, outputs = trainer.compute_loss(trainer.model, batch, return_outputs=True)
    assert set(batch) == names >= {MARGIN, "completion_mask"}
    assert torch.equal(loss, again)
    assert outputs.logits.shape == (8, batch["input_ids"].shape[1], 43)
    one, other = trainer._metrics["train"]["rewards/chosen"]
    assert one == other != 0


def test_reference_is_named_for_people(tiny_model: Callable[..., Any], tiny_tokenizer: Any, tmp_path: Path) -> None:
    def reference(**options: Any) -> str:
        precompute = options.pop("precompute", False)
        trainer = RPOTrainer(
            options.pop("policy", None) or tiny_model(0),
            args=arguments(RPOConfig, tmp_path, precompute_ref_log_probs=precompute),
            train_dataset=Dataset.from_list(draw_rows(6, 4)),
            processing_class=tiny_tokenizer,
            **options,
        )
        return str(trainer.reference)

    once = ", its log-probabilities computed once before training"
    assert reference(ref_model=tiny_model(1)) == "a frozen copy of the policy"
    assert reference(peft_config=LORA) == "the policy with its adapter switched off"
    assert reference(policy=get_peft_model(tiny_model(0), LORA)) == "the policy with its starting adapter"
    assert reference(peft_config=LORA, precompute=True) == f"the policy with its adapter switched off{once}"
    assert reference(precompute=True) == f"the policy before its first step{once}"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"gamma": -0.1}, "gamma is -0.1; a margin is not negative"),
        ({"beta": 0.0}, "beta is 0.0; it must be positive"),
        ({"beta": -1.0}, "beta is -1.0; it must be positive"),
        ({"margin_scale": "outside"}, "margin_scale is 'outside'; it is 'paper' or 'released'"),
        ({"loss_type": ["ipo"]}, r"one loss of \['hinge', 'robust', 'sigmoid'\].* given loss_type \['ipo'\]"),
        ({"loss_type": ["sigmoid", "hinge"]}, "RPO is defined for one loss"),
        ({"f_divergence_type": "js_divergence"}, "with reverse KL .*'js_divergence'"),
        ({"ld_alpha": 0.5}, "without ld_alpha.* ld_alpha 0.5"),
    ],
)
def test_settings_that_are_no_rpo_are_refused(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        arguments(RPOConfig, tmp_path, **changed)


def test_a_dataset_without_margins_is_refused(
    tiny_model: Callable[..., Any], tiny_tokenizer: Any, tmp_path: Path
) -> None:
    rows = Dataset.from_list(draw_rows(6, 4))
    bare = rows.remove_columns(MARGIN)

    def make(train: Dataset, evaluated: Any = None, kind: type[DPOConfig] = RPOConfig) -> Any:
        return RPOTrainer(
            tiny_model(0),
            ref_model=tiny_model(1),
            args=arguments(kind, tmp_path),
            train_dataset=train,
            eval_dataset=evaluated,
            processing_class=tiny_tokenizer,
        )

    with pytest.raises(ValueError, match=r"the train dataset has no column 'margin'; it has .*'chosen'"):
        make(bare)
    with pytest.raises(ValueError, match="the eval dataset has no column 'margin'"):
        make(rows, bare)
    with pytest.raises(ValueError, match="the easy dataset has no column 'margin'"):
        make(rows, {"hard": rows, "easy": bare})
    with pytest.raises(ValueError, match="takes an RPOConfig as args, not a DPOConfig"):
        make(rows, kind=DPOConfig)
    make(rows, rows)


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("precompute", [False, True])
def test_training_resumes_where_it_stopped(
    precompute: bool, lora: bool, tiny_model: Callable[..., Any], tiny_tokenizer: Any, tmp_path: Path
) -> None:
    def make() -> Any:
        return RPOTrainer(
            tiny_model(0),
            ref_model=None if lora else tiny_model(1),
            args=arguments(
                RPOConfig,
                tmp_path,
                **{"save_strategy": "steps", "save_steps": 2, "max_steps": 4, "gamma": 0.3},
                precompute_ref_log_probs=precompute,
            ),
            train_dataset=Dataset.from_list(draw_rows(9, 16)),
            processing_class=tiny_tokenizer,
            peft_config=LORA if lora else None,
        )

    def logged(trainer: Any) -> dict[int, list[float]]:
        names = ("loss", "grad_norm", "rewards/margins", "rewards/margin_accuracies")
        return {
            entry["step"]: [entry[name] for name in names] for entry in trainer.state.log_history if "loss" in entry
        }

    straight = make()
    straight.train()
    resumed = make()
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))

    whole, second = logged(straight), logged(resumed)
    assert list(whole) == list(second) == [1, 2, 3, 4]
    for step in (3, 4):
        assert second[step] == pytest.approx(whole[step], rel=1e-6, abs=1e-7)
    fresh = make()
    fresh.args.max_steps = 2
    fresh.train()
    assert logged(fresh)[2] != pytest.approx(whole[4], rel=1e-3)
    for weight, other in zip(straight.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.allclose(weight, other, rtol=1e-6, atol=1e-7)
