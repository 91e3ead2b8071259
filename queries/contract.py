"""What the index holds: every table and view with its columns and what they mean, for people who ask it themselves.

Names and types are those of the index. Meanings are the comments of the SQL that makes it (`indexer/schema.sql`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from queries.rows import fetch_rows

_CREATE = re.compile(r"CREATE (TABLE|VIEW) (\w+)")
_COLUMN = re.compile(r"\s*(\w+)\s[^-]*?(?:--\s*(.*))?$")
_SOURCE = re.compile(r"\b(?:FROM|JOIN) (\w+)")
_KEYS = ("PRIMARY", "UNIQUE", "FOREIGN", "CHECK", "CONSTRAINT")


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        name: Its name.
        type: As DuckDB writes it.
        meaning: In words. Empty: the name says it.
    """

    name: str
    type: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view.

    Attributes:
        name: Its name.
        meaning: What a row of it is.
        columns: In their order.
    """

    name: str
    meaning: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Comments:
    """What the SQL says about a table or view.

    Attributes:
        meaning: The comment before it.
        columns: The comment of each column that has one.
        sources: Tables that a view reads: what it does not say about a column, they do.
    """

    meaning: str
    columns: dict[str, str]
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """A column of the index."""

    table_name: str
    column_name: str
    data_type: str


def tables(con: duckdb.DuckDBPyConnection, sql: str) -> list[Table]:
    """Describe every table and view of the index.

    Args:
        con: The index, open for reading.
        sql: What makes it, with comments.

    Returns:
        In the order of the SQL; what it does not name comes last.
    """
    query = """
        SELECT table_name, column_name, data_type
        FROM duckdb_columns()
        WHERE database_name = current_database() AND NOT internal
        ORDER BY table_name, column_index
    """
    found: dict[str, list[_Found]] = {}
    for column in fetch_rows(con, query, {}, _Found):
        found.setdefault(column.table_name, []).append(column)
    said = comments(sql)
    names = sorted(found, key=lambda name: (list(said).index(name) if name in said else len(said), name))
    return [_described(name, found[name], said) for name in names]


def comments(sql: str) -> dict[str, Comments]:
    """Read the comments of `CREATE TABLE` and `CREATE VIEW`.

    Args:
        sql: One column a line, its comment behind it; what a row is in the lines right before.

    Returns:
        By name of the table or view, in the order of the text.
    """
    lines = sql.splitlines()
    found = {}
    for number, line in enumerate(lines):
        if made := _CREATE.match(line):
            statement = _statement(lines[number:])
            is_table = made[1] == "TABLE"
            found[made[2]] = Comments(
                meaning=_before(lines[:number]),
                columns=dict(_column_comments(statement[1:])) if is_table else {},
                sources=() if is_table else tuple(_SOURCE.findall("\n".join(statement))),
            )
    return found


def _described(name: str, columns: Sequence[_Found], said: dict[str, Comments]) -> Table:
    """Put a table of the index and its comments together."""
    own = said.get(name, Comments("", {}, ()))
    meanings: dict[str, str] = {}
    for source in (*(said[other] for other in reversed(own.sources) if other in said), own):
        meanings |= source.columns
    return Table(
        name,
        own.meaning,
        tuple(Column(each.column_name, each.data_type, meanings.get(each.column_name, "")) for each in columns),
    )


def _statement(lines: Sequence[str]) -> list[str]:
    """Return the lines of the first statement."""
    end = next((number for number, line in enumerate(lines) if line.partition("--")[0].rstrip().endswith(";")), None)
    return list(lines[: None if end is None else end + 1])


def _before(lines: Sequence[str]) -> str:
    """Return the comment right before a statement as one paragraph."""
    taken: list[str] = []
    for line in reversed(lines):
        if not line.startswith("--"):
            break
        taken.append(line.removeprefix("--").strip())
    return " ".join(reversed(taken))


def _column_comments(lines: Sequence[str]) -> list[tuple[str, str]]:
    """Return each column that has a comment, and the comment."""
    matches = [match for line in lines if (match := _COLUMN.match(line)) and match[1] not in _KEYS]
    return [(match[1], match[2].strip()) for match in matches if match[2]]
