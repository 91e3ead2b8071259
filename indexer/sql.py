"""Small pieces of SQL text."""

from collections.abc import Collection, Iterable

import duckdb
import pyarrow

_JOINED_KEYS = 50  # DuckDB's dynamic_or_filter_threshold
_WRITTEN_OUT = 500


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


def keys(values: Collection[str]) -> str:
    """Write ids as the right side of an IN on the primary key of a large table.

    A join with a few ids looks each of them up in the index: 2 ms among 800,000 rows, where constants took 6 and a
    condition on the session besides 9. Of more ids the join knows only the range, and reads the whole column.

    Args:
        values: As in `texts`.

    Returns:
        `(SELECT unnest(['a', 'b']))`, or constants.
    """
    if not 0 < len(values) <= _JOINED_KEYS:
        return texts(values)
    return f"(SELECT unnest([{', '.join(map(text, values))}]))"


def among(values: Collection[str], *, is_key: bool = False) -> tuple[str, dict[str, list[str]]]:
    """Write ids as the right side of an IN, however many there are.

    To find 2,600 of 150,000 parts took 18 ms with constants and 2 with a parameter: most of it went into reading the
    query. Of 40,000 that also took 100 MB.

    Args:
        values: As in `texts`.
        is_key: The left side is the primary key of a large table.

    Returns:
        Text as that of `texts` or `keys`, or a parameter; and the value of the parameter `names`, if it is one.
    """
    if len(values) > _WRITTEN_OUT:
        return "(SELECT unnest($names::VARCHAR[]))", {"names": list(values)}
    return (keys if is_key else texts)(values), {}


def insert(con: duckdb.DuckDBPyConnection, table: str, incoming: pyarrow.Table) -> None:
    """Add rows to a table, inside a transaction.

    Args:
        con: The index.
        table: Name of a table.
        incoming: Rows. DuckDB finds the variable by its name: to register it took a third of an insert's time. Columns
            by name, in any order; those left out become NULL.
    """
    con.execute(f'INSERT INTO "{table}" BY NAME SELECT * FROM incoming')
