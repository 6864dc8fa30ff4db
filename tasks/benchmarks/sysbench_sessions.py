"""SysBench's sessions as turns to ask: from its dataset file, or from results, which hold all but the ground truth.

The dataset is ``system_benchmark_eval_datas.json`` of https://github.com/PKU-Baichuan-MLSystemLab/SysBench: a list of
sessions with ``system_id``, ``system_prompt``, ``messages`` (the assistant's are the ground truth), ``prompt_infos``
(of every query its alignment and its criteria), ``领域`` and ``rounds_related``. ``MODEL_eval.json`` holds the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints, ValidationError

from models.benchmarks import BenchmarkTurn, Instruction
from models.sysbench import KINDS, label
from storage.imports.reading import read_rows
from storage.imports.rows import Refused, Row, as_number
from storage.imports.sysbench_sheets import MOST_TURNS, as_boolean, read_tidy
from tasks.benchmarks.base import refuse_row
from tasks.llm.prompts.scripts import is_written_in

Text = Annotated[str, StringConstraints(min_length=1)]

_OF_TIDY = (
    "system_id", "turn", "system_prompt", "user_query", "criterion_id", "criterion_text", "criterion_type", "domain",
    "alignment", "multi_turn_related",
)  # fmt: skip
_OF_DATASET = ("system_id", "system_prompt", "messages", "prompt_infos", "领域", "rounds_related")


class _Message(BaseModel):
    role: Literal["system", "user", "assistant"]
    content: str


class _Criterion(BaseModel):
    criteria_content: Text
    criteria_type: Text


class _Query(BaseModel):
    alignment: str | None = None
    criteria: dict[str, _Criterion]


class _Session(BaseModel):
    """What is used of a session; what else it holds is passed over."""

    system_id: int | Text
    messages: list[_Message] = Field(min_length=2)
    prompt_infos: dict[str, _Query]
    domain: str | None = Field(default=None, alias="领域")
    rounds_related: bool | None = None


def read_sysbench(path: Path) -> Iterator[BenchmarkTurn | Refused]:
    """The turns of a file, session by session, and the rows that are none.

    Raises:
        ImportFileError: The file cannot be read at all.
    """
    is_sheet = path.suffix.lower() == ".xlsx"
    rows = read_tidy(path) if is_sheet else read_rows(path, columns={*_OF_TIDY, *_OF_DATASET})
    tables = _Tables()
    for row in rows:
        if isinstance(row, Refused):
            yield row
        elif "messages" in row.values:
            yield from _read_session(row)
        elif refused := tables.add(row):
            yield refused
    yield from tables.turns()


def _read_session(row: Row) -> Iterator[BenchmarkTurn | Refused]:
    try:
        session = _Session.model_validate(row.values)
        yield from list(_turns_of(session))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        yield refuse_row(row, "wrong_value", f"{field}: {first['msg']}", field)
    except KeyError as error:
        yield refuse_row(row, "no_criteria", f"prompt_infos has no entry for the query {error}", "prompt_infos")
    except ValueError as error:
        yield refuse_row(row, "wrong_order", str(error), "messages")


def _turns_of(session: _Session) -> Iterator[BenchmarkTurn]:
    first, *spoken = session.messages
    roles = [message.role for message in spoken]
    if first.role != "system" or roles != (["user", "assistant"] * len(roles))[: len(roles)]:
        raise ValueError("messages are not a system prompt, then queries and answers in turn")
    for turn, (query, answer) in enumerate(zip_longest(spoken[::2], spoken[1::2]), start=1):
        info = session.prompt_infos[query.content]
        yield _turn(
            (session.system_id, turn),
            first.content,
            query.content,
            None if answer is None else answer.content,
            [(item.criteria_content, item.criteria_type) for item in info.criteria.values()],
            label(session.domain, info.alignment, session.rounds_related),
        )


def _turn(
    place: tuple[object, int],
    system: str,
    query: str,
    given: str | None,
    criteria: list[tuple[str, str]],
    labels: tuple[str, ...],
) -> BenchmarkTurn:
    session, turn = place
    return BenchmarkTurn(
        dialogue_id=str(session),
        turn=turn,
        system=system,
        query=query,
        given=given,
        language="zh" if is_written_in(system, "zh") else "en",
        labels=list(labels),
        instructions=[Instruction(kind=KINDS.get(kind, kind), text=text) for text, kind in criteria],
    )


class _Tables:
    """Sessions from tables with a row a criterion of an answer, of however many models."""

    def __init__(self) -> None:
        self._said: dict[Hashable, str] = {}
        self._criteria: dict[str, dict[int, dict[str, tuple[str, str]]]] = defaultdict(lambda: defaultdict(dict))
        self._labels: dict[tuple[str, int], tuple[str, ...]] = {}

    def add(self, row: Row) -> Refused | None:
        """Take a row; or say why it is none."""
        values = row.values
        for name in ("system_id", "system_prompt", "user_query", "criterion_id", "criterion_text", "criterion_type"):
            if values.get(name) in (None, ""):
                return refuse_row(row, "missing_field", f"there is no {name}", name)
        turn = as_number(values.get("turn"))
        if turn is None or not 1 <= turn <= MOST_TURNS:
            return refuse_row(row, "wrong_value", f"turn is no number from 1 to {MOST_TURNS}", "turn")
        session, number = str(values["system_id"]), str(values["criterion_id"])
        claims = {
            "system_prompt": (session,),
            "user_query": (session, turn),
            "criterion_text": (session, turn, number),
            "criterion_type": (session, turn, number),
        }
        for name, of_what in claims.items():
            if self._said.setdefault((name, of_what), str(values[name])) != str(values[name]):
                return refuse_row(row, "contradicts", f"another {name} than in a row before", name)
        self._criteria[session][turn][number] = (str(values["criterion_text"]), str(values["criterion_type"]))
        self._labels[session, turn] = label(
            values.get("domain"), values.get("alignment"), as_boolean(values.get("multi_turn_related"))
        )
        return None

    def turns(self) -> Iterator[BenchmarkTurn]:
        """The turns of all sessions; a session without its first turns keeps the numbers of the others."""
        for session, turns in self._criteria.items():
            for turn in sorted(turns):
                yield _turn(
                    (session, turn),
                    self._said["system_prompt", (session,)],
                    self._said["user_query", (session, turn)],
                    # beside turn n a result has message n of the session: no answer to turn n
                    None,
                    list(turns[turn].values()),
                    self._labels[session, turn],
                )
