"""SysBench (Qin et al., 2024): its words, and the form of its scores.

A session is a system prompt with five turns; every answer is judged by a list of criteria, each of one kind.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field

from models.base import Strict

History = Literal["own", "gt"]
"""What earlier turns a model sees: its own answers, or the ground truth's."""

TURNS = 5
"""Turns of a session."""

KINDS = {
    "动作约束": "action",
    "内容约束": "content",
    "背景约束": "background",
    "角色约束": "role",
    "格式约束": "format",
    "风格约束": "style",
}
"""The kinds of criteria, which SysBench calls types, in its words and in ours."""

YES, NO = "是", "否"
"""The verdicts that its judge is asked for."""


class Mark(NamedTuple):
    """The verdict on one criterion of one answer; None: the file does not say."""

    model: str
    history: History | None
    session: str
    turn: int
    criterion: str
    word: str | None
    """The judge's own word; None: it has not judged."""
    kind: str | None = None
    """SysBench's type of the criterion."""
    labels: tuple[str, ...] = ()
    """What it is also counted by, as ``label`` makes them."""


ALIGNMENT = "alignment"


def label(domain: object, alignment: object, dependent: bool | None) -> tuple[str, ...]:
    """What the verdicts on an answer are counted by, as metrics show it: ``domain/法律``, ``alignment/misalign``, ...

    Args:
        domain: What the session is about; None or empty: the file does not say.
        alignment: Whether the query goes with the system prompt (``align``) or against it (``misalign``).
        dependent: Whether the turns of the session build upon each other.
    """
    relation = "" if dependent is None else "dependent" if dependent else "parallel"
    named = (("domain", domain), (ALIGNMENT, alignment), ("relation", relation))
    return tuple(f"{name}/{value}" for name, value in named if value not in (None, ""))


class Share(Strict):
    """A part of a score."""

    value: float = Field(description="In percent.")
    n: int = Field(description="Criteria (csr), answers (isr) or sessions (ssr) behind it.")


class Interval(Strict):
    """A 95 % interval, from a bootstrap over sessions."""

    low: float = Field(description="Lower end, in percent.")
    high: float = Field(description="Upper end.")


class ModelScore(Strict):
    """What one model comes to. All values are in percent, as SysBench prints them."""

    model: str = Field(description="The model, as the file names it.")
    csr: float | None = Field(description="Share of the criteria that are satisfied; null: none has a verdict.")
    isr: float | None = Field(description="Share of the answers without a failed criterion.")
    ssr: float | None = Field(
        description="Mean over sessions of the number of leading turns that hold, over its turns."
    )
    intervals: dict[str, Interval] = Field(description="Of csr, isr and ssr; absent where all sessions agree.")
    n: dict[str, int] = Field(description="Criteria (csr), answers (isr) and sessions (ssr) behind them.")
    by: dict[str, dict[str, dict[str, Share]]] = Field(
        description="The same by turn, domain, kind, alignment and relation, as far as the file says: by.turn.3.ssr is "
        "the share of sessions whose first three turns hold, by.kind.role.csr the share of criteria about the role."
    )
    other_words: dict[str, int] = Field(
        description="Verdicts that are neither yes nor no: not satisfied in csr, not failed in isr and ssr."
    )
    unjudged: int = Field(description="Criteria without a verdict: none of csr, and their answers none of isr.")
    no_ssr: int = Field(description="Sessions that lack a turn or a verdict that ssr depends on.")


class SysBenchScore(Strict):
    """What `rpo score sysbench` says with --json."""

    benchmark: Literal["sysbench"] = "sysbench"
    file: str = Field(description="The file, without its folder.")
    history: History = Field(description="The history that was asked for.")
    history_known: bool = Field(description="Whether all rows say which history they have.")
    models: list[ModelScore] = Field(description="In the order of their names.")
    sessions: int = Field(description="Sessions of all models.")
    rows: int = Field(description="Rows of this history that were counted.")
    repeated: int = Field(description="Rows left out: their model, session, turn and criterion stood before.")
    contradicting: int = Field(description="Of them, rows with another verdict; the first stands.")
    refused: int = Field(description="Rows that could not be read.")
    refused_first: list[str] = Field(description="The first of them: line of the file and reason.")
    other_lengths: int = Field(description="Sessions of other than five turns; ssr is over the turns that there are.")
    seed: int = Field(description="Seed of the bootstrap.")
    resamples: int = Field(description="Draws of the bootstrap.")
