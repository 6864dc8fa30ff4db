"""The settings of a run: read from ``factory.toml`` and the environment, and the one parameter of the flow.

A field's description is what the form in the Prefect UI, the docs and the error messages show.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from models.base import Language, Strict
from models.endpoints import EMBEDDED, Endpoint, Role, RoleName, Roles
from models.errors import SettingsError
from models.runner import Runner

ExportFormat = Literal["trl", "llamafactory", "sft", "kto", "dpo", "parquet"]

LICENSE = r"^[a-z0-9][a-z0-9.-]{0,63}$"
"""A license as the Hub spells it."""


class Seeds(Strict):
    """Where the roles and personas come from."""

    roles: str = Field(
        default="seeds/roles.jsonl",
        description="File of role seeds (JSON lines); looked up here, then in the factory's own folder.",
    )
    personas: str = Field(
        default="seeds/personas.jsonl", description="File of persona seeds (JSON lines); looked up likewise."
    )
    max_roles: int | None = Field(
        default=None, ge=1, description="Use only so many roles of each language; empty: all."
    )
    max_personas: int | None = Field(
        default=None, ge=1, description="Use only so many personas of each language; empty: all."
    )
    languages: list[Language] = Field(
        default=["en", "zh"], min_length=1, description="Use only seeds in these languages."
    )
    license: str | None = Field(
        default=None,
        pattern=LICENSE,
        description="License of the seeds, for the dataset card; empty: Apache-2.0 where they are the factory's own, "
        "else not stated.",
    )


class Constraints(Strict):
    """What the catalogue author draws."""

    min_per_system: int = Field(default=4, ge=1, le=20, description="Constraints of a system prompt, at least.")
    max_per_system: int = Field(default=6, ge=1, le=20, description="Constraints of a system prompt, at most.")
    conditional_share: float = Field(
        default=0.2, ge=0, le=1, description="Share of constraints that apply only to some queries."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Constraints:
        if self.min_per_system > self.max_per_system:
            raise ValueError("min_per_system is larger than max_per_system")
        return self


class Dialogues(Strict):
    """Self-play."""

    per_system: int = Field(default=1, ge=1, description="Dialogues of a system profile.")
    turns: int = Field(default=5, ge=1, le=20, description="Turns of a dialogue.")
    reference_samples: int = Field(default=5, ge=1, le=64, description="Reference responses to choose the best from.")
    min_score: float = Field(
        default=0.7,
        ge=0,
        le=1,
        description="Share of the triggered constraints that a reference response has to follow, or the dialogue ends "
        "before it; with a critic, also the share under which a turn's responses are rewritten. 0: anything will do.",
    )
    refinements: int = Field(
        default=3, ge=0, le=10, description="Rewrites by the critic of a response that scores under min_score, at most."
    )


class Judging(Strict):
    """How the judge model is asked, and how far it is trusted."""

    votes: int = Field(
        default=1,
        ge=1,
        le=15,
        description="Verdicts that the judge gives on each response; more than half must agree, so odd is best.",
    )
    calibration_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Share of the constraints with a check that the judge is asked about too, to measure it.",
    )
    min_kappa: float | None = Field(
        default=None,
        ge=-1,
        le=1,
        description="The judge's verdicts on a kind of constraint make no pairs where its agreement with the checks "
        "(Cohen's kappa, by kind and language) is lower; empty: it is trusted.",
    )
    min_calibrations: int = Field(
        default=30,
        ge=1,
        description="Calibrations that min_kappa needs; a kind with fewer is held to all kinds of its language.",
    )


class Pairs(Strict):
    """How pairs are chosen."""

    min_margin: int = Field(default=1, ge=1, description="Smallest margin of a pair.")
    max_per_turn: int | None = Field(default=None, ge=1, description="Pairs of a turn at most; empty: all.")
    max_per_dialogue: int | None = Field(default=None, ge=1, description="Pairs of a dialogue at most; empty: all.")
    refined: Literal["keep", "drop"] = Field(
        default="keep",
        description="Responses that the critic rewrote: keep them, or drop them from the pairs and every export.",
    )


class Export(Strict):
    """What is written for trainers."""

    formats: list[ExportFormat] = Field(
        default=["trl", "llamafactory", "sft", "kto", "dpo", "parquet"],
        description="Formats to write (docs/exporting.md).",
    )
    validation_share: float = Field(default=0.1, ge=0, lt=1, description="Share of dialogues held out.")
    untriggered: Literal["keep", "drop"] = Field(
        default="keep",
        description="Constraints that a turn does not trigger: keep them in its prompt or drop them.",
    )
    license: str = Field(
        default="unknown",
        pattern=LICENSE,
        description="License of the dataset, as the Hub spells it (apache-2.0, cc-by-4.0, other, ...), for its card.",
    )


# schemas and databases that every DuckDB connection of ours has; `main` shows the newest run
_WORDS_OF_SQL = """
    all analyse analyze and anti any array as asc asof asymmetric at authorization binary both by case cast
    check collate collation column concurrently constraint create cross default deferrable desc describe
    distinct do else end except false fetch for foreign freeze from full glob group having ilike in initially
    inner intersect into is isnull join lambda lateral leading left like limit natural not notnull null offset
    on only or order outer overlaps pivot pivot_longer pivot_wider placing positional primary qualify references
    returning right select semi show similar some summarize symmetric table tablesample then to trailing true
    union unique unpack unpivot using variadic verbose when where window with
