"""Parts of older versions, in today's columns.

A record that gains a column with a default needs nothing here: the default is filled in where an older part is read.
A column that is renamed, or changes its type or its meaning, needs a function in ``MIGRATIONS``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pyarrow as pa

from models.arrow import arrow_schema, from_table, to_table
from models.records import DATASETS

Migration = Callable[[pa.Table], pa.Table]
"""From the columns of one version of a dataset to those of the next one."""

MIGRATIONS: dict[str, tuple[Migration, ...]] = {}
"""By dataset: the first function takes version 1 to version 2, and so on. Never remove one: parts are never changed."""

# records of a part that are held as Python objects at a time
_ROWS_AT_ONCE: Final = 10_000


def record_version(dataset: str) -> int:
    """The version of a dataset's columns that this program writes."""
    return 1 + len(MIGRATIONS.get(dataset, ()))


def is_todays(dataset: str, schema: pa.Schema, version: int) -> bool:
    """Whether a part with this schema needs no migration; comments and which columns may be null do not count."""
    today = arrow_schema(DATASETS[dataset])
    return version == record_version(dataset) and schema.names == today.names and schema.types == today.types


def migrate(dataset: str, table: pa.Table, version: int) -> pa.Table:
    """A part's rows in today's columns.

    Args:
        dataset: What they are.
        table: As they were written.
        version: The version of the dataset that wrote them; not above ``record_version``.

    Raises:
        pydantic.ValidationError: They are not such rows: a column is missing that has no default, or is not known.
    """
    if is_todays(dataset, table.schema, version):
        return table
    for migration in MIGRATIONS.get(dataset, ())[version - 1 :]:
        table = migration(table)
    # through the records, which know their defaults, those of nested ones too, and refuse what does not fit
    model = DATASETS[dataset]
    pieces = [to_table(model, from_table(model, table.slice(first, _ROWS_AT_ONCE)))
              for first in range(0, max(1, table.num_rows), _ROWS_AT_ONCE)]  # fmt: skip
    return pa.concat_tables(pieces)
