"""One row of each format, from a pair and what it refers to.

Every row carries the constraints of its prompt with their checks, so that a file can be audited without the store.
Triggers and checks are JSON text: their shapes differ, and `datasets` wants one shape a column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from models.prompting import ChatMessage, constraint_line, history_messages, render_system_prompt
from models.records import Constraint, Response
from storage.pair_rows import PairRow, PlayedTurn

Untriggered = Literal["keep", "drop"]
ExportRow = dict[str, Any]


class Prompt(NamedTuple):
    """The messages before the response, and the constraints in them."""

    messages: list[ChatMessage]
    constraints: list[dict[str, Any]]


def build_prompt(
    played: PlayedTurn,
    constraints: Sequence[Constraint],
    reversed_ids: Sequence[str],
    untriggered: Untriggered,
) -> Prompt:
    """The prompt of a turn under the given constraints.

    Args:
        played: The turn.
        constraints: The constraints of the prompt, already rewritten.
        reversed_ids: Which of them are reversed.
        untriggered: Whether constraints that this turn does not trigger stay in the prompt. In a whole system prompt
            they stand anyway, in words of its own, and are not listed again.
    """
    triggered = set(played.turn.triggered_ids)
    keeps = untriggered == "keep" and not played.system.is_whole_prompt
    shown = [c for c in constraints if keeps or c.constraint_id in triggered]
    system = render_system_prompt(played.system, shown)
    described = [
        {
            "constraint_id": c.constraint_id,
            "text": constraint_line(c, played.system.language),
            "kind": c.kind,
            "trigger": c.trigger.model_dump_json() if c.trigger else None,
            "check": c.check.model_dump_json() if c.check else None,
            "triggered": c.constraint_id in triggered,
            "reversed": c.constraint_id in reversed_ids,
        }
        for c in shown
    ]
    return Prompt(history_messages(system, played.earlier, played.turn.query), described)


def _assistant(text: str) -> list[ChatMessage]:
    return [{"role": "assistant", "content": text}]


def _origin(played: PlayedTurn) -> ExportRow:
    return {
        "dialogue_id": played.turn.dialogue_id,
        "turn": played.turn.turn,
        "language": played.system.language,
    }


def _is_refined(*responses: Response) -> bool:
    """Whether the critic had a hand in a row."""
    return any(response.origin == "refined" for response in responses)


def preference_row(row: PairRow, untriggered: Untriggered) -> ExportRow:
    """An RPO pair in TRL's conversational preference format, with its margin."""
    prompt = build_prompt(row.played, row.constraints, row.pair.reversed_ids, untriggered)
    return {
        "prompt": prompt.messages,
        "chosen": _assistant(row.chosen.text),
        "rejected": _assistant(row.rejected.text),
        "margin": float(row.pair.margin),
        "pair_id": row.pair.pair_id,
        "refined": _is_refined(row.chosen, row.rejected),
        **_origin(row.played),
        "constraints": prompt.constraints,
    }


_SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt"}


def sharegpt_row(row: ExportRow) -> ExportRow:
    """A preference row in LLaMA-Factory's ShareGPT ranking format, with its margin."""

    def turn(message: ChatMessage) -> dict[str, str]:
        return {"from": _SHAREGPT[message["role"]], "value": message["content"]}

    return {
        "conversations": [turn(message) for message in row["prompt"]],
        "chosen": turn(row["chosen"][0]),
        "rejected": turn(row["rejected"][0]),
        **{name: value for name, value in row.items() if name not in ("prompt", "chosen", "rejected")},
    }


def baseline_rows(rows: Sequence[PairRow], scores: Mapping[str, int], untriggered: Untriggered) -> list[ExportRow]:
    """Plain DPO from the same responses: the original prompt, the response that follows more is chosen.

    Equal scores make no pair. ``margin`` is the difference in score, which DPO does not use.
    """
    made: dict[frozenset[str], ExportRow] = {}
    for row in rows:
        better, worse = row.chosen, row.rejected
        if scores[better.response_id] < scores[worse.response_id]:
            better, worse = worse, better
        gap = scores[better.response_id] - scores[worse.response_id]
        ids = frozenset((better.response_id, worse.response_id))
        if gap == 0 or ids in made:
            continue
        prompt = build_prompt(row.played, row.played.system.constraints, [], untriggered)
        made[ids] = {
            "prompt": prompt.messages,
            "chosen": _assistant(better.text),
            "rejected": _assistant(worse.text),
            "margin": float(gap),
            "pair_id": f"{better.response_id}-{worse.response_id}",
            "refined": _is_refined(better, worse),
            **_origin(row.played),
            "constraints": prompt.constraints,
        }
    return list(made.values())


def unpaired_rows(baseline: Sequence[ExportRow]) -> list[ExportRow]:
    """KTO from the baseline's pairs: each chosen or rejected once, with its label.

    A response that is chosen in one pair and rejected in another takes the label of the first.
    """
    made: dict[str, ExportRow] = {}
    for row in baseline:
        for side, response_id in zip(("chosen", "rejected"), row["pair_id"].split("-"), strict=True):
            made.setdefault(
                response_id,
                {
                    "prompt": row["prompt"],
                    "completion": row[side],
                    "label": side == "chosen",
                    "response_id": response_id,
                    "refined": row["refined"],
                    **{name: row[name] for name in ("dialogue_id", "turn", "language", "constraints")},
                },
            )
    return list(made.values())


def best_response_row(
    played: PlayedTurn, responses: Sequence[Response], scores: Mapping[str, int], untriggered: Untriggered
) -> ExportRow:
    """SFT: the response of a turn that follows most under the original prompt; the first of equals."""
    best = max(responses, key=lambda response: (scores[response.response_id], -response.sample))
    prompt = build_prompt(played, played.system.constraints, [], untriggered)
    return {
        "messages": [*prompt.messages, *_assistant(best.text)],
        "response_id": best.response_id,
        "followed": scores[best.response_id],
        "refined": _is_refined(best),
        **_origin(played),
        "constraints": prompt.constraints,
    }
