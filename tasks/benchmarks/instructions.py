"""IFEval's way to score, which Multi-IF shares: each instruction strict and loose, counted by instruction and prompt.

Zhou et al. 2023, "Instruction-Following Evaluation for Large Language Models", arXiv:2311.07911, section 3.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from models.base import Verdict
from models.benchmarks import BenchmarkTurn, Instruction, Score, Unusable
from models.constraints.ifeval import check_from_ifeval, loose_variants
from models.constraints.multi_if import Follows
from tasks.measures import Tally, Total

STRICT_LOOSE = ("prompt_strict", "instruction_strict", "prompt_loose", "instruction_loose")


def follows_ifeval(instruction: Instruction, turn: BenchmarkTurn) -> Follows:
    """An instruction of IFEval as its check.

    Raises:
        ValueError: It is none of IFEval's, or its arguments make no check (the reference draws random ones then).
    """
    check = check_from_ifeval(instruction.kind, parse_arguments(instruction.arguments), turn.query)
    return check.follows


def parse_arguments(given: object) -> dict[str, Any]:
    """The arguments of an instruction: an object, or its JSON text.

    Raises:
        ValueError: Neither.
    """
    if isinstance(given, str):
        given = json.loads(given)
    if isinstance(given, Mapping):
        return {str(name): value for name, value in given.items() if value is not None}
    raise ValueError(f"the arguments are not a JSON object: {str(given)[:80]!r}")


def score_response(
    turn: BenchmarkTurn, response_id: str, response: str, follows: Callable[[Instruction, BenchmarkTurn], Follows]
) -> Iterator[Score]:
    """The verdicts on a response, instruction by instruction."""
    for position, instruction in enumerate(turn.instructions):
        strict: Verdict
        loose: Verdict
        try:
            strict, loose, reason = *_decide(follows(instruction, turn), response), ""
        except ValueError as error:
            strict, loose, reason = "unscored", "unscored", " ".join(str(error).split())
        yield Score(
            response_id=response_id,
            dialogue_id=turn.dialogue_id,
            turn=turn.turn,
            position=position,
            kind=instruction.kind,
            labels=turn.labels,
            verdict=strict,
            loose=loose,
            reason=reason,
        )


def _decide(follows: Follows, response: str) -> tuple[Verdict, Verdict]:
    """The strict and the loose verdict; an empty text follows nothing."""
    strict = follows(response) if response.strip() else False
    if strict is None:
        return "not_applicable", "not_applicable"
    if strict:
        return "followed", "followed"  # the response is one of its own variants
    return "violated", "followed" if any(text.strip() and follows(text) for text in loose_variants(response)) else (
        "violated"
    )


def tally_strict_loose(scores: Iterable[Score], unusable: Unusable = "failed") -> Tally:
    """Totals a metric and dialogue, over all and by label; a prompt is followed when all of it is.

    An instruction that does not apply counts nowhere.
    """
    items: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    responses: dict[str, list[Score]] = defaultdict(list)
    for score in scores:
        responses[score.response_id].append(score)
    for found in responses.values():
        whole = found[0]
        places = ["", *(f"/{label}" for label in whole.labels)]
        out_of_count = unusable == "left-out" and any(score.verdict == "unscored" for score in found)
        for name in ("strict", "loose"):
            values = []
            for score in found:
                value = _value(score.verdict if name == "strict" else score.loose, unusable)
                if value is not None:
                    values.append(value)
                    for place in (*places, f"/kind/{score.kind}"):
                        items[f"instruction_{name}{place}"][whole.dialogue_id].append(value)
            if values and not out_of_count:
                for place in places:
                    items[f"prompt_{name}{place}"][whole.dialogue_id].append(min(values))
    return {
        metric: {dialogue: Total(sum(values), len(values)) for dialogue, values in sorted(dialogues.items())}
        for metric, dialogues in sorted(items.items())
    }


def _value(verdict: Verdict | None, unusable: Unusable) -> float | None:
    if verdict == "unscored" and unusable == "failed":
        return 0.0
    return {"followed": 1.0, "violated": 0.0}.get(verdict or "")
