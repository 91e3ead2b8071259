"""Rows of a result as typed objects."""

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, TypeVar

import duckdb

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

KNOWN_HITS = "known_hits"  # the name by which queries find a table that is passed with their values

Row = TypeVar("Row", bound="DataclassInstance")


def fetch_rows(con: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, object], row: type[Row]) -> list[Row]:
    """Run a query and build one object a row, by column name.

    Args:
        con: The index, open for reading.
        sql: Constant text with `$named` values.
        parameters: The values, and a table under `KNOWN_HITS`. Those the text does not name are left out: queries share
            one set.
        row: A dataclass with exactly the columns of the result.

    Returns:
        The rows in the order of the query.

    Raises:
        ValueError: The columns are not the fields of the dataclass.
    """
    used = {name: value for name, value in parameters.items() if f"${name}" in sql}
    if KNOWN_HITS in sql:
        con.register(KNOWN_HITS, parameters[KNOWN_HITS])
    cursor = con.execute(sql, used)
    columns = [column[0] for column in cursor.description or []]
    names = [field.name for field in fields(row)]
    if sorted(columns) != sorted(names):
        raise ValueError(f"{row.__name__} has the fields {names}, the query returns {columns}")
    return [row(**dict(zip(columns, values, strict=True))) for values in cursor.fetchall()]


def fetch_row(con: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, object], row: type[Row]) -> Row:
    """Run a query that has exactly one row, such as totals; see `fetch_rows`."""
    (only,) = fetch_rows(con, sql, parameters, row)
    return only
