"""What went wrong with the calls of a batch, counted by kind."""

from __future__ import annotations

from dataclasses import dataclass

from models.endpoints import RoleName
from models.records import CallFailure

EXAMPLE_CHARACTERS = 300


@dataclass
class _Count:
    example: str
    count: int = 0
    lost: int = 0


class FailureCounts:
    """Counts of one batch; most failures are asked again and answered, and are counted all the same."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._counts: dict[tuple[str, str, str], _Count] = {}

    def count(self, role: RoleName, model: str, kind: str, why: str) -> None:
        """One attempt without an answer, or one answer that cannot be used."""
        self._find(role, model, kind, why).count += 1

    def lose(self, role: RoleName, model: str, kind: str, why: str) -> None:
        """One answer that is given up for a failure of this kind."""
        self._find(role, model, kind, why).lost += 1

    def records(self) -> list[CallFailure]:
        """A row a role, model and kind."""
        return [
            CallFailure(
                stage=self._stage,
                role=role,
                model=model,
                kind=kind,
                count=found.count,
                lost=found.lost,
                example=found.example,
            )
            for (role, model, kind), found in sorted(self._counts.items())
        ]

    def _find(self, role: RoleName, model: str, kind: str, why: str) -> _Count:
        return self._counts.setdefault((role, model, kind), _Count(" ".join(why.split())[:EXAMPLE_CHARACTERS]))
