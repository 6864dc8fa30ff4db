"""What a training run depends on: the form of the flow ``train`` and the file that the trainer's process reads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from models.base import Strict

Method = Literal["rpo", "dpo", "sft", "kto"]
EMBEDDED_MODEL = "embedded"
"""Name of the embedded demo model where a model is asked for."""

# the paper: 5e-4 for preference training with LoRA, 5e-5 for SFT
_LEARNING_RATES: dict[Method, float] = {"rpo": 5e-4, "dpo": 5e-4, "kto": 5e-4, "sft": 5e-5}


class Recipe(Strict):
    """How to train. The defaults are the paper's values where it gives one."""

    method: Method = Field(default="rpo", description="rpo, or one of the paper's baselines: dpo, sft, kto.")
    gamma: float = Field(default=0.05, ge=0, description="Margin a differing constraint (rpo only); 0: plain DPO.")
    margin_scale: Literal["paper", "released"] = Field(
        default="paper",
        description="paper: beta * difference - gamma * g; released (the authors' code): beta * (difference - "
        "gamma * g).",
    )
    beta: float = Field(default=0.1, gt=0, description="Strength of the pull to the reference model (rpo, dpo, kto).")
    loss: Literal["sigmoid", "robust"] = Field(
        default="sigmoid", description="robust: unbiased where a share of the pairs is the wrong way round (rpo, dpo)."
    )
    label_noise: float = Field(
        default=0.0, ge=0, lt=0.5, description="Share of pairs expected the wrong way round; only with loss = robust."
    )
    learning_rate: float | None = Field(
        default=None, gt=0, description="Peak learning rate; empty: 5e-4, and 5e-5 for sft."
    )
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = Field(
        default="cosine", description="How the learning rate falls."
    )
    warmup: float = Field(default=0.1, ge=0, lt=1, description="Share of the steps in which the learning rate rises.")
    epochs: float = Field(default=3, gt=0, description="Passes over the training rows.")
    max_steps: int | None = Field(default=None, ge=1, description="Stop after so many steps; empty: after the epochs.")
    global_batch: int = Field(default=1000, ge=1, description="Rows of a step, over all devices.")
    device_batch: int = Field(default=4, ge=1, description="Rows that a device holds at once; memory decides.")
    max_length: int = Field(
        default=4096, ge=16, description="Tokens of prompt and completion; a row that is longer is refused, never cut."
    )
    lora_rank: int = Field(
        default=16, ge=0, description="Rank of the adapter on all linear layers; 0: train all weights."
    )
    lora_alpha: int = Field(default=32, ge=1, description="Scale of the adapter is alpha / rank.")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        default="auto", description="auto: bf16 on a GPU, fp32 on a CPU, where bf16 is a hundred times slower."
    )
    gradient_checkpointing: bool = Field(
        default=True, description="Compute activations twice instead of keeping them: less memory, more time."
    )
    precompute_reference: bool = Field(
        default=True, description="Ask the reference model once before training, not at every step (rpo, dpo)."
    )
    save_steps: int = Field(default=10, ge=1, description="Steps between checkpoints: what a crash costs at most.")
    keep_checkpoints: int = Field(default=2, ge=1, description="Checkpoints kept.")
    merge: bool = Field(default=False, description="Also write the model with the adapter merged into its weights.")
    seed: int = Field(default=0, ge=0, description="Seed of adapter, order of rows and dropout.")

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate, or the paper's for the method."""
        return self.learning_rate or _LEARNING_RATES[self.method]

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.method == "kto" and min(self.device_batch, self.global_batch) < 2:
            raise ValueError("kto estimates a KL within a batch: device_batch and global_batch must be 2 or more")
        if self.label_noise and self.loss != "robust":
            raise ValueError("label_noise has an effect only with loss = robust")
        return self


class TrainingOptions(Recipe):
    """A recipe, and the model that it is for."""

    model: str | None = Field(
        default=None,
        description="The policy before training: a model folder, a Hub name, a GGUF file or `embedded`; "
        "empty: the policy of the run, where the factory serves it itself.",
    )


