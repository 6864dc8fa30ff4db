"""Arrow schemas, derived from the pydantic records: the one place where a column gets its type."""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, PlainSerializer

Record = TypeVar("Record", bound=BaseModel)

JSON_COLUMN = "stored as JSON text"


def _load(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _dump(value: BaseModel | None) -> str | None:
    return None if value is None else value.model_dump_json()


Inner = TypeVar("Inner")
# A column that holds one of many shapes (a check, a trigger): a struct would need every field of every kind.
StoredAsJson = Annotated[
    Inner | None, BeforeValidator(_load), PlainSerializer(_dump, return_type=str | None), JSON_COLUMN
]

_SCALARS: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
}


def _arrow_type(annotation: Any) -> pa.DataType:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *notes = get_args(annotation)
        return pa.string() if JSON_COLUMN in notes else _arrow_type(inner)
    if origin is Literal:
        return _arrow_type(type(get_args(annotation)[0]))
    if origin in (Union, types.UnionType):
        kinds = [arg for arg in get_args(annotation) if arg is not type(None)]
        if len(kinds) == 1:
            return _arrow_type(kinds[0])
    if origin is list:
        return pa.list_(_arrow_type(get_args(annotation)[0]))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return pa.struct(list(arrow_schema(annotation)))
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    raise TypeError(f"no Arrow type for {annotation!r}")


def arrow_schema(model: type[BaseModel]) -> pa.Schema:
    """The Arrow schema of a record: a column a field, with the field's description as its comment.

    Raises:
        TypeError: A field has a type that no column can hold.
    """
    fields = []
    for name, info in model.model_fields.items():
        kind = pa.string() if JSON_COLUMN in info.metadata else _arrow_type(info.annotation)
        nullable = info.annotation is not None and type(None) in get_args(info.annotation)
        metadata = {"comment": info.description} if info.description else None
        fields.append(pa.field(name, kind, nullable=nullable or JSON_COLUMN in info.metadata, metadata=metadata))
    return pa.schema(fields)


def to_table(model: type[Record], records: Iterable[Record]) -> pa.Table:
    """The records as an Arrow table with exactly the schema of ``model``."""
    return pa.Table.from_pylist([record.model_dump() for record in records], schema=arrow_schema(model))


def from_table(model: type[Record], table: pa.Table) -> Iterator[Record]:
    """The rows of a table as records; columns that ``model`` does not know are refused.

    Raises:
        pydantic.ValidationError: A row does not fit the record.
    """
    for batch in table.to_batches(max_chunksize=1_000):
        for row in batch.to_pylist():
            yield model.model_validate(row)
