"""The six noise cases of the paper's Figure 1 in a sentence each: what plain DPO reads in them, and what RPO makes."""

from __future__ import annotations

from typing import NamedTuple


class Case(NamedTuple):
    """A way in which two responses differ."""

    first: str
    """Which of four constraints the first response follows, such as 1100; the first is the one that DPO prefers."""
    second: str
    name: str
    by_dpo: str
    by_rpo: str
    outcome: str
    """What plain DPO makes of it, a key of OUTCOMES."""

    @property
    def second_rewritten(self) -> str:
        """What the second follows of the prompt in which all that the first violates is reversed."""
        return "".join("1" if one == other else "0" for one, other in zip(self.first, self.second, strict=True))

    @property
    def told(self) -> str:
        """The picture in words."""
        first, second, rewritten = (_list(marks) for marks in (self.first, self.second, self.second_rewritten))
        return (
            f"Of four constraints the first response follows {first}, the second {second}. Rewritten for the first, "
            f"it follows all four, and the second {rewritten}."
        )


def _list(marks: str) -> str:
    return ", ".join(str(place) for place, mark in enumerate(marks, 1) if mark == "1") or "none"


OUTCOMES = {"none": "no pair", "noise": "noise", "imperfect": "chosen imperfect", "clean": "clean"}
"""What plain DPO makes of two responses."""

CASES = {
    1: Case(
        "1100",
        "0011",
        "Same score, nothing in common",
        "No pair: both follow as many constraints, so neither counts as better.",
        "Two pairs: each response is perfect once what it violates is reversed, and the other then fails all on which "
        "they differ.",
        "none",
    ),
    2: Case(
        "1100",
        "0110",
        "Same score, partly the same",
        "No pair: both follow as many constraints, although they follow different ones.",
        "Two pairs: what both follow or both violate cancels out, and only the difference is taught.",
        "none",
    ),
    3: Case(
        "1110",
        "0001",
        "Better score, nothing in common",
        "Noise: the higher score wins, and all that the other response alone got right is taught as wrong.",
        "Two pairs: what the other got right is reversed where the first is chosen, and demanded where it is "
        "rejected; nothing right is taught as wrong.",
        "noise",
    ),
    4: Case(
        "1110",
        "0011",
        "Better score, partly the same",
        "Noise: the higher score wins, although the other response follows something that the winner violates.",
        "Two pairs: what only the other got right is reversed where the first is chosen, and what they share is not "
        "taught at all.",
        "noise",
    ),
    5: Case(
        "1110",
        "1000",
        "Follows more, yet not all",
        "The right direction, but an imperfect response is held up as good: what it violates may be learned as "
        "optional.",
        "Two pairs: what the better one violates is reversed, so that it follows everything that it is asked.",
        "imperfect",
    ),
    6: Case(
        "1111",
        "1100",
        "Follows everything",
        "Clean: a perfect response against one that is not.",
        "That pair as it is, and its mirror image: a prompt for which the other response is the perfect one.",
        "clean",
    ),
}
