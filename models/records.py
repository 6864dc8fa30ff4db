"""The records: one pydantic model for each dataset, one dataset for each noun.

A field's description is the only documentation of a column: the SQL comments, the docs and the Arrow schema show it.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from models.arrow import StoredAsJson
from models.base import Language, Strict
from models.base import Verdict as Verdict
from models.benchmarks import BenchmarkTurn, Score
from models.constraints import Check, Trigger

Origin = Literal["sampled", "refined"]

# the bit mask of a verdict vector is one unsigned 64-bit integer
MAX_CONSTRAINTS = 63

FROM_SEED = "seed"
"""Author of constraints, and of opposites, that came with a role."""


class SeedConstraint(Strict):
    """A constraint that a role brings with it."""

    text: str = Field(min_length=1, description="The constraint, without its trigger.")
    trigger: StoredAsJson[Trigger] = Field(default=None, description="When it applies, as JSON; null: always.")
    check: StoredAsJson[Check] = Field(
        default=None, description="The predicate that decides it in code, as JSON; null: a judge model decides."
    )
    opposite: str = Field(default="", description="Its exact opposite, where who wrote it gave one.")


class RoleSeed(Strict):
    """A short role description, the seed of a system profile."""

    role_id: str = Field(min_length=1, description="Id of the role seed.")
    language: Language = Field(description="Language of the role: en or zh.")
    name: str = Field(min_length=1, description="What the role is called.")
    description: str = Field(min_length=10, description="What the role is and does.")
    skills: list[str] = Field(default=[], description="What the role is good at.")
    questions: list[str] = Field(min_length=3, description="Questions that users put to this role (scripted user).")
    constraints: list[SeedConstraint] = Field(
        default=[],
        max_length=MAX_CONSTRAINTS,
        description="Constraints that it brings with it; empty: the author or the catalogue writes them.",
    )

    def profile(self) -> dict[str, Any]:
        """What a system profile has of it, but for the constraints."""
        return self.model_dump(exclude={"constraints"})

    def identity(self) -> dict[str, Any]:
        """What makes it the same seed; that of one without constraints is as it was before seeds could have some."""
        return self.model_dump() if self.constraints else self.profile()


class PersonaSeed(Strict):
    """A short persona, the seed of a simulated user."""

    persona_id: str = Field(min_length=1, description="Id of the persona seed.")
    language: Language = Field(description="Language the persona speaks: en or zh.")
    persona: str = Field(min_length=10, description="Who the user is.")
    tone: str = Field(min_length=1, description="How the user talks, in a few words.")
    openings: list[str] = Field(
        min_length=3, description="What the user says before a question: a clause in the user's own voice."
    )

    def identity(self) -> dict[str, Any]:
        """What makes it the same seed."""
        return self.model_dump()


class Constraint(Strict):
    """One constraint of a system prompt."""

    constraint_id: str = Field(description="Id of the constraint, unique over all systems.")
    text: str = Field(description="The constraint as the policy reads it, without its trigger.")
    kind: str = Field(
        description="Kind of the constraint; the check's kind where there is a check, given where the seed names none."
    )
    trigger: StoredAsJson[Trigger] = Field(
        default=None, description="When the constraint applies, as JSON; null: always."
    )
    check: StoredAsJson[Check] = Field(
        default=None,
        description="The predicate that decides it in code, as JSON; null: a judge model decides.",
    )


class SystemProfile(Strict):
    """A role with its constraints: what becomes a system prompt."""

    system_id: str = Field(description="Id of the system profile.")
    role_id: str = Field(description="The role seed it was made from.")
    language: Language = Field(description="Language of the system prompt.")
    name: str = Field(
        description="What the role is called; empty: the description is a whole system prompt, written by somebody "
        "else, which has its demands in it."
    )
    description: str = Field(description="What the role is and does.")
    skills: list[str] = Field(description="What the role is good at.")
    questions: list[str] = Field(description="Questions that users put to this role (scripted user).")
    constraints: list[Constraint] = Field(
        max_length=MAX_CONSTRAINTS, description="The constraints, in the order of the system prompt."
    )
    author: str = Field(
        description="Who wrote the constraints: catalogue, the author model's name, seed where its role brought them, "
        "or imported; in an evaluation `reversed` for the twin of a held-out system, whose constraints are exact "
        "opposites."
    )

    @property
    def is_whole_prompt(self) -> bool:
        """Whether the description is a whole system prompt that has its demands in it."""
        return not self.name


class UserProfile(Strict):
    """A simulated user."""

    user_id: str = Field(description="Id of the user.")
    persona_id: str = Field(description="The persona seed it was made from.")
    language: Language = Field(description="Language the user speaks.")
    persona: str = Field(description="The seed persona.")
    profile: str = Field(description="The expanded profile; the seed itself where no author model wrote a usable one.")
    tone: str = Field(description="How the user talks.")
    openings: list[str] = Field(description="What the user says before a question (scripted user).")
    author: str = Field(description="Who wrote the profile: catalogue, or the author model's name.")


class Turn(Strict):
    """One turn of a dialogue: the user's query and the reference response that continues the history."""

    dialogue_id: str = Field(description="Id of the dialogue.")
    turn: int = Field(ge=1, description="Number of the turn in its dialogue, from 1.")
    system_id: str = Field(description="The system profile that the dialogue is played with.")
    user_id: str = Field(description="The user who asks.")
    query: str = Field(description="What the user says.")
    triggered_ids: list[str] = Field(description="Ids of the constraints that this query triggers.")
    reference: str = Field(description="The reference response; it continues the history.")
    reference_score: float = Field(
        ge=0, le=1, description="Share of the triggered constraints that it follows; 1 where none could be decided."
    )
    reference_model: str = Field(description="The model that wrote the reference response.")
    # parts that were written before there was a critic have neither
    reference_origin: Origin = Field(
        default="sampled", description="sampled from the responder, or refined by the critic."
    )
    repeats_opening: bool | None = Field(
        default=None,
        description="Whether the query begins like an earlier one of its dialogue, rephrased or not; null: not looked "
        "at.",
    )


