"""Rows as columns: how they get into DuckDB, a table at once."""

import functools
from collections.abc import Sequence
from decimal import Decimal
from types import UnionType
from typing import TYPE_CHECKING, Union, get_args, get_origin, get_type_hints

from indexer.rows import EpochMs, RowType, values_of

if TYPE_CHECKING:  # loaded where something is written: a start with nothing to write is quicker without
    import pyarrow as pa


def arrow_table(row_type: type[RowType], rows: Sequence[RowType]) -> "pa.Table":
    """Put rows of one table into columns.

    Args:
        row_type: The dataclass of the table.
        rows: Its rows, possibly none.

    Returns:
        One column per field, named and typed like the table's.
    """
    return _table(_arrow_schema(row_type), list(map(values_of(row_type), rows)))


def tuple_table(row_type: type, rows: Sequence[tuple[object, ...]]) -> "pa.Table":
    """Put derived rows of one table into columns.

    Args:
        row_type: The named tuple of the table; its fields are the columns.
        rows: Its rows, possibly none.

    Returns:
        One column per field, named and typed like the table's.
    """
    return _table(_arrow_schema(row_type), rows)


def _table(schema: "pa.Schema", rows: Sequence[tuple[object, ...]]) -> "pa.Table":
    """Put the values of rows into columns."""
    import pyarrow as pa

    columns = zip(*rows, strict=True) if rows else ([] for _ in schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def select_list(row_type: type) -> str:
    """Write the columns of a named tuple for a SELECT, times as milliseconds."""
    return ", ".join(
        f"epoch_ms({name}) AS {name}" if type_ is EpochMs else name for name, type_ in _types(row_type).items()
    )


def _arrow_schema(row_type: type) -> "pa.Schema":
    """Translate the type hints of a row into Arrow types."""
    if row_type not in _SCHEMAS:
        import pyarrow as pa

        _SCHEMAS[row_type] = pa.schema({name: _arrow_types()[type_] for name, type_ in _types(row_type).items()})
    return _SCHEMAS[row_type]


@functools.cache
def _arrow_types() -> "dict[object, pa.DataType]":
    """Return the type of a column for each type hint."""
    import pyarrow as pa

    return {
        str: pa.string(),
        int: pa.int64(),
        bool: pa.bool_(),
        Decimal: pa.decimal128(38, 12),
        EpochMs: pa.timestamp("ms"),
        tuple[str, ...]: pa.list_(pa.string()),
    }


def _types(row_type: type) -> dict[str, object]:
    """Return the type of every column; an optional one has one member beside None."""
    if row_type not in _TYPES:
        members = {
            name: [each for each in (get_args(hint) if _is_optional(hint) else (hint,)) if each is not type(None)]
            for name, hint in get_type_hints(row_type).items()
            if name not in ("TABLE", "KEYS")
        }
        _TYPES[row_type] = {name: types[0] for name, types in members.items()}
    return _TYPES[row_type]


def _is_optional(hint: object) -> bool:
    """Tell whether a type hint is a choice, as `str | None` is."""
    return get_origin(hint) in (UnionType, Union)


# to read type hints, and to make a schema, takes longer than a row
_TYPES: dict[type, dict[str, object]] = {}
_SCHEMAS: "dict[type, pa.Schema]" = {}
