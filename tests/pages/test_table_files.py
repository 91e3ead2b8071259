"""Files of tables: what was written is read back exact by others, and CSV is never a formula."""

import io
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from queries.table_files import FORMATS, Cell, Kind, Table, csv_bytes, json_bytes, parquet_bytes, text

BOM = b"\xef\xbb\xbf"
ZONE = "Asia/Kathmandu"
AT = datetime(2026, 1, 1, 17, 45, tzinfo=ZoneInfo(ZONE))
COLUMNS: Mapping[str, Kind] = {
    "name": str,
    "calls": int,
    "share": float,
    "is_new": bool,
    "cost_usd": Decimal,
    "at": datetime,
    "day": date,
}
FULL: list[Cell] = ['=say "hi"', 9_007_199_254_740_993, 0.1, True, Decimal("-0.000000000001"), AT, date(2026, 3, 29)]
EMPTY: list[Cell] = [None] * len(COLUMNS)


@pytest.mark.parametrize(
    "start", ["=", "+", "-", "@", "\t", "\r", "\n", "\n=", " =", "\u00a0@", "＝", "＋", "－", "＠"]
)
def test_text_formula_in_a_text_cell_gets_a_quote(start: str) -> None:
    """A spreadsheet must not run a title."""
    assert text(f"{start}1+1") == f"'{start}1+1"


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        (Decimal("-0.000000000001"), "-0.000000000001"),
        (Decimal("1E+3"), "1000"),
        (-5, "-5"),
        (0.1, "0.1"),
        (0.1 + 0.2, "0.30000000000000004"),
        (float("nan"), ""),
        (float("-inf"), "-inf"),
        (None, ""),
        (True, "true"),
        (datetime(2026, 1, 2, 3, 4, 5, 678_900), "2026-01-02T03:04:05.678"),
        (date(2026, 1, 2), "2026-01-02"),
        ("a\ud800b", "a?b"),
        ("\u202eRTL", "\u202eRTL"),
        ("", ""),
    ],
)
def test_text_numbers_and_odd_text_are_written_plainly(cell: Cell, written: str) -> None:
    """Numbers never get a quote, also negative ones; what UTF-8 cannot hold is replaced."""
    assert text(cell) == written


def test_csv_bytes_quotes_follow_the_standard() -> None:
    """Commas, quotes and line breaks are quoted, quotes doubled; a megabyte stays whole."""
    long = "x" * 1_000_000

    data = csv_bytes(Table({"a": str, "b": str}, [['say "hi", you', "two\nlines"], [long, "</script>"]]))

    assert data.startswith(BOM + b'a,b\n"say ""hi"", you","two\nlines"\n')
    assert data.endswith(f"\n{long},</script>\n".encode())


def test_csv_bytes_carriage_return_stays_in_its_cell() -> None:
    """Unquoted it would begin a new row, and what follows a cell without the guard."""
    data = csv_bytes(Table({"a": str, "b": str}, [["x\r=1+1", "y"], ["x\r\ny", ""]]))

    assert data == BOM + b'a,b\n"x\r=1+1",y\n"x\r\ny",\n'


def test_csv_bytes_name_of_a_column_is_no_formula() -> None:
    """A shared link may name the columns of a query's result."""
    assert csv_bytes(Table({"=1+1": int}, [[2]])) == BOM + b"'=1+1\n2\n"


@pytest.mark.parametrize("cell", [None, ""])
def test_csv_bytes_lone_empty_cell_is_a_row(cell: Cell) -> None:
    """Readers skip empty lines."""
    assert csv_bytes(Table({"a": str}, [[cell]])) == BOM + b'a\n""\n'


def test_json_bytes_every_kind_is_exact_to_the_byte() -> None:
    """Money and times are text, numbers are numbers, text is as recorded: the guard is for spreadsheets only."""
    data = json_bytes(Table(COLUMNS, [FULL, EMPTY], ZONE))

    assert data.decode() == (
        '[\n{"name": "=say \\"hi\\"", "calls": 9007199254740993, "share": 0.1, "is_new": true, '
        '"cost_usd": "-0.000000000001", "at": "2026-01-01T17:45:00.000+05:45", "day": "2026-03-29"},\n'
        '{"name": null, "calls": null, "share": null, "is_new": null, "cost_usd": null, "at": null, "day": null}\n]\n'
    )


@pytest.mark.parametrize("cell", [float("nan"), float("inf"), float("-inf")])
def test_json_bytes_number_that_json_does_not_know_is_null(cell: float) -> None:
    """Many readers refuse a whole file for one NaN."""
    assert json.loads(json_bytes(Table({"a": float}, [[cell]]))) == [{"a": None}]


def test_parquet_bytes_every_kind_is_read_back() -> None:
    """Types are exact, and a time is the same moment in the same zone."""
    found = pq.read_table(io.BytesIO(parquet_bytes(Table(COLUMNS, [FULL, EMPTY], ZONE))))

    assert [list(row.values()) for row in found.to_pylist()] == [FULL, EMPTY]
    assert found["at"].to_pylist()[0].astimezone(UTC) == datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("rows", [[FULL], [EMPTY], []])
def test_parquet_bytes_types_are_those_of_the_columns(rows: list[list[Cell]]) -> None:
    """Two files of one table can be read together, whatever is in them."""
    found = pq.read_schema(io.BytesIO(parquet_bytes(Table(COLUMNS, rows, ZONE))))

    assert dict(zip(found.names, found.types, strict=True)) == {
        "name": pa.string(),
        "calls": pa.int64(),
        "share": pa.float64(),
        "is_new": pa.bool_(),
        "cost_usd": pa.decimal128(38, 12),
        "at": pa.timestamp("us", ZONE),
        "day": pa.date32(),
    }


def test_formats_what_is_no_number_is_unknown_in_each() -> None:
    """Every other fraction comes back as it was."""
    table = Table({"share": float}, [[1 / 3], [float("nan")]])

    files = {each.label: each.write(table) for each in FORMATS}

    assert files["CSV"] == BOM + b'share\n0.3333333333333333\n""\n'
    assert json.loads(files["JSON"]) == [{"share": 1 / 3}, {"share": None}]
    assert pq.read_table(io.BytesIO(files["Parquet"]))["share"].to_pylist() == [1 / 3, None]


def test_formats_odd_text_is_written_by_each() -> None:
    """A lone surrogate, an override of the direction, a script: text in every format."""
    table = Table({"a": str}, [["x\ud800y"], ["\u202eRTL"], ["</script>"], ["\x00"]])
    expected = ["x?y", "\u202eRTL", "</script>", "\x00"]

    files = {each.label: each.write(table) for each in FORMATS}

    assert files["CSV"] == BOM + "\n".join(["a", *expected, ""]).encode()
    assert [row["a"] for row in json.loads(files["JSON"])] == expected
    assert pq.read_table(io.BytesIO(files["Parquet"]))["a"].to_pylist() == expected


@pytest.mark.parametrize(("extension", "data"), [("csv", BOM + b"\n"), ("json", b"[\n\n]\n")])
def test_formats_table_without_columns_is_an_empty_file(extension: str, data: bytes) -> None:
    """Where nothing is known of the rows, there is still a file."""
    files = {each.extension: each.write(Table({}, [])) for each in FORMATS}

    assert files[extension] == data
    assert pq.read_table(io.BytesIO(files["parquet"])).num_rows == 0