class TrainingConfig(Recipe):
    """Everything that the trainer's process needs: ``python -m tasks.training.rpo --config FILE``."""

    model: str = Field(description="The policy before training: a model folder, a Hub name, a GGUF file or `embedded`.")
    adapter: str | None = Field(
        default=None,
        description="Folder of an adapter of the model that training goes on from, as in a later round: the policy "
        "with it is the reference. Rank and alpha are the adapter's.",
    )
    run: str = Field(default="", description="The factory run that the rows come from; for the records.")
    train_file: str = Field(description="Rows to train on: JSON lines, as `rpo export` writes them for the method.")
    validation_file: str | None = Field(default=None, description="Rows to measure on at the end of every epoch.")
    output: str = Field(description="Folder of the training run.")


class PairFilter(Strict):
    """Which rows of an export are trained on. Counts what it leaves out."""

    min_margin: int = Field(
        default=1, ge=1, description="Smallest margin (rpo) or score gap (dpo); the paper trains on 3 and more."
    )
    max_per_turn: int | None = Field(default=None, ge=1, description="Rows of a turn at most; empty: all.")
    max_per_dialogue: int | None = Field(default=None, ge=1, description="Rows of a dialogue at most; empty: all.")
    refined_share: float = Field(
        default=1.0, ge=0, le=1, description="Share of rows with a response that the critic rewrote, at most."
    )
    max_rows: int | None = Field(default=None, ge=1, description="Training rows at most; empty: all.")


class TrainingSettings(Strict):
    """Train a policy on a factory run's pairs."""

    run: str = Field(default="demo", description="The factory run whose pairs are trained on.")
    data: str = Field(default="data", description="Folder of the data, or s3://bucket/prefix.")
    name: str | None = Field(
        default=None, description="Name of the training run, its folder under DATA/training; empty: RUN_METHOD."
    )
    pairs: PairFilter = Field(default=PairFilter(), description="Which rows are trained on.")
    validation_share: float = Field(default=0.1, ge=0, lt=1, description="Share of dialogues held out.")
    preset: str = Field(
        default="auto",
        description="How to launch: cpu, gpu, zero3_8gpu (deployments/accelerate), or an accelerate config file; "
        "auto: gpu where there is one.",
    )
    retries: int = Field(
        default=2, ge=0, description="How often a crashed trainer is started again, from its checkpoint."
    )
    training: TrainingOptions = Field(default=TrainingOptions(), description="How to train.")

    @field_validator("name")
    @classmethod
    def _is_a_folder_name(cls, name: str | None) -> str | None:
        if name is not None and not (name.replace("_", "").replace("-", "").isalnum() and len(name) <= 80):
            raise ValueError("a name has letters, digits, - and _ only")
        return name

    @property
    def training_name(self) -> str:
        """The name of the training run."""
        return self.name or f"{self.run}_{self.training.method}"


class Refusal(Strict):
    """A row that was not trained on."""

    file: str
    line: int
    why: str


class TrainingRecord(Strict):
    """What a training run came to: ``record.json``, written last; where it exists the run is finished."""

    run: str
    method: Method
    model: str
    adapter: bool
    identity: str = Field(
        description="Hash of the configuration, the rows and the model: two runs that share it are one."
    )
    reference: str = Field(description="The reference model.")
    rows: int
    validation_rows: int
    refused: int
    steps: int
    trainable_parameters: int
    seconds: float = Field(description="Of the last process; a resumed run had others before it.")
    resumed_from: int | None = Field(description="Step of the checkpoint that the last process began with.")
    first: dict[str, float] = Field(description="The first logged metrics.")
    last: dict[str, float] = Field(description="The last logged metrics.")
    validation: dict[str, float] = Field(description="Metrics on the validation rows after the last step.")
    final: str = Field(description="Folder of the adapter, or of the model.")
    merged: str | None = Field(description="Folder of the model with the adapter merged.")
    dataset_sha256: str
    versions: dict[str, str]


class TrainingOutcome(Strict):
    """What the flow ``train`` returns."""

    name: str
    folder: str
    rows_left_out: dict[str, int] = Field(description="Rows of the export that the filter left out, by rule.")
    reused: bool = Field(description="The training run was finished already; nothing was trained.")
    record: TrainingRecord