class Response(Strict):
    """A response to a turn: the policy's, or a rewrite of its best one."""

    response_id: str = Field(description="Id of the response.")
    dialogue_id: str = Field(description="The dialogue.")
    turn: int = Field(ge=1, description="The turn that it answers.")
    sample: int = Field(ge=0, description="Number of the sample, from 0; rewrites have the next numbers.")
    text: str = Field(description="The response.")
    model: str = Field(description="Who wrote it: the policy, or the critic.")
    finish_reason: str = Field(description="Why the model stopped: stop, length, ...")
    prompt_tokens: int = Field(
        ge=0, description="Tokens of the prompt, as the server counted them; 0 for a rewrite: see llm_calls."
    )
    completion_tokens: int = Field(
        ge=0, description="Tokens of the response, as the server counted them; 0 for a rewrite: see llm_calls."
    )
    origin: Origin = Field(description="sampled from the policy, or refined by the critic.")


class VoteSplit(Strict):
    """How the votes of a judge model on one constraint fell."""

    followed: int = Field(ge=0, description="Votes for followed.")
    violated: int = Field(ge=0, description="Votes for violated.")
    not_applicable: int = Field(ge=0, description="Votes for not_applicable.")
    unreadable: int = Field(ge=0, description="Votes that could not be read.")


class Judgment(Strict):
    """The verdict on one response for one triggered constraint."""

    response_id: str = Field(description="The response.")
    constraint_id: str = Field(description="The constraint.")
    dialogue_id: str = Field(description="The dialogue of the response.")
    turn: int = Field(ge=1, description="The turn of the response.")
    position: int = Field(
        ge=0,
        lt=MAX_CONSTRAINTS,
        description="Place of the constraint in its system prompt, from 0: its bit in a mask.",
    )
    verdict: Verdict = Field(description="followed, violated, not_applicable, or unscored.")
    reason: str = Field(description="Why; for unscored, what made the verdict unreadable.")
    judge: str = Field(description="Who judged: code, or the judge model's name.")
    votes: int = Field(ge=1, description="Votes behind the verdict.")
    # parts that were written before there was a judge do not have it
    split: VoteSplit | None = Field(
        default=None, description="How a judge model's votes fell; null: decided in code, or nobody was asked."
    )


