"""A world small enough to learn in a minute: texts of a few words, and constraints on them that code decides.

Ten kinds of constraint, each with an exact complement that has words of its own in the prompt. They are not those of
``models/constraints``: these are sentences with quotes and capitals of about fifteen words, which a word-level model of
164 thousand parameters cannot read, and their checks parse free text, which a hundred thousand drawn examples of
eight words do not need. What is kept is the algebra: a state whose complement is the same constraint in the other one.

An example is drawn backwards: first a text, then constraints that hold for it. So every prompt can be satisfied, both
polarities are equally frequent, and with ``ignored`` above 0 a share of the constraints is turned round afterwards:
what a model learns from such examples is to follow constraints, but not always.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple, TypeVar

CATEGORIES: dict[str, tuple[str, ...]] = {
    "fruit": ("apple", "pear", "fig", "lime"),
    "animal": ("cat", "dog", "fox", "owl"),
    "colour": ("red", "blue", "gold", "pink"),
    "number": ("one", "two", "three", "four"),
}
WORDS = tuple(word for words in CATEGORIES.values() for word in words)
_NAMES = tuple(CATEGORIES)
LENGTHS = tuple(range(3, 8))
SHORTEST, LONGEST = 2, 8
CONSTRAINTS = 5
"""Constraints of a prompt, each of another kind."""

T = TypeVar("T")
Text = Sequence[str]
Predicate = Callable[[Text, "Constraint"], bool]


@dataclass(frozen=True, slots=True)
class Constraint:
    """One constraint of a prompt.

    Attributes:
        kind: A key of ``KINDS``.
        words: Two different words; a kind uses as many as it needs.
        length: Words of a text, for the kind ``length``.
        category: A key of ``CATEGORIES``, for the kind ``category``.
        wanted: The polarity: whether the predicate has to hold or must not.
    """

    kind: str
    words: tuple[str, str]
    length: int
    category: str
    wanted: bool

    def follows(self, text: Text) -> bool:
        """Whether a text does what the constraint asks."""
        return KINDS[self.kind].holds(text, self) == self.wanted

    def reverse(self) -> Constraint:
        """The constraint that exactly the texts follow that violate this one."""
        return replace(self, wanted=not self.wanted)

    def render(self) -> str:
        """The constraint as it stands in a prompt."""
        kind = KINDS[self.kind]
        template = kind.wanted if self.wanted else kind.unwanted
        return template.format(a=self.words[0], b=self.words[1], n=self.length, c=self.category)


Prompt = tuple[Constraint, ...]


def _before(text: Text, constraint: Constraint) -> bool:
    first, second = constraint.words
    return first in text and second in text and text.index(first) < text.index(second)


def _next(text: Text, constraint: Constraint) -> bool:
    return constraint.words in pairwise(text)


class Kind(NamedTuple):
    """A predicate of a text (a list of words), the words that ask for it, the words that ask for its complement."""

    holds: Predicate
    wanted: str
    unwanted: str


KINDS: dict[str, Kind] = {
    "use": Kind(lambda t, c: c.words[0] in t, "use {a}", "avoid {a}"),
    "start": Kind(lambda t, c: t[:1] == [c.words[0]], "start {a}", "start not {a}"),
    "end": Kind(lambda t, c: t[-1:] == [c.words[0]], "end {a}", "end not {a}"),
    "length": Kind(lambda t, c: len(t) >= c.length, "atleast {n}", "below {n}"),
    "repeat": Kind(lambda t, c: t.count(c.words[0]) >= 2, "repeat {a}", "repeat not {a}"),
    "once": Kind(lambda t, c: t.count(c.words[0]) == 1, "once {a}", "once not {a}"),
    "before": Kind(_before, "{a} before {b}", "{a} not before {b}"),
    "next": Kind(_next, "{a} next {b}", "{a} not next {b}"),
    "distinct": Kind(lambda t, c: len(set(t)) == len(t), "distinct", "repeats"),
    "category": Kind(lambda t, c: any(word in CATEGORIES[c.category] for word in t), "some {c}", "without {c}"),
}

VOCABULARY = (
    *WORDS,
    *CATEGORIES,
    *(str(length) for length in LENGTHS),
    *dict.fromkeys(word for kind in KINDS.values() for text in kind[1:] for word in text.split() if "{" not in word),
    ";",
    "=>",
)


def render_prompt(prompt: Prompt) -> str:
    """The prompt as a model reads it; a response follows the arrow."""
    return " ; ".join(constraint.render() for constraint in prompt) + " =>"


def judge(prompt: Prompt, response: str) -> tuple[bool, ...]:
    """The verdict vector of a response: one verdict a constraint, in the prompt's order."""
    text = response.split()
    return tuple(constraint.follows(text) for constraint in prompt)


def _pick(rng: random.Random, options: Sequence[T]) -> T:
    # random.choice takes four times as long, and pretraining draws two million times
    return options[int(rng.random() * len(options))]


def draw_text(rng: random.Random) -> list[str]:
    """A text of ``SHORTEST`` to ``LONGEST`` words, in two of five cases without a repeated word."""
    length = rng.randint(SHORTEST, LONGEST)
    if rng.random() < 0.4:
        return rng.sample(WORDS, length)
    return rng.choices(rng.sample(WORDS, rng.randint(2, 5)), k=length)


def draw_constraint(rng: random.Random, kind: str, text: Text) -> Constraint:
    """A constraint that a text follows; either polarity is equally likely where the text admits both."""
    wanted = rng.random() < 0.5
    for _ in range(30):
        first = _pick(rng, text if rng.random() < 0.7 else WORDS)
        second = _pick(rng, text if rng.random() < 0.7 else WORDS)
        drawn = Constraint(kind, (first, second), _pick(rng, LENGTHS), _pick(rng, _NAMES), wanted)
        if first != second and drawn.follows(text):
            return drawn
    return draw_constraint(rng, kind, text)


def draw_example(rng: random.Random, constraints: int = CONSTRAINTS, ignored: float = 0.0) -> tuple[Prompt, str]:
    """A prompt and a response.

    Args:
        rng: Where the chance comes from.
        constraints: How many the prompt has.
        ignored: Share of constraints that the response does not follow, beyond none at all.

    Returns:
        A prompt that some text satisfies if ``ignored`` is 0, and a response that follows the rest.
    """
    text = draw_text(rng)
    kinds = rng.sample(tuple(KINDS), constraints)
    drawn = (draw_constraint(rng, kind, text) for kind in kinds)
    return tuple(each.reverse() if rng.random() < ignored else each for each in drawn), " ".join(text)
