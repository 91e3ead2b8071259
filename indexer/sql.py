"""Small pieces of SQL text."""

from collections.abc import Iterable

import duckdb
import pyarrow


def text(value: str) -> str:
    """Write a string as a constant."""
    return "'" + value.replace("'", "''") + "'"


def texts(values: Iterable[str]) -> str:
    """Write strings as the right side of an IN.

    As constants in the text of a query, DuckDB leaves out the row groups that hold none of them; of a parameter it
    knows too little when it plans.

    Args:
        values: Any text: ids of documents are whatever OpenCode's files say. Nothing is IN none.

    Returns:
        `('a', 'b')`, quoted.
    """
    return "(" + (", ".join(map(text, values)) or "NULL") + ")"


def insert(con: duckdb.DuckDBPyConnection, table: str, incoming: pyarrow.Table) -> None:
    """Add rows to a table, inside a transaction.

    Args:
        con: The index.
        table: Name of a table.
        incoming: Rows. DuckDB finds the variable by its name: to register it took a third of an insert's time. Columns
            by name, in any order; those left out become NULL.
    """
    con.execute(f'INSERT INTO "{table}" BY NAME SELECT * FROM incoming')