class Calibration(Strict):
    """A judge model's verdict beside that of the check, on a constraint that code decides."""

    response_id: str = Field(description="The response.")
    constraint_id: str = Field(description="The constraint.")
    kind: str = Field(description="Kind of the constraint.")
    language: Language = Field(description="Language of the system prompt.")
    by_code: Verdict = Field(description="The check's verdict: followed or violated. This is the truth.")
    by_judge: Verdict = Field(description="The judge model's verdict, decided as in judgments; unscored: unreadable.")
    reason: str = Field(description="The judge model's reason.")
    judge: str = Field(description="The judge model's name.")


class Reversal(Strict):
    """The exact opposite of a constraint."""

    constraint_id: str = Field(description="The constraint that is reversed.")
    system_id: str = Field(description="The system profile it belongs to.")
    text: str = Field(description="The reversed constraint as the policy reads it, without its trigger.")
    check: StoredAsJson[Check] = Field(default=None, description="The complement of the check, as JSON.")
    method: str = Field(
        description="Who reversed it: code; the author model's name; seed: it came with the role; or negation: the "
        "constraint is quoted, with the demand to break it."
    )
    verified: bool = Field(description="Whether the reversal is known to be the exact opposite.")


class Pair(Strict):
    """A chosen and a rejected response under a system prompt whose violated constraints are reversed."""

    pair_id: str = Field(description="chosen id, a dash, rejected id.")
    dialogue_id: str = Field(description="The dialogue.")
    turn: int = Field(ge=1, description="The turn.")
    chosen_id: str = Field(description="The response that is perfect under the rewritten prompt.")
    rejected_id: str = Field(description="The response that differs.")
    reversed_ids: list[str] = Field(
        description="Constraints that are reversed in the prompt: the chosen's violated ones."
    )
    margin: int = Field(
        ge=1, description="Number of triggered constraints, as rewritten, that the rejected violates (g in the loss)."
    )
    noise_case: int = Field(
        ge=1,
        le=6,
        description="What the same two would be under plain DPO: case 1-6 of the paper's Figure 1.",
    )


class Audit(Strict):
    """The proof of a pair: its two responses decided again, from their texts, under the rewritten prompt."""

    pair_id: str = Field(description="The pair.")
    passed: bool = Field(description="Chosen follows everything triggered and rejected violates exactly margin of it.")
    chosen_violated: int = Field(ge=0, description="Triggered constraints, as rewritten, that the chosen violates.")
    rejected_violated: int = Field(ge=0, description="Triggered constraints, as rewritten, that the rejected violates.")
    undecided: int = Field(ge=0, description="Triggered constraints that no check decides.")


class LlmCall(Strict):
    """One completed call, as accounted to the batch that needed it."""

    request_hash: str = Field(description="Identity of the call in the call cache.")
    stage: str = Field(description="The stage that asked.")
    role: str = Field(description="The role that answered: author, user, responder, critic, judge, policy.")
    model: str = Field(description="The model.")
    prompt_tokens: int = Field(ge=0, description="Tokens in; with n samples a request, counted on the first only.")
    completion_tokens: int = Field(ge=0, description="Tokens out.")
    seconds: float = Field(ge=0, description="From request to answer, as paid when the call was made.")
    tries: int = Field(ge=1, description="Attempts that it took.")
    cost: float | None = Field(description="Price in the currency of the settings; null where no price is given.")
    cached: bool = Field(description="Answered from the call cache: nothing was paid this time.")
    error: str | None = Field(description="Why the call failed for good; null: it did not.")
    # parts that were written before these were recorded do not have them
    mode: str = Field(
        default="",
        description="How an object was asked for: schema, json_object or text; empty: free text was asked for.",
    )
    round: int = Field(default=1, ge=1, description="From 2: asked again, since an earlier answer was unusable.")


