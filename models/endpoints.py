"""Endpoints and roles: the servers that are asked, and who plays what on them."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from models.base import Strict

RoleName = Literal["author", "user", "responder", "critic", "judge", "policy"]


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


EMBEDDED = Endpoint(model="smollm2-135m-instruct-q4_1", max_concurrency=8, serve=Serve(), timeout_s=600)


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
