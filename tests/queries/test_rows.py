"""A result becomes typed rows by the names of its columns."""

from dataclasses import dataclass

import duckdb
import pytest

from queries.rows import fetch_row, fetch_rows


@dataclass(frozen=True, slots=True)
class Pair:
    """Two values."""

    one: int
    two: str | None


def test_fetch_rows_columns_in_any_order_are_matched_by_name() -> None:
    """The order of the columns does not matter; values that the text does not name are left out."""
    sql = "SELECT $word AS two, i::INTEGER AS one FROM range(2) t(i) ORDER BY i"

    rows = fetch_rows(duckdb.connect(), sql, {"word": "a", "unused": 1}, Pair)

    assert rows == [Pair(0, "a"), Pair(1, "a")]


def test_fetch_rows_other_columns_raise() -> None:
    """A renamed column fails at once."""
    with pytest.raises(ValueError, match="Pair has the fields"):
        fetch_rows(duckdb.connect(), "SELECT 1 AS one, 2 AS three", {}, Pair)


def test_fetch_row_two_rows_raise() -> None:
    """Totals have exactly one row."""
    with pytest.raises(ValueError, match="too many"):
        fetch_row(duckdb.connect(), "SELECT 1 AS one, 'a' AS two FROM range(2)", {}, Pair)
