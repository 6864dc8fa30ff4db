"""Public benchmarks: the records of what is asked and of what is scored."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.base import Strict, Verdict

BenchmarkName = Literal["ifeval", "multi-if", "sysbench"]


class Instruction(Strict):
    """What a response of a benchmark has to follow."""

    kind: str = Field(description="The benchmark's own name of it: keywords:existence, action, ...")
    text: str = Field(default="", description="What is demanded, for a judge; empty where code decides.")
    arguments: str = Field(default="{}", description="The arguments of the instruction, a JSON object.")


class BenchmarkTurn(Strict):
    """One turn of a benchmark's dialogue: what is asked, and what the response has to follow."""

    dialogue_id: str = Field(description="The benchmark's key of the dialogue.")
    turn: int = Field(ge=1, description="Number of the turn in its dialogue, from 1.")
    system: str | None = Field(default=None, description="The system prompt; null: none.")
    query: str = Field(description="What the user says.")
    given: str | None = Field(
        default=None, description="The answer that continues the history for every model; null: the model's own does."
    )
    language: str = Field(default="", description="Its language, as the benchmark names it; empty: not said.")
    labels: list[str] = Field(
        default=[],
        description="What its scores are counted by, as metrics show it: step/2, step/2/language/Hindi, domain/law.",
    )
    instructions: list[Instruction] = Field(description="All that the response has to follow.")


class Score(Strict):
    """Whether a response follows one instruction of a benchmark."""

    response_id: str = Field(description="The response.")
    dialogue_id: str = Field(description="The dialogue.")
    turn: int = Field(ge=1, description="The turn.")
    position: int = Field(ge=0, description="Place of the instruction in its turn, from 0.")
    kind: str = Field(description="The benchmark's own name of the instruction.")
    labels: list[str] = Field(description="What it is counted by: step/2, step/2/language/Hindi, domain/law.")
    verdict: Verdict = Field(description="followed, violated, not_applicable, or unscored; IFEval calls it strict.")
    loose: Verdict | None = Field(
        default=None, description="IFEval's loose verdict, from variants of the response; null: there is none."
    )
    reason: str = Field(
        default="", description="Why, where it is neither followed nor violated, or the judge's reason."
    )
    judge: str = Field(default="code", description="Who judged: code, or the judge model's name.")
