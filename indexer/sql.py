"""Small pieces of SQL text."""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import duckdb

if TYPE_CHECKING:  # readers write no rows: loading it took a third of the start of a report
    import pyarrow

_WRITTEN_OUT = 500


# Where a column holds a text of 16 KB, DuckDB 2.0 compresses none of the 120,000 beside it; those of 4 KB and more have
# blocks of their own, a quarter full. Of 148 MB a search read 229, and now 70.
_LONG_BYTES = 4096


def searched_columns(text: str) -> str:
    """Write the two columns of `part_bodies` that hold what is searched, one of them NULL.

    Args:
        text: An expression: the text in lower case, or NULL.
    """
    return f"""
        if(strlen({text}) < {_LONG_BYTES}, {text}, NULL) AS searched_text,
        if(strlen({text}) >= {_LONG_BYTES}, {text}, NULL) AS long_searched_text
    """


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


def among(values: Collection[str]) -> tuple[str, dict[str, list[str]]]:
    """Write ids as the right side of an IN, however many there are.

    To find 2,600 of 150,000 parts took 18 ms with constants and 2 with a parameter: most of it went into reading the
    query. Of 40,000 that also took 100 MB.

    Args:
        values: As in `texts`.

    Returns:
        Text as that of `texts`, or a parameter; and the value of the parameter `names`, if it is one.
    """
    if len(values) > _WRITTEN_OUT:
        return "(SELECT unnest($names::VARCHAR[]))", {"names": list(values)}
    return texts(values), {}


def insert(con: duckdb.DuckDBPyConnection, table: str, incoming: "pyarrow.Table") -> None:
    """Add rows to a table, inside a transaction.

    Args:
        con: The index.
        table: Name of a table.
        incoming: Rows. DuckDB finds the variable by its name: to register it took a third of an insert's time. Columns
            by name, in any order; those left out become NULL.
    """
    con.execute(f'INSERT INTO "{table}" BY NAME SELECT * FROM incoming')