"""
"""Words that DuckDB does not take as the name of a schema."""
RESERVED_RUNS = frozenset(
    {"main", "information_schema", "pg_catalog", "temp", "system", "memory", "catalog", *_WORDS_OF_SQL.split()}
)


class FactorySettings(Strict):
    """Everything a run depends on."""

    run: str = Field(
        default="demo",
        pattern=r"^[a-z][a-z0-9_]{0,47}$",
        description="Name of the run: a schema of that name in the catalog. Lower-case letters, digits, underscores.",
    )
    data: str = Field(
        default="data",
        description="Folder of parts, manifests, cache, catalog and exports; or s3://bucket/prefix (docs/s3.md).",
    )
    seed: int = Field(default=0, ge=0, description="Seed of every draw.")
    batch_size: int = Field(default=50, ge=1, le=5000, description="Items of a part; 50 to 500 is good.")
    seeds: Seeds = Field(default=Seeds(), description="Roles and personas.")
    constraints: Constraints = Field(default=Constraints(), description="What the catalogue author draws.")
    dialogues: Dialogues = Field(default=Dialogues(), description="Self-play.")
    samples: int = Field(default=5, ge=2, le=64, description="Policy responses a turn (K).")
    budget: float | None = Field(
        default=None,
        gt=0,
        description="What the calls of this run may cost, over all times it is started, in the currency of the prices; "
        "it stops before that is exceeded. Empty: no limit.",
    )
    max_failed_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of a batch's calls (of ten, where there are fewer) that may fail for good: such a call is "
        "recorded and the batch goes on. With more, or when none is answered, the batch fails; 1: never.",
    )
    endpoints: dict[str, Endpoint] = Field(default={"demo": EMBEDDED}, description="OpenAI-compatible servers by name.")
    roles: Roles = Field(default=Roles(), description="Who plays which role.")
    judging: Judging = Field(default=Judging(), description="How the judge model is asked, and how far it is trusted.")
    pairs: Pairs = Field(default=Pairs(), description="How pairs are chosen.")
    export: Export = Field(default=Export(), description="What is written for trainers.")
    runner: Runner = Field(default=Runner(), description="Where the batches of the run are at work.")

    @field_validator("run")
    @classmethod
    def _not_reserved(cls, run: str) -> str:
        if run in RESERVED_RUNS:
            raise ValueError("the name is a schema of the catalog, or a word of SQL; choose another")
        return run

    @model_validator(mode="after")
    def _known_endpoints(self) -> FactorySettings:
        for name in Roles.model_fields:
            role: Role | None = getattr(self.roles, name)
            if role is not None and role.endpoint not in self.endpoints:
                known = ", ".join(sorted(self.endpoints)) or "none"
                raise ValueError(f"roles.{name}.endpoint is {role.endpoint!r}; known endpoints: {known}")
        return self

    @model_validator(mode="after")
    def _budget_with_prices(self) -> FactorySettings:
        if self.budget is None:
            return self
        for name in self.used_endpoints:
            endpoint = self.endpoints[name]
            if endpoint.price_in is None or endpoint.price_out is None:
                raise ValueError(
                    f"budget needs endpoints.{name}.price_in and .price_out (0 for a server that costs nothing a call)"
                )
        return self

    @model_validator(mode="after")
    def _gate_with_evidence(self) -> FactorySettings:
        if self.judging.min_kappa is not None and not self.judging.calibration_share:
            raise ValueError("judging.min_kappa needs calibrations: set judging.calibration_share above 0")
        return self

    @model_validator(mode="after")
    def _votes_that_can_differ(self) -> FactorySettings:
        judge = self.roles.judge
        if judge is not None and self.judging.votes > 1 and judge.temperature == 0:
            raise ValueError(
                "judging.votes is more than 1 and roles.judge.temperature is 0: all votes would be the same one"
            )
        return self

    def role(self, name: RoleName) -> Role | None:
        """Who plays a role."""
        role: Role | None = getattr(self.roles, self.stand_in(name))
        return role

    def stand_in(self, name: RoleName) -> RoleName:
        """The role whose settings hold for a role: the policy answers for the responder where none is set."""
        return "policy" if name == "responder" and self.roles.responder is None else name

    def share(self, name: str) -> Endpoint:
        """An endpoint as one process of the run may use it: all of them together keep its ``max_concurrency``."""
        endpoint, processes = self.endpoints[name], self.runner.processes
        if processes == 1:
            return endpoint
        return endpoint.model_copy(update={"max_concurrency": endpoint.max_concurrency // processes})

    @property
    def used_endpoints(self) -> list[str]:
        """The names of the endpoints that play a role."""
        return sorted({role.endpoint for _, role in self.roles if role is not None})

    @property
    def data_dir(self) -> Path:
        """The data folder, for what needs one; ``storage.roots`` has what works in a store too.

        Raises:
            SettingsError: The data is in a store.
        """
        if "://" in self.data:
            raise SettingsError(
                "This works on a data folder, and `data` is the address of a store.",
                safe="Nothing was started.",
                next_step="Give a folder with --data; a store can be copied to one (aws s3 sync).",
            )
        return Path(self.data)
