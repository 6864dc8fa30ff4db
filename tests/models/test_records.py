from __future__ import annotations

import pyarrow as pa
import pytest

from models.arrow import arrow_schema, from_table, to_table
from models.constraints import parse_check
from models.records import DATASETS, Constraint, Reversal, SystemProfile


@pytest.mark.parametrize("name", DATASETS)
def test_every_column_has_a_type_and_a_comment(name: str) -> None:
    schema = arrow_schema(DATASETS[name])
    assert schema.names
    assert all((column.metadata or {}).get(b"comment") for column in schema)


def test_records_survive_arrow() -> None:
    check = parse_check({"kind": "emoji_count", "relation": "at_least", "count": 2})
    constraint = Constraint(constraint_id="c", text="t", kind=check.kind, check=check)
    system = SystemProfile(
        system_id="s",
        role_id="r",
        language="zh",
        name="名",
        description="d",
        skills=["a"],
        questions=[],
        constraints=[constraint],
        author="catalogue",
    )
    table = to_table(SystemProfile, [system])
    assert pa.types.is_string(table.schema.field("constraints").type.value_type.field("check").type)
    assert list(from_table(SystemProfile, table)) == [system]
    reversal = Reversal(
        constraint_id="c", system_id="s", text="t", check=check.complement(), method="code", verified=True
    )
    assert list(from_table(Reversal, to_table(Reversal, [reversal]))) == [reversal]
    none = reversal.model_copy(update={"check": None})
    assert list(from_table(Reversal, to_table(Reversal, [none]))) == [none]
