"""What users ask: the questions of the seeds, or a model's queries, varied and meant to trigger constraints."""

from __future__ import annotations

import difflib
import random
import re
from collections.abc import Sequence

from models.base import Language
from models.constraints import QueryLongerThan, QueryMentions, Trigger
from tasks.batch import Batch
from tasks.llm.calls import ChatRequest
from tasks.llm.prompts import rephrase, user_query
from tasks.llm.prompts.user_query import MAX_CHARACTERS, MOODS, Wish, describe_hint
from tasks.playing import Dialogue, going_on

SMALL_TALK_SHARE = 0.1
"""Share of the turns that want nothing (paper, appendix)."""
MAX_BROUGHT_UP = 2
"""Triggers that a query is to bring about at most: with more it reads as written to order."""

MAX_REPHRASINGS = 3
"""Tries to give a query another opening."""
MAX_RATIO = 0.6
"""Above this two first clauses are alike (paper: 60 of 100)."""
_SAME_START = 3
_CLAUSE_END = re.compile(r"[,.!?;:…—\n，。！？；：、]+")


def ask_users(batch: Batch, dialogues: Sequence[Dialogue]) -> None:
    """Set what the users say at this turn; a dialogue whose user does not answer at all ends."""
    if batch.settings.roles.user is None:
        for dialogue in dialogues:
            dialogue.query = dialogue.scripted_query
    else:
        _ask_model(batch, dialogues)
        _vary_openings(batch, going_on(dialogues))
    for dialogue in dialogues:
        dialogue.repeats_opening = _is_repeated(dialogue)


def _ask_model(batch: Batch, dialogues: Sequence[Dialogue]) -> None:
    requests = [ChatRequest(messages=user_query.messages(d.system, d.user, d.turns, draw_wish(d))) for d in dialogues]
    for dialogue, [sample] in zip(dialogues, batch.ask("user", requests), strict=True):
        dialogue.query = user_query.parse(sample.text)
        if sample.error:
            dialogue.end(batch, "failed")
        elif not dialogue.query:
            batch.leave_out("unreadable", "queries")
            dialogue.query = dialogue.scripted_query


def draw_wish(dialogue: Dialogue) -> Wish:
    """What the query of this turn is to be like: drawn by what the dialogue is, not by who answers."""
    rng = dialogue.draw("wish")
    language = dialogue.system.language
    mood = rng.choice(MOODS[language])
    if rng.random() < SMALL_TALK_SHARE:
        return Wish(mood, idea="")
    fresh, fired = (_draw_triggers(dialogue, rng, fired=fired) for fired in (False, True))
    chosen = [*fresh, *fired][: rng.randint(1, MAX_BROUGHT_UP)]
    hints = [
        describe_hint(item, rng.choice(item.words) if isinstance(item, QueryMentions) else "", language)
        for item in chosen
    ]
    return Wish(mood, dialogue.question, hints)


def _draw_triggers(dialogue: Dialogue, rng: random.Random, *, fired: bool) -> list[Trigger]:
    """The triggers of the system, each once, in a drawn order: those that the dialogue has fired, or the others."""
    so_far = {constraint_id for turn in dialogue.turns for constraint_id in turn.triggered_ids}
    found: list[Trigger] = []
    for constraint in dialogue.system.constraints:
        trigger = constraint.trigger
        # a query is cut long before it could be so long
        too_long = isinstance(trigger, QueryLongerThan) and trigger.characters > MAX_CHARACTERS // 2
        if trigger is not None and not too_long and (constraint.constraint_id in so_far) == fired:
            found += [trigger] if trigger not in found else []
    return rng.sample(found, k=len(found))


def _vary_openings(batch: Batch, dialogues: Sequence[Dialogue]) -> None:
    """Have queries rephrased that begin like an earlier one, all at once, until none does or the tries are used up."""
    tried: dict[str, list[str]] = {dialogue.dialogue_id: [] for dialogue in dialogues}
    for _ in range(MAX_REPHRASINGS):
        alike = [dialogue for dialogue in dialogues if _is_repeated(dialogue)]
        if not alike:
            return
        requests = []
        for dialogue in alike:
            openings = [first_clause(turn.query) for turn in dialogue.turns]
            language, failed = dialogue.system.language, tried[dialogue.dialogue_id]
            requests.append(ChatRequest(messages=rephrase.messages(dialogue.query, openings, failed, language)))
        for dialogue, [sample] in zip(alike, batch.ask("user", requests), strict=True):
            # longer by one each time: the next try is another request, even where the answer stays the same
            tried[dialogue.dialogue_id].append(dialogue.query)
            dialogue.query = user_query.parse(sample.text) or dialogue.query


def _is_repeated(dialogue: Dialogue) -> bool:
    return any(is_alike(dialogue.query, turn.query, dialogue.system.language) for turn in dialogue.turns)


def is_alike(query: str, earlier: str, language: Language) -> bool:
    """Whether two queries begin alike: similar first clauses, or the same first characters (paper, appendix).

    The paper's three characters are Chinese ones, about two words. Three letters would make "What" and "Whatever" one,
    and "How long" and "How do I" too; in English the first two words have to be the same.
    """
    one, other = first_clause(query).casefold(), first_clause(earlier).casefold()
    if _start(one, language) == _start(other, language):
        return True
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio() > MAX_RATIO


def first_clause(query: str) -> str:
    """A query up to its first punctuation mark; the whole where there is none."""
    return next((clause.strip() for clause in _CLAUSE_END.split(query) if clause.strip()), query)


def _start(clause: str, language: Language) -> str:
    return clause[:_SAME_START] if language == "zh" else " ".join(clause.split()[:2])
