"""Which constraints a query triggers: by code where it can tell, else by the judge model."""

from __future__ import annotations

from collections.abc import Sequence

from models.constraints import QuerySituation
from models.prompting import triggered_ids
from tasks.batch import Batch
from tasks.llm.prompts import triggers
from tasks.llm.prompts.ids import short_ids
from tasks.llm.structured import Question, ask_structured
from tasks.playing import Dialogue


def find_triggered(batch: Batch, dialogues: Sequence[Dialogue]) -> None:
    """Set the constraints that the queries of this turn trigger; none is allowed, the turn then makes no pairs.

    What is always on counts, and so does what code sees in the query. Situations are for the judge, all of a query in
    one answer; without a judge they count as there, and a verdict may be ``not_applicable``. A dialogue whose question
    to the judge gets no answer at all ends.
    """
    for dialogue in dialogues:
        ids = set(triggered_ids(dialogue.system.constraints, dialogue.query))
        dialogue.triggered = [item for item in dialogue.system.constraints if item.constraint_id in ids]
    if batch.settings.roles.judge is not None:
        _ask_judge(batch, [(dialogue, clauses) for dialogue in dialogues if (clauses := _situations(dialogue))])


def _situations(dialogue: Dialogue) -> list[str]:
    """What no code can see in a query, each once."""
    triggers_ = (item.trigger for item in dialogue.triggered)
    return list(dict.fromkeys(item.situation for item in triggers_ if isinstance(item, QuerySituation)))


def _ask_judge(batch: Batch, asked: Sequence[tuple[Dialogue, list[str]]]) -> None:
    questions = [
        Question(
            messages=triggers.messages(dialogue.query, clauses, dialogue.system.language),
            answer=triggers.GivenSituations,
            complain=triggers.complain_unless(len(clauses), dialogue.system.language),
            language=dialogue.system.language,
        )
        for dialogue, clauses in asked
    ]
    for (dialogue, clauses), [reply] in zip(asked, ask_structured(batch, "judge", questions), strict=True):
        if reply.failed:
            dialogue.end(batch, "failed")
        elif reply.value is None:
            for _ in clauses:
                batch.leave_out("unreadable", "situations")
            _keep(dialogue, set())
        else:
            by_id = dict(zip(short_ids(len(clauses)), clauses, strict=True))
            _keep(dialogue, {by_id[item.id] for item in reply.value.situations if item.applies})


def _keep(dialogue: Dialogue, there: set[str]) -> None:
    """Only the situations that are there trigger their constraints."""
    dialogue.triggered = [
        item
        for item in dialogue.triggered
        if not isinstance(item.trigger, QuerySituation) or item.trigger.situation in there
    ]
