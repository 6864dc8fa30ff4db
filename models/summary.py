"""What a run came to: the end of ``rpo demo``, the manifest's summary and the flow run's artifact."""

from __future__ import annotations

from pydantic import Field

from models.accounts import CallAccount
from models.agreement import JudgeAgreement
from models.base import Strict
from models.diversity import Diversity

NOISE_CASES = {
    1: "same score, nothing in common: no DPO pair",
    2: "same score, partly the same: no DPO pair",
    3: "rejected better somewhere, nothing in common: noise",
    4: "rejected better somewhere, partly the same: noise",
    5: "chosen follows more, yet not all: may teach that the rest is not required",
    6: "chosen perfect: clean",
}
"""The six cases of the paper's Figure 1: what plain DPO would have made of the same two responses."""


class KindSatisfaction(Strict):
    """How often the policy's own responses followed a kind of constraint: those that no critic rewrote."""

    kind: str
    followed: int
    scored: int


class Change(Strict):
    """What a round changed against the one before it."""

    value: float = Field(description="The difference; on the shared dialogues, where there are any.")
    low: float | None = Field(description="Lower end of the paired 95 % interval over roles; null: nothing is shared.")
    high: float | None = Field(description="Upper end.")


class RoundResult(Strict):
    """What a round came to, by the responses that its policy wrote itself."""

    run: str
    policy: str | None = Field(description="The training run whose policy was sampled; null: the first round's policy.")
    responses: int
    csr: float | None = Field(description="Share of the judged constraints that are followed; null: none was judged.")
    isr: float | None = Field(description="Share of the responses that follow all their constraints.")
    unscored: int = Field(description="Verdicts that could not be read.")
    turns: int
    turns_without_pairs: int = Field(description="Turns whose responses make no pair, most often as all are alike.")
    pairs: int
    mean_margin: float | None
    audited: int
    audit_failed: int
    shared_dialogues: int | None = Field(
        description="Dialogues that the round before has too, with the same queries and history; null: the first round."
    )
    csr_change: Change | None
    isr_change: Change | None


class RunSummary(Strict):
    """Counts of a run."""

    run: str
    systems: int
    dialogues: int
    turns: int
    ended: dict[str, int] = Field(default={}, description="Dialogues that ended early, by the reason.")
    responses: int
    judgments: int
    unscored: int
    satisfaction: list[KindSatisfaction]
    calibration: list[JudgeAgreement] = Field(
        default=[], description="The judge model against the checks; empty where no judge was measured."
    )
    rounds: list[RoundResult] = Field(
        default=[], description="The rounds up to this one, the first one first; empty where there is one only."
    )
    pairs: int
    margins: dict[int, int] = Field(description="Pairs by margin.")
    noise_cases: dict[int, int] = Field(description="Pairs by noise case.")
    audited: int
    audit_failed: int
    calls_made: int = Field(description="LLM calls that were made since this start, in all processes.")
    calls_cached: int = Field(description="LLM calls that the call cache answered.")
    tokens_in: int = Field(description="Prompt tokens of the run's calls.")
    tokens_out: int = Field(description="Completion tokens of the run's calls.")
    cost: float | None = Field(
        description="What the answers of the run's calls cost when they were made; null where a price is unknown."
    )
    spent: float | None = Field(
        default=None,
        description="What the run has paid, over all times it was started; a call without a price counts nothing, and "
        "null: none had one.",
    )
    accounts: list[CallAccount] = Field(default=[], description="The calls by stage and role.")
    failures: dict[str, int] = Field(
        default={}, description="What went wrong with calls and answers, by kind; most were asked again and answered."
    )
    lost: int = Field(default=0, description="Answers that were given up for it: calls that failed for good, ...")
    unpriced: list[str] = Field(default=[], description="Endpoints whose missing prices make the cost unknown.")
    diversity: list[Diversity] = Field(default=[], description="How varied queries and responses are, by language.")
    exported: dict[str, dict[str, int]] = Field(description="Exported rows by format and split.")
    export_folder: str | None
    seconds: float
