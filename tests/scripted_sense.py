"""What makes a scripted answer sensible, told by the names that the factory's reply models use.

The scripted judge has opinions that hold together: a verdict follows from the demand and the response alone, and the
scripted author's opposite of a demand gets the other verdict. So most pairs pass the audit, as with a good judge.
"""

import random
import re
from collections.abc import Sequence
from typing import Any

from tests.scripted_chat import Chat
from tests.scripted_text import write_demand, write_phrase, write_sentence, write_text

LEAST_ITEMS = {"description": 5}
"""Items that an array of this name has at least: a profile's description may not be short."""

_OPPOSITES = {
    False: ("Do the exact opposite of this: ", "Leave this undone: ", "Keep from this: "),
    True: ("请做与此相反的事：", "请不要做到这一点：", "请避免这样做："),
}
_OPPOSITE = re.compile("|".join(re.escape(words) for both in _OPPOSITES.values() for words in both), re.IGNORECASE)
_CONDITION = re.compile(r"^(?:When |当)", re.IGNORECASE)
_OFFER = re.compile(r"^(\w+)\((.*)\): (.+)$", re.MULTILINE)
_WORD = re.compile(r"[A-Za-z]{4,}")
_HAN = re.compile(r"[\u4e00-\u9fff]{2}")
_QUOTED = re.compile(r'["“](.+?)["”]')

# how often a model says it where others can be said too: mostly what lets the work go on
_WEIGHTS = {
    **{"followed": 14, "violated": 5, "not_applicable": 1},
    **{"exactly_one": 12, "both": 1, "neither": 1},
    **{"always": 5, "mention": 2, "question": 2, "situation": 1},
}
_VIOLATED_SHARE, _NOT_APPLICABLE_SHARE, _SLIP_SHARE = 0.3, 0.1, 0.01
_CHECK_SHARE = 0.35


def choose(rng: random.Random, options: Sequence[Any]) -> Any:
    """One of an enum."""
    return rng.choices(options, [_WEIGHTS.get(option, 1) for option in options])[0]


def judge(rng: random.Random, chat: Chat, id_: str) -> str:
    """The verdict on the demand with this id: of demand and response, whatever else stands in the prompt.

    In one of a hundred the judge slips.
    """
    line = chat.line_of(id_).casefold()
    negations, demand = len(_OPPOSITE.findall(line)), _OPPOSITE.sub("", line)
    opinion = random.Random(f"{demand}\n{chat.fences.get('response', '')}")
    if _CONDITION.match(line) and opinion.random() < _NOT_APPLICABLE_SHARE:
        return "not_applicable"
    violated = (opinion.random() < _VIOLATED_SHARE) ^ (negations % 2 == 1) ^ (rng.random() < _SLIP_SHARE)
    return "violated" if violated else "followed"


def write_named(rng: random.Random, chat: Chat, name: str) -> str:
    """A string for a property of this name; empty: any sentence will do."""
    chinese = chat.chinese
    match name:
        case "opposite":
            return rng.choice(_OPPOSITES[chinese]) + chat.fences.get("demand", write_demand(rng, chinese=chinese))
        case "response":  # a rewrite: the same and a little more
            return f"{chat.fences.get(name, '')} {write_sentence(rng, chinese=chinese)}"
        case "name" | "skills" | "situation":
            return write_phrase(rng, chinese=chinese)
    return ""


def write_prose(rng: random.Random, chat: Chat) -> str:
    """A text where no schema is asked for: a user's message, the same message said otherwise, or a response."""
    fences, chinese = chat.fences, chat.chinese
    if "message" in fences and "openings" in fences:
        return f"{write_sentence(rng, chinese=chinese)} {fences['message']}"
    if "person" in fences and "assistant" in fences:
        wanted = _QUOTED.findall(fences.get("bring-up", ""))
        words = [write_sentence(rng, chinese=chinese), fences.get("idea", ""), *wanted]
        return " ".join(word for word in words if word)
    return write_text(rng, chinese=chinese)


def write_constraint(rng: random.Random, chat: Chat, check: Any) -> dict[str, Any]:
    """A constraint of a profile whose parts fit one another.

    Args:
        rng: Decides.
        chat: The request; its system message offers checks, one a line.
        check: A check that only fits the schema; a few are kept, as models make such mistakes.
    """
    applies = choose(rng, ("always", "mention", "question", "situation"))
    text = write_demand(rng, chinese=chat.chinese)
    offers = _OFFER.findall(chat.system)
    if applies == "situation" or not offers:
        check = None
    elif rng.random() < _CHECK_SHARE:
        kind, parameters, text = rng.choice(offers)
        check = {"kind": kind, "parameters": [_read_parameter(item) for item in parameters.split("; ") if item]}
    elif rng.random() > _SLIP_SHARE:
        check = None
    return {
        "applies": applies,
        "words": [_pick_word(rng, chat)] if applies == "mention" else [],
        "situation": _write_situation(rng, chat.chinese) if applies == "situation" else "",
        "text": text,
        "check": check,
    }


def _read_parameter(item: str) -> dict[str, Any]:
    name, _, value = item.partition("=")
    return {"name": name, "value": int(value) if value.isdigit() else value}


def _pick_word(rng: random.Random, chat: Chat) -> str:
    """A word of the role: its users may well say it."""
    words = (_HAN if chat.chinese else _WORD).findall(chat.fences.get("role", ""))
    return rng.choice(words) if words else write_phrase(rng, chinese=chat.chinese)


def _write_situation(rng: random.Random, chinese: bool) -> str:
    return ("用户问起" if chinese else "the user asks about ") + write_phrase(rng, chinese=chinese)
