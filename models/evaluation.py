"""What an evaluation depends on and what it comes to: the form of the flow ``evaluate``, its summary, a comparison."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from models.base import Strict
from models.benchmarks import BenchmarkName, RefusedRow
from models.endpoints import Endpoint, Role
from models.records import Metric, PartRef
from models.settings import Judging
from models.sysbench import History

BASE = "base"
"""Label of the policy as it was before training."""

HELD_OUT = "heldout"
"""Name of this benchmark in the table ``metrics``."""


class Models(Strict):
    """Settings that name models, each once."""

    @field_validator("models", check_fields=False)
    @classmethod
    def _each_once(cls, models: list[str]) -> list[str]:
        labels = [model.partition("=")[0] for model in models]
        twice = {label for label in labels if labels.count(label) > 1}
        if twice:
            raise ValueError(f"{min(twice)} is named twice")
        return models


class EvaluationSettings(Models):
    """Measure the base model and trained models on dialogues that training has not seen."""

    run: str = Field(default="demo", description="The factory run that the models were trained on.")
    data: str = Field(default="data", description="Folder of the data, or s3://bucket/prefix.")
    models: list[str] = Field(
        default=[],
        description="What to measure: `base`, the name of a training run, or LABEL=endpoint:NAME for a model that "
        "you serve yourself. Empty: base and every finished training run of the factory run.",
    )
    name: str | None = Field(
        default=None,
        pattern=r"^[a-z][a-z0-9_]{0,47}$",
        description="Name of the evaluation, a schema of the catalog; empty: RUN_eval.",
    )
    systems: int = Field(default=8, ge=1, description="Held-out roles of each language at most; each has a twin.")
    turns: int | None = Field(default=None, ge=1, le=20, description="Turns of a dialogue; empty: as in the run.")
    samples: int | None = Field(default=None, ge=1, le=64, description="Responses a turn; empty: as in the run.")
    roles: str | None = Field(
        default=None, description="File of role seeds to hold out; empty: the run's own, beyond the roles it used."
    )
    seed: int | None = Field(default=None, ge=0, description="Seed of the held-out draws; empty: the run's plus one.")
    resamples: int = Field(default=2000, ge=100, description="Draws of the bootstrap behind an interval.")
    endpoints: dict[str, Endpoint] = Field(
        default={}, description="Endpoints beside those of the run; one of the same name replaces it."
    )

    @property
    def evaluation(self) -> str:
        """The name of the evaluation."""
        return self.name or f"{self.run[:43]}_eval"


class BenchmarkSettings(Models):
    """Measure models on a public benchmark."""

    benchmark: BenchmarkName = Field(description="The benchmark.")
    file: str | None = Field(
        default=None,
        description="Its data in the published layout; empty: the prompts of ifeval, which the factory has.",
    )
    run: str | None = Field(
        default=None, description="A factory run: base is its policy. Empty: base is the policy of the settings."
    )
    data: str = Field(default="data", description="Folder of the data, or s3://bucket/prefix.")
    models: list[str] = Field(
        default=[],
        description="What to measure: `base`, the name of a training run, or LABEL=endpoint:NAME for a model that "
        "you serve yourself. Empty: base, and every finished training run of the factory run where one is given.",
    )
    name: str | None = Field(
        default=None,
        pattern=r"^[a-z][a-z0-9_]{0,47}$",
        description="Name of the evaluation, a schema of the catalog; empty: RUN_ifeval, or ifeval without a run.",
    )
    limit: int | None = Field(default=None, ge=1, description="Only the first so many dialogues; empty: all.")
    history: History = Field(
        default="own",
        description="What continues a dialogue: the model's own answers, or those that the benchmark gives (sysbench).",
    )
    temperature: float = Field(default=0.0, ge=0, le=2, description="Sampling temperature.")
    max_tokens: int = Field(default=1024, ge=1, description="Tokens of an answer at most.")
    batch_size: int = Field(default=50, ge=1, le=5000, description="Dialogues of a part.")
    seed: int = Field(default=0, ge=0, description="Seed of the sampling and of the bootstrap.")
    resamples: int = Field(default=2000, ge=100, description="Draws of the bootstrap behind an interval.")
    endpoints: dict[str, Endpoint] = Field(
        default={}, description="Endpoints beside those of the run; one of the same name replaces it."
    )
    policy: str | None = Field(
        default=None, description="The endpoint of base; empty: that of the run's policy, or the embedded model."
    )
    judge: Role | None = Field(
        default=None, description="Who judges where code cannot (sysbench); empty: the run's judge."
    )
    judging: Judging | None = Field(default=None, description="How that one is asked; empty: as in the run.")

    @property
    def evaluation(self) -> str:
        """The name of the evaluation."""
        short = self.measured_on.replace("-", "_")
        return self.name or (f"{self.run[:36]}_{short}" if self.run else short)

    @property
    def measured_on(self) -> str:
        """The benchmark in the table ``metrics``: with the given history it is another one than with the own."""
        return self.benchmark if self.history == "own" else f"{self.benchmark}-{self.history}"


class HeldOut(Strict):
    """What was compared with the training run, and what of it was found there."""

    roles: int = Field(description="Held-out roles.")
    roles_seen: int = Field(description="Of them, roles of the training run.")
    texts: int = Field(description="Constraint texts of both polarities.")
    texts_seen: int = Field(description="Of them, texts of the training run's constraints or reversals.")
    checks_seen: int = Field(description="Constraints that demand the same as one in training, in whatever words.")
    queries: int = Field(description="Different queries.")
    queries_seen: int = Field(description="Of them, queries of the training run; their dialogues are not measured.")
    dialogues: int = Field(description="Dialogues that are measured.")
    dialogues_left_out: list[str] = Field(description="Dialogues with a query of the training run.")


class EvaluatedModel(Strict):
    """A model that was measured."""

    label: str = Field(description="`base`, the name of the training run, or the label that was given.")
    model: str = Field(description="The model's name on its endpoint, as in the table responses.")
    identity: str | None = Field(description="Hash of the adapter, or the endpoint's identity.")
    judgments: list[PartRef] = Field(description="The parts with its verdicts.")


class Difference(Strict):
    """How much two models differ, role by role."""

    model: str = Field(description="The model.")
    against: str = Field(description="The model that it is compared with.")
    metric: str = Field(description="csr, isr, ssr, csr/reversed, csr/kind/word_count, ...")
    before: float = Field(description="The value of the model compared with.")
    after: float = Field(description="The value of the model.")
    value: float = Field(description="after - before.")
    low: float | None = Field(description="Lower end of the 95 % interval; empty: too few roles to tell.")
    high: float | None = Field(description="Upper end of the 95 % interval.")
    n: int = Field(description="Number of items behind it.")
    p: float | None = Field(
        default=None, description="p-value of the paired test; empty: not tested, or the two do not differ anywhere."
    )

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class EvaluationSummary(Strict):
    """What an evaluation came to."""

    evaluation: str = Field(description="Name of the evaluation.")
    run: str = Field(description="The factory run.")
    seed: int = Field(description="Seed of the bootstrap.")
    resamples: int = Field(description="Draws of the bootstrap.")
    held_out: HeldOut
    models: list[EvaluatedModel]
    metrics: list[Metric]
    differences: list[Difference] = Field(description="Of every model and the first one.")
    left_out: dict[str, str] = Field(description="Training runs that were not measured, and why.")
    calls_made: int
    calls_cached: int
    seconds: float

    def metric(self, label: str, metric: str) -> Metric:
        """One number of one model."""
        return next(item for item in self.metrics if (item.model, item.metric) == (label, metric))


class BenchmarkSummary(Strict):
    """What an evaluation on a benchmark came to."""

    evaluation: str = Field(description="Name of the evaluation.")
    benchmark: BenchmarkName = Field(description="The benchmark.")
    run: str | None = Field(description="The factory run; empty: none.")
    history: Literal["own", "gt"]
    seed: int = Field(description="Seed of the bootstrap.")
    resamples: int = Field(description="Draws of the bootstrap.")
    dialogues: int = Field(description="Dialogues that were asked.")
    turns: int = Field(description="Turns of them.")
    refused: list[RefusedRow] = Field(description="Rows of the file that were not taken.")
    models: list[EvaluatedModel] = Field(description="`judgments` are the parts with their scores.")
    unanswered: dict[str, int] = Field(description="Turns of a model whose call failed for good, or was not reached.")
    undecided: dict[str, int] = Field(description="Verdicts of a model that are neither followed nor violated.")
    metrics: list[Metric]
    differences: list[Difference] = Field(description="Of every model and the first one.")
    left_out: dict[str, str] = Field(description="Training runs that were not measured, and why.")
    calls_made: int
    calls_cached: int
    seconds: float
