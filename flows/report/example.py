"""One couple of the run's own responses, under plain DPO and under RPO, constraint by constraint."""

from __future__ import annotations

from typing import NamedTuple

from models.prompting import constraint_line
from storage.report_example import Couple


class Demand(NamedTuple):
    """A constraint that the turn triggers, and what becomes of it."""

    text: str
    verdicts: tuple[str, str]
    """On the first response and on the second."""
    rewritten: str
    """Its opposite."""
    rewritten_for: str
    """Whose prompt has the opposite in its place; empty: nobody's."""


class Example(NamedTuple):
    """Two responses to one query; the first follows as much as the second, or more."""

    role: str
    query: str
    texts: tuple[str, str]
    followed: tuple[int, int]
    demands: list[Demand]
    chosen: str
    """Which of them is chosen in a pair of the run."""
    margin: int
    case: int
    proven: bool


def describe_example(couple: Couple) -> Example:
    """A couple of the run as the page tells it."""
    verdicts = {
        response: [couple.verdicts.get((response, item.constraint_id), "unscored") for item in couple.constraints]
        for response in (couple.chosen_id, couple.rejected_id)
    }
    first, second = sorted(verdicts, key=lambda response: -verdicts[response].count("followed"))
    names = {first: "the first", second: "the second"}
    chosen = [response for response in names if couple.mirrored or response == couple.chosen_id]
    demands = []
    for place, constraint in enumerate(couple.constraints):
        opposite = couple.opposites.get(constraint.constraint_id, constraint.text)
        broken = [names[response] for response in chosen if verdicts[response][place] == "violated"]
        demands.append(
            Demand(
                text=constraint_line(constraint, couple.language),
                verdicts=(verdicts[first][place], verdicts[second][place]),
                rewritten=constraint_line(constraint.model_copy(update={"text": opposite}), couple.language),
                rewritten_for=" and ".join(broken),
            )
        )
    return Example(
        role=couple.role,
        query=couple.query,
        texts=(couple.texts[first], couple.texts[second]),
        followed=(verdicts[first].count("followed"), verdicts[second].count("followed")),
        demands=demands,
        chosen="each of the two" if len(chosen) == 2 else names[chosen[0]],
        margin=couple.margin,
        case=couple.noise_case,
        proven=couple.proven,
    )
