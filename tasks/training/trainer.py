"""Reverse Preference Optimization as a thin layer over TRL's DPO trainer.

The loss of the paper (ACL Findings 2025, section 3.4) is DPO's with a margin that grows with the number ``g`` of
constraints on which chosen and rejected differ::

    -log sigmoid(beta * (chosen logratio - rejected logratio) - gamma * g)          margin_scale = "paper"
    -log sigmoid(beta * (chosen logratio - rejected logratio - gamma * g))          margin_scale = "released"

A logratio is the policy's minus the reference model's log-probability of a completion. So the margin is a constant
that is added to the chosen *reference* log-probability, ``gamma * g / beta`` or ``gamma * g``, and everything else is
TRL's own: the loss, its gradient, gradient checkpointing, accumulation, PEFT, DeepSpeed. With gamma = 0 it is
``DPOTrainer`` to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftModel
from trl import DPOConfig, DPOTrainer

MARGIN = "margin"
"""Column of the dataset: the number of constraints on which the two completions differ."""

# -log sigmoid, its unbiased form under label noise, and the hinge depend on the logratios by their difference alone;
# for the other losses a shift of the reference is not a margin
LOSSES = frozenset({"sigmoid", "robust", "hinge"})


@dataclass
class RPOConfig(DPOConfig):
    """TRL's DPO arguments, and the margin.

    Attributes:
        gamma: Margin a differing constraint; 0 is plain DPO.
        margin_scale: ``paper`` takes gamma * g off the scaled difference, ``released`` (the authors' code) off the
            difference before it is multiplied by beta.
    """

    gamma: float = field(default=0.05, metadata={"help": "Margin a differing constraint; 0 is plain DPO."})
    margin_scale: str = field(default="paper", metadata={"help": "paper: outside beta; released: inside beta."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.margin_scale not in ("paper", "released"):
            raise ValueError(f"margin_scale is {self.margin_scale!r}; it is 'paper' or 'released'")
        if not self.gamma >= 0:
            raise ValueError(f"gamma is {self.gamma}; a margin is not negative")
        if self.beta <= 0:
            raise ValueError(f"beta is {self.beta}; it must be positive")
        unknown = set(self.loss_type) - LOSSES
        if unknown or len(self.loss_type) != 1 or self.f_divergence_type != "reverse_kl" or self.ld_alpha is not None:
            raise ValueError(
                f"RPO is defined for one loss of {sorted(LOSSES)} with reverse KL and without ld_alpha; it was given "
                f"loss_type {self.loss_type}, f_divergence_type {self.f_divergence_type!r}, ld_alpha {self.ld_alpha}"
            )


class RPOTrainer(DPOTrainer):
    """``DPOTrainer`` whose dataset has a column ``margin``: a non-negative number for each pair.

    Takes the arguments of ``DPOTrainer``, with an ``RPOConfig`` as ``args``.

    Logged beside TRL's metrics, each with the prefix ``eval_`` in evaluation:
        ``rewards/*``: the true implicit rewards, beta times the logratio, without the margin.
        ``rewards/margin_accuracies``: share of pairs whose rewards differ by more than their margin asks.
        ``rewards/margin_accuracies/<g>``: the same for the pairs of one margin.

    Raises:
        ValueError: ``args`` is no ``RPOConfig``, or a dataset has no column ``margin``.
    """

    args: RPOConfig
    data_collator: Any
    precompute_ref_logps: bool

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if not isinstance(self.args, RPOConfig):
            raise ValueError(f"RPOTrainer takes an RPOConfig as args, not a {type(self.args).__name__}")
        evaluated = self.eval_dataset if isinstance(self.eval_dataset, dict) else {"eval": self.eval_dataset}
        for name, dataset in {"train": self.train_dataset, **evaluated}.items():
            if dataset is not None and dataset.column_names and MARGIN not in dataset.column_names:
                raise ValueError(f"the {name} dataset has no column {MARGIN!r}; it has {dataset.column_names}")
        # The reference pass over the data is over by now. It needs no margins, so TRL's own collator was right for it.
        self.data_collator = _MarginCollator(self.data_collator)

    @property
    def reference(self) -> str:
        """Which reference model the rewards are measured against, for people."""
        how = ", its log-probabilities computed once before training" if self.precompute_ref_logps else ""
        if self.ref_model is not None:
            return f"a frozen copy of {self.ref_model.config.name_or_path or 'the policy'}{how}"
        if isinstance(self.model, PeftModel):
            which = "its starting adapter" if "ref" in self.model.peft_config else "its adapter switched off"
            return f"the policy with {which}{how}"
        return f"the policy before its first step{how}"

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if MARGIN not in self._signature_columns:
            self._signature_columns.append(MARGIN)

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Reference log-probabilities of a padded batch; what the model does not know is left out."""
        # unknown keys of a batch go to the model's forward
        return super().compute_ref_log_probs(model, {name: value for name, value in inputs.items() if name != MARGIN})

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        inputs = dict(inputs)
        margin = inputs.pop(MARGIN)
        if not self.precompute_ref_logps:
            reference = self.model if self.ref_model is None else self.ref_model
            inputs["ref_chosen_logps"], inputs["ref_rejected_logps"] = self.compute_ref_log_probs(reference, inputs)
        true_reference = torch.stack([inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]])
        inputs["ref_chosen_logps"] = true_reference[0] + self._shift(margin).to(true_reference.dtype)

        forward = _RememberedForward(model)
        precomputed, self.precompute_ref_logps = self.precompute_ref_logps, True
        try:
            loss = super()._compute_loss(forward, inputs, return_outputs)
        finally:
            self.precompute_ref_logps = precomputed
        self._log_rewards(forward.log_probs, true_reference, margin)
        return loss

    def _shift(self, margin: torch.Tensor) -> torch.Tensor:
        """What the margin adds to the chosen reference log-probability, shape (pairs,)."""
        scale = self.beta if self.args.margin_scale == "paper" else 1.0
        return self.args.gamma * margin / scale

    def _log_rewards(self, log_probs: torch.Tensor, reference: torch.Tensor, margin: torch.Tensor) -> None:
        """Put the true rewards in the place of those that TRL computed from the shifted reference.

        Args:
            log_probs: The policy's, shape (2 * pairs, positions), 0 where nothing is scored; chosen before rejected.
            reference: The reference model's sums, shape (2, pairs).
            margin: g, shape (pairs,).
        """
        rewards = self.beta * (log_probs.sum(dim=1).view(2, -1) - reference)
        required = self.beta * self._shift(margin)
        gathered = self.accelerator.gather(torch.stack([*rewards, required, margin.to(rewards.dtype)], dim=1))
        chosen, rejected, required, margin = gathered.unbind(dim=1)
        difference = chosen - rejected
        metrics = self._metrics["train" if self.model.training else "eval"]
        metrics["rewards/chosen"][-1] = chosen.mean().item()
        metrics["rewards/rejected"][-1] = rejected.mean().item()
        metrics["rewards/margins"][-1] = difference.mean().item()
        metrics["rewards/accuracies"][-1] = (difference > 0).float().mean().item()
        # one entry a pair: batches are of unequal size and margin, and the log takes the mean of the entries
        for g, reached in zip(margin.tolist(), (difference > required).tolist(), strict=True):
            metrics["rewards/margin_accuracies"].append(float(reached))
            metrics[f"rewards/margin_accuracies/{g:g}"].append(float(reached))


class _MarginCollator:
    """TRL's collator, and the margins of the batch as a float tensor of shape (pairs,)."""

    def __init__(self, collator: Callable[[list[dict[str, Any]]], dict[str, Any]]) -> None:
        self.collator = collator

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        if MARGIN not in examples[0]:  # of a dataset that was given to `evaluate`
            raise ValueError(f"the dataset has no column {MARGIN!r}; it has {sorted(examples[0])}")
        margins = [example[MARGIN] for example in examples]
        return {**self.collator(examples), MARGIN: torch.tensor(margins, dtype=torch.float32)}


class _RememberedForward:
    """The model's forward, remembering the log-probabilities of its first call: TRL keeps them to itself."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.log_probs = torch.empty(0)

    def __call__(self, **inputs: Any) -> Any:
        outputs = self.model(**inputs)
        if not self.log_probs.numel():
            self.log_probs = outputs.log_probs.detach()
        return outputs