class CallFailure(Strict):
    """What went wrong with calls, counted: attempts without an answer, and answers that could not be used."""

    stage: str = Field(description="The stage that asked.")
    role: str = Field(description="The role that was asked.")
    model: str = Field(description="The model.")
    kind: str = Field(
        description="Of attempts: rate_limit, server_error, timeout, connection, malformed, too_long (for the model's "
        "context). Of answers: cut (at the limit of tokens), not_json, wrong_schema, unusable (ids missing or unknown, "
        "wrong language, ...)."
    )
    count: int = Field(ge=0, description="How often; most were asked again and answered.")
    lost: int = Field(ge=0, description="Answers that were given up for it in the end.")
    example: str = Field(description="The first of them, in words.")


class Exclusion(Strict):
    """What a stage left out, and why: counted, never dropped in silence."""

    stage: str = Field(description="The stage that left it out.")
    reason: str = Field(
        description="Why: unjudged, unscored, poor_judge, same_text, same_verdicts, irreversible, capped, "
        "below_min_score, failed, unreadable, ..."
    )
    what: str = Field(
        description="What was left out: responses, pairs; of what the author model wrote profiles (the seed stays), "
        "constraints, checks (the constraint stays, for the judge); of self-play queries (the seed's question is "
        "asked), situations (taken as not there), rewrites, dialogues (from the turn on at which they ended)."
    )
    count: int = Field(ge=0, description="How many.")


class Metric(Strict):
    """One measured number of a model on a benchmark."""

    run: str = Field(description="The factory run; of a benchmark without one, the evaluation.")
    model: str = Field(description="The model that was measured: base, the name of a training run, or a given label.")
    benchmark: str = Field(description="What it was measured on: heldout, ifeval, multi-if, sysbench, sysbench-gt.")
    metric: str = Field(
        description="csr, isr or ssr; these with /original or /reversed, by polarity; csr/kind/KIND, by constraint. "
        "Of ifeval and multi-if: prompt_strict, instruction_strict, prompt_loose, instruction_loose, average."
    )
    value: float = Field(description="The value.")
    low: float | None = Field(
        description="Lower end of the 95 % interval over roles, or over a benchmark's dialogues; null: too few to tell."
    )
    high: float | None = Field(description="Upper end of the 95 % interval.")
    n: int = Field(
        ge=0,
        description="Number of constraints (csr, instruction_strict, ...), responses (isr, prompt_strict, ...) or "
        "dialogues (ssr) behind it.",
    )


class Flag(Strict):
    """A pair that a person has flagged in the pair browser; of all runs, in `main` only."""

    pair_id: str = Field(min_length=1, description="The pair.")
    run: str = Field(description="The run that it was looked at in.")
    note: str = Field(default="", max_length=2000, description="Why, in the person's words; may be empty.")
    flagged_at: str = Field(description="When it was flagged: UTC, ISO 8601.")


DATASETS: dict[str, type[BaseModel]] = {
    "roles": RoleSeed,
    "personas": PersonaSeed,
    "systems": SystemProfile,
    "users": UserProfile,
    "turns": Turn,
    "responses": Response,
    "judgments": Judgment,
    "calibrations": Calibration,
    "reversals": Reversal,
    "pairs": Pair,
    "audits": Audit,
    "exclusions": Exclusion,
    "llm_calls": LlmCall,
    "failures": CallFailure,
    "metrics": Metric,
    "benchmark_turns": BenchmarkTurn,
    "scores": Score,
}
"""Every dataset by its name: the Parquet folder, the SQL view and the word in the docs are this one."""

TABLES: dict[str, type[BaseModel]] = {**DATASETS, "flags": Flag}
"""Every SQL view: the datasets, and what people said of them."""


class PartRef(Strict):
    """Where a batch of rows rests: what tasks take and return instead of rows."""

    dataset: str
    key: str = Field(pattern=r"^[0-9a-f]{32}$")
    rows: int = Field(ge=0)
