"""Public benchmarks: the records of what is asked and of what is scored, and what a scored file comes to."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.base import Strict, Verdict

BenchmarkName = Literal["ifeval", "multi-if", "sysbench"]


Unusable = Literal["failed", "left-out"]
"""What becomes of an instruction that nobody can decide: it counts as violated, or it and its prompt do not count."""


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


class RefusedRow(Strict):
    """A row of a file that is not taken."""

    line: int = Field(description="Line of the file on which it begins, from 1; in Parquet the row.")
    reason: str = Field(description="One word, to count by.")
    what: str = Field(description="Why, in words.")


class Accuracy(Strict):
    """A share of prompts or instructions that are followed."""

    followed: int
    n: int
    accuracy: float = Field(description="followed / n, from 0 to 1.")
    low: float | None = Field(description="Lower end of the 95 % interval, from a bootstrap over prompts or dialogues.")
    high: float | None = Field(description="Upper end.")


class Accuracies(Strict):
    """At prompt level (a prompt is followed when all its instructions are) and at instruction level."""

    prompt: Accuracy | None = Field(description="null: no prompt counts.")
    instruction: Accuracy | None = Field(description="null: no instruction counts.")


class KindAccuracies(Strict):
    """The instructions of one kind."""

    strict: Accuracy
    loose: Accuracy


class GroupScore(Strict):
    """Strict and loose accuracies of all prompts or of some."""

    strict: Accuracies
    loose: Accuracies
    average: float | None = Field(
        description="Mean of the four accuracies, Multi-IF's score of a step; null: no prompt."
    )


class StepScore(GroupScore):
    """A step of Multi-IF."""

    languages: dict[str, GroupScore]


class Undecided(Strict):
    """Instructions that are neither followed nor violated, and what became of them."""

    count: int
    keys: list[str] = Field(description="Keys of their prompts.")
    reasons: dict[str, int] = Field(description="Why, counted.")


class FileScore(GroupScore):
    """What `rpo score ifeval` and `rpo score multi-if` say with --json."""

    benchmark: Literal["ifeval", "multi-if"]
    file: str = Field(description="The file, without its folder.")
    prompts: int = Field(description="Prompts with a response: the turns of a dialogue are one each.")
    instructions: int = Field(description="Their instructions.")
    kinds: dict[str, KindAccuracies] = Field(description="By kind of instruction.")
    steps: dict[str, StepScore] = Field(description="Of Multi-IF, by step and in it by language; of IFEval none.")
    unusable: Undecided = Field(description="Instructions that nobody can decide, such as the letter '#' of IFEval.")
    unusable_count_as: Unusable
    not_applicable: Undecided = Field(description="Instructions without a meaning for a language: they count nowhere.")
    unanswered: int = Field(description="Prompts without a response: they count nowhere.")
    refused: int = Field(description="Rows that are not taken.")
    refused_reasons: dict[str, int] = Field(description="Why, counted.")
    refused_first: list[RefusedRow] = Field(description="The first of them.")
