"""The result of a query, and what is said about a table, as tables of the page and of its files."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow
import pyarrow.compute

from queries import contract
from queries.table_files import Cell, Kind, Table

SHOWN_ROWS = 1_000
SHOWN_CHARS = 500  # of a text in the table: a thousand whole ones may be 16 MB

_WIDEST = Decimal(10) ** 26  # what files hold of a decimal, and 12 digits after the point
_MOST_DIGITS = 12


def shown(rows: pyarrow.Table) -> pyarrow.Table:
    """Return what the table on the page holds."""
    first = rows.slice(0, SHOWN_ROWS)
    return pyarrow.table([_shown(column) for column in first.columns], names=first.column_names)


def longest(rows: pyarrow.Table) -> int:
    """Return the number of characters of the longest text that the table on the page would hold."""
    first = rows.slice(0, SHOWN_ROWS)
    texts = [column for column in first.columns if pyarrow.types.is_string(column.type)]
    return max((pyarrow.compute.max(pyarrow.compute.utf8_length(column)).as_py() or 0 for column in texts), default=0)


def fractions(rows: pyarrow.Table) -> list[str]:
    """Name the columns whose numbers have digits after the point."""
    return [field.name for field in rows.schema if pyarrow.types.is_floating(field.type)]


def exported(rows: pyarrow.Table) -> Table:
    """Return the whole result for a file: exact, its times with the offset of UTC."""
    columns = [_exported(column) for column in rows.columns]
    return Table(
        {name: kind for name, (kind, _) in zip(rows.column_names, columns, strict=True)},
        list(zip(*(cells for _, cells in columns), strict=True)),
    )


def columns(table: contract.Table) -> Table:
    """Return what is said about the columns of a table."""
    return Table(
        {"table": str, "column": str, "type": str, "meaning": str},
        [(table.name, column.name, column.type, column.meaning) for column in table.columns],
    )


def _shown(column: pyarrow.ChunkedArray) -> pyarrow.ChunkedArray | pyarrow.Array:
    """Cut texts, and turn decimals into what a browser writes right: integers where they are whole."""
    if pyarrow.types.is_string(column.type):
        return pyarrow.compute.utf8_slice_codeunits(column, 0, SHOWN_CHARS)
    if not pyarrow.types.is_decimal(column.type):
        return column
    if column.type.scale:
        return pyarrow.array([None if value is None else float(value) for value in column.to_pylist()])
    try:
        return column.cast(pyarrow.int64())
    except pyarrow.ArrowInvalid:
        return column.cast(pyarrow.string())


def _exported(column: pyarrow.ChunkedArray) -> tuple[Kind, Sequence[Cell]]:
    """Return what a column is in a file, and its cells. A number that no file holds makes its whole column text."""
    for is_of, kind, convert in _KINDS:
        if is_of(column.type):
            try:
                return kind, [None if value is None else convert(value) for value in column.to_pylist()]
            except ArithmeticError:
                break
    return str, [None if value is None else _text(value) for value in column.to_pylist()]


def _whole(value: int | Decimal) -> int:
    """Return a whole number that 64 bits hold.

    Raises:
        ArithmeticError: They do not, or it has a fraction.
    """
    number = int(value)
    if number != value or not -(1 << 63) <= number < 1 << 63:
        raise ArithmeticError("no whole number of 64 bits")
    return number


def _exact(value: Decimal) -> Decimal:
    """Return a decimal that files hold without rounding.

    Raises:
        ArithmeticError: They do not.
    """
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or -exponent > _MOST_DIGITS or abs(value) >= _WIDEST:
        raise ArithmeticError("no decimal with 12 digits")
    return value


def _text(value: object) -> str:
    """Write a value as text."""
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _is_whole(kind: pyarrow.DataType) -> bool:
    """Tell whether a type holds whole numbers: sums of them come as decimals without fraction."""
    return bool(pyarrow.types.is_integer(kind) or (pyarrow.types.is_decimal(kind) and not kind.scale))


def _utc(value: datetime) -> datetime:
    """Give a time of the index its zone."""
    return value.replace(tzinfo=UTC)


# The first one that a type is of.
_KINDS: tuple[tuple[Callable[[pyarrow.DataType], bool], Kind, Callable[..., Cell]], ...] = (
    (pyarrow.types.is_boolean, bool, bool),
    (_is_whole, int, _whole),
    (pyarrow.types.is_floating, float, float),
    (pyarrow.types.is_decimal, Decimal, _exact),
    (pyarrow.types.is_timestamp, datetime, _utc),
    (pyarrow.types.is_date, date, lambda day: day),
)
