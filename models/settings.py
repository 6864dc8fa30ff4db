"""The settings of a run: read from ``factory.toml`` and the environment, and the one parameter of the flow.

A field's description is what the form in the Prefect UI, the docs and the error messages show.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from models.base import Language, Strict
from models.errors import SettingsError
from models.runner import Runner

RoleName = Literal["author", "user", "responder", "critic", "judge", "policy"]
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


class Serve(Strict):
    """A model server that the factory starts, watches and stops itself.

    ``serve = "vllm"`` is short for ``serve = {engine = "vllm"}``.
    """

    engine: Literal["llama.cpp", "transformers", "vllm"] = Field(
        default="llama.cpp",
        description="llama.cpp for a GGUF; vllm for any Hugging Face model, fast on GPUs; transformers for any Hugging "
        "Face model folder without vLLM, slow (needs the extra train).",
    )
    model_path: str | None = Field(
        default=None,
        description="GGUF file, or with transformers and vllm a model folder (vllm: or a Hub name); empty: the "
        "embedded SmolLM2-135M-Instruct, with vllm the endpoint's `model`.",
    )
    lora_path: str | None = Field(
        default=None,
        description="GGUF LoRA, or with transformers and vllm a PEFT adapter folder, to apply to the model; the "
        "endpoint then needs an identity of its own.",
    )
    port: int = Field(default=0, ge=0, le=65535, description="Loopback port; 0: any free one.")
    slots: int = Field(default=8, ge=1, le=1024, description="Requests that are decoded together.")
    context: int = Field(default=2048, ge=256, description="Context length of a slot, in tokens.")
    threads: int = Field(
        default=0, ge=0, description="CPU threads; 0: one less than cores, which is fastest where anything else runs."
    )
    start_timeout_s: float | None = Field(
        default=None,
        gt=0,
        description="Seconds until it must be healthy; empty: 120, with vllm 1800 (it may download and compile first).",
    )
    python: str | None = Field(
        default=None, description="Python interpreter of an environment that has vLLM; empty: the factory's own."
    )
    tensor_parallel: int = Field(default=1, ge=1, description="GPUs that share the weights (vllm only).")
    options: list[str] = Field(
        default=[],
        description='Further arguments of the vLLM server, such as ["--dtype=bfloat16", "--enforce-eager"].',
    )

    @model_validator(mode="before")
    @classmethod
    def _engine_alone(cls, given: Any) -> Any:
        return {"engine": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _for_vllm_only(self) -> Serve:
        given = [name for name in ("python", "tensor_parallel", "options") if name in self.model_fields_set]
        if given and self.engine != "vllm" and any(getattr(self, name) not in (None, 1, []) for name in given):
            raise ValueError(f"{given[0]} has an effect only with engine = vllm")
        return self


class Endpoint(Strict):
    """An OpenAI-compatible server and the model on it."""

    base_url: str | list[str] | None = Field(
        default=None,
        description="Base address, such as http://127.0.0.1:8000/v1, or a list of the addresses of several servers "
        "with the same model: each request goes to the one with the fewest in flight; empty only with serve.",
    )
    model: str = Field(min_length=1, description="Name of the model on that server.")
    identity: str | None = Field(
        default=None,
        description="Tells apart two servers that give one name to different weights; part of every key.",
    )
    api_key_env: str | None = Field(
        default=None, description="NAME of the environment variable that holds the key; never the key itself."
    )
    max_concurrency: int = Field(default=64, ge=1, le=4096, description="Requests in flight at most, at each address.")
    shared_limit: str | None = Field(
        default=None,
        min_length=1,
        description="A global concurrency limit of the Prefect server: a run holds max_concurrency slots of it, for "
        "each address, and waits for them, so that all runs together keep it. Empty: each run counts for itself.",
    )
    timeout_s: float = Field(default=300, gt=0, description="Seconds after which a request is given up and retried.")
    max_tries: int = Field(default=6, ge=1, le=50, description="Attempts a request before it counts as failed.")
    samples_in_one_request: bool = Field(
        default=True,
        description="The server takes n > 1: K samples are one request, and the prompt is read once.",
    )
    price_in: float | None = Field(default=None, ge=0, description="Price of a million prompt tokens; empty: unknown.")
    price_out: float | None = Field(
        default=None, ge=0, description="Price of a million completion tokens; empty: unknown."
    )
    serve: Serve | None = Field(default=None, description="Start the server for this run; empty: it runs already.")

    @model_validator(mode="after")
    def _one_address(self) -> Endpoint:
        if (self.base_url is None) == (self.serve is None):
            raise ValueError("an endpoint has either base_url or serve")
        if self.base_url == [] or len(set(self.base_urls)) < len(self.base_urls):
            raise ValueError("a list in base_url holds at least one address, and none twice")
        if any("@" in urlsplit(url).netloc for url in self.base_urls):
            raise ValueError("base_url holds a password; name the variable that holds it in api_key_env")
        adapted = self.serve is not None and self.serve.lora_path is not None
        if adapted and not self.identity:
            raise ValueError(
                "with serve.lora_path give identity too, or the base model's stored answers would be taken"
            )
        if adapted and self.serve is not None and self.serve.engine == "vllm" and self.serve.model_path is None:
            raise ValueError("with serve.lora_path `model` names the adapter: give serve.model_path, the base model")
        return self

    @property
    def base_urls(self) -> list[str]:
        """Its addresses; none where the factory serves it."""
        given = self.base_url or []
        return [given] if isinstance(given, str) else given


class Role(Strict):
    """Who answers for a role, and how it samples."""

    endpoint: str = Field(default="demo", description="Name of an endpoint.")
    temperature: float = Field(default=1.0, ge=0, le=2, description="Sampling temperature.")
    top_p: float = Field(default=1.0, gt=0, le=1, description="Nucleus sampling.")
    max_tokens: int = Field(default=1024, ge=1, description="Tokens of an answer at most.")


class Roles(Strict):
    """The roles and who plays them."""

    author: Role | None = Field(
        default=None,
        description="Writes profiles, constraints and reversals, in answers of up to some 3,000 tokens; empty: the "
        "catalogue.",
    )
    user: Role | None = Field(default=None, description="Simulates the user; empty: the questions of the seeds.")
    responder: Role | None = Field(default=None, description="Writes reference responses; empty: the policy does.")
    critic: Role | None = Field(
        default=None, description="Rewrites responses that score under dialogues.min_score; empty: nobody."
    )
    judge: Role | None = Field(
        default=None, description="Judges what no check decides; empty: nobody. The paper judges at temperature 0."
    )
    policy: Role = Field(default=Role(endpoint="demo", max_tokens=96), description="The model to be trained.")


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


EMBEDDED = Endpoint(model="smollm2-135m-instruct-q4_1", max_concurrency=8, serve=Serve(), timeout_s=600)


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
