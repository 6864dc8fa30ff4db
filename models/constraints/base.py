"""What every check is: a typed, serialisable predicate on a response with an exact complement."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Self

from models.base import Language, Strict


class BaseCheck(Strict):
    """A predicate on a response, decided in code.

    The *state* of a check (its relation and bounds, or its polarity) says what it demands, so a complement is a check
    of the same kind in the opposite state, and renders its own text: "at least three" becomes "at most two".
    """

    kind: str

    phrasings: ClassVar[int] = 3
    """How many ways ``describe`` has to say it, in each language."""

    @abstractmethod
    def follows(self, response: str, query: str = "") -> bool:
        """Whether the response does what the check demands. Total: any text gives an answer, none raises."""

    @abstractmethod
    def complement(self) -> Self:
        """The check that holds for exactly the responses for which this one does not."""

    @abstractmethod
    def describe(self, language: Language, phrasing: int = 0) -> str:
        """The demand as one full sentence in ``language``; ``phrasing`` is taken modulo ``phrasings``."""

    def parameters(self) -> dict[str, Any]:
        """The fields without the kind: what two checks of a kind differ in."""
        return self.model_dump(exclude={"kind"})
