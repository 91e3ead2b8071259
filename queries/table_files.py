"""A table as a file: CSV for spreadsheets, Parquet for databases and notebooks, JSON for programs; never rounded."""

import io
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for Parquet alone: loading it takes longer than writing most CSV files
    import pyarrow as pa

Cell = str | int | float | bool | Decimal | datetime | date | None
Kind = type[str] | type[int] | type[float] | type[bool] | type[Decimal] | type[datetime] | type[date]

# Some spreadsheets take the wide ones of East Asian keyboards, too, and skip white space before any of them.
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_BLANK = ("\t", "\r", "\n")
_TO_BE_QUOTED = re.compile('[",\r\n]')


@dataclass(frozen=True, slots=True)
class Table:
    """Rows to be written.

    Attributes:
        columns: Name of each column to what its cells are, if they are not None.
        rows: One cell per column.
        tz: Zone of the times; they carry their offset.
    """

    columns: Mapping[str, Kind]
    rows: Sequence[Sequence[Cell]]
    tz: str = "UTC"


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A kind of file that a table can be written as."""

    label: str
    extension: str
    mime: str
    icon: str
    write: Callable[[Table], bytes]


def text(cell: Cell) -> str:
    """Write one cell for a spreadsheet. Text that it would take for a formula gets a quote; numbers never do."""
    match cell:
        case None:
            return ""
        case bool():
            return "true" if cell else "false"
        case Decimal() | date():
            return _exact(cell)
        case str():
            clean = _encodable(cell)
            is_formula = clean.startswith(_BLANK) or clean.lstrip().startswith(_FORMULA)
            return f"'{clean}" if is_formula else clean
        case float() if math.isnan(cell):
            return ""
        case _:
            return repr(cell)


def csv_bytes(table: Table) -> bytes:
    """Write a table as CSV: UTF-8 with byte order mark, LF, quoted as RFC 4180 says.

    Not by Python's writer: before 3.13 it leaves a carriage return unquoted where lines end in LF. Readers then begin a
    new row there, and take what follows for a cell that no guard has seen.
    """
    return "".join(map(_csv_line, (table.columns, *table.rows))).encode("utf-8-sig")


def json_bytes(table: Table) -> bytes:
    """Write a table as JSON: UTF-8, a list with an object and a line per row.

    Money is text, because readers of JSON make binary fractions of its numbers; so are times, as ISO 8601.
    """
    lines = ",\n".join(
        json.dumps(dict(zip(table.columns, map(_json, row), strict=True)), ensure_ascii=False) for row in table.rows
    )
    return f"[\n{lines}\n]\n".encode()


def parquet_bytes(table: Table) -> bytes:
    """Write a table as Parquet. A column has the same type in every file, also without a value in it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = _arrow_types(table.tz)
    arrays = {
        name: pa.array([_arrow(row[at]) for row in table.rows], kinds[kind])
        for at, (name, kind) in enumerate(table.columns.items())
    }
    out = io.BytesIO()
    pq.write_table(pa.table(arrays), out)
    return out.getvalue()


FORMATS = (
    FileFormat("CSV", "csv", "text/csv", ":material/csv:", csv_bytes),
    FileFormat("Parquet", "parquet", "application/vnd.apache.parquet", ":material/database:", parquet_bytes),
    FileFormat("JSON", "json", "application/json", ":material/data_object:", json_bytes),
)


def _csv_line(cells: Iterable[Cell]) -> str:
    """Write one row. A lone empty cell is quoted: an empty line is no row."""
    written = [_csv_cell(text(cell)) for cell in cells]
    return ('""' if written == [""] else ",".join(written)) + "\n"


def _csv_cell(words: str) -> str:
    """Quote what would not stay one cell."""
    if not _TO_BE_QUOTED.search(words):
        return words
    escaped = words.replace('"', '""')
    return f'"{escaped}"'


def _arrow_types(tz: str) -> "dict[Kind, pa.DataType]":
    """Return the type of a column of each kind."""
    import pyarrow as pa

    return {
        str: pa.string(),
        int: pa.int64(),
        float: pa.float64(),
        bool: pa.bool_(),
        Decimal: pa.decimal128(38, 12),
        datetime: pa.timestamp("us", tz),
        date: pa.date32(),
    }


def _arrow(cell: Cell) -> Cell:
    """Return what Arrow can hold of a cell."""
    match cell:
        case str():
            return _encodable(cell)
        case float() if math.isnan(cell):
            return None
        case _:
            return cell


def _json(cell: Cell) -> str | int | float | None:
    """Return what JSON can hold of a cell."""
    match cell:
        case Decimal() | date():
            return _exact(cell)
        case float() if not math.isfinite(cell):
            return None
        case str():
            return _encodable(cell)
        case _:
            return cell


def _exact(cell: Decimal | date) -> str:
    """Write money without an exponent, and a time as ISO 8601."""
    match cell:
        case Decimal():
            return f"{cell:f}"
        case datetime():
            return cell.isoformat(timespec="milliseconds")
        case _:
            return cell.isoformat()


def _encodable(words: str) -> str:
    """Replace what UTF-8 cannot hold: a lone surrogate."""
    return words.encode("utf-8", "replace").decode("utf-8")
