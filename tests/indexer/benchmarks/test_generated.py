"""The made-up index is one that the indexer could have made."""

from pathlib import Path

import duckdb
import pytest

from indexer import invariants
from indexer.benchmarks.generated import generate
from indexer.published import IndexReader
from tests.indexer.benchmarks.conftest import PARTS


def one(con: duckdb.DuckDBPyConnection, sql: str) -> object:
    """Return the only value of a result."""
    row = con.execute(sql).fetchone()
    assert row is not None
    return row[0]


def test_generate_asked_for_so_many_parts_has_about_as_many(con: duckdb.DuckDBPyConnection) -> None:
    """A tenth as many messages, exactly; parts by chance."""
    parts, messages = one(con, "SELECT count(*) FROM parts"), one(con, "SELECT count(*) FROM messages")

    assert messages == PARTS // 10
    assert parts == pytest.approx(PARTS, rel=0.1)


def test_generate_every_table_of_the_pages_has_rows(con: duckdb.DuckDBPyConnection) -> None:
    """Also the derived ones, and what only some data has: errors, child sessions, delegations."""
    tables = (
        *(
            "projects",
            "sessions",
            "messages",
            "parts",
            "part_bodies",
            "agents",
            "models",
            "tools",
            "documents",
            "sources",
        ),
        *("session_stats", "exchanges", "exchange_traces", "session_traces"),
        *("usage_slices", "tool_calls", "failures", "request_chain"),
        *("(FROM messages WHERE error_name IS NOT NULL)", "(FROM sessions WHERE parent_id IS NOT NULL)"),
        *(
            "(FROM parts WHERE is_failed)",
            "(FROM exchanges WHERE status = 'failed')",
            "(FROM session_traces WHERE depth > 0)",
        ),
    )

    empty = [table for table in tables if one(con, f"SELECT count(*) FROM {table}") == 0]

    assert empty == []


def test_generate_what_is_derived_agrees_with_the_rows(con: duckdb.DuckDBPyConnection) -> None:
    """The invariants that every index keeps."""
    assert invariants.broken(con, [*invariants.DERIVED, *invariants.REFERENCES]) == []


def test_generate_again_gives_the_same_rows(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """Chance is a hash: two runs measure the same data."""
    generate(tmp_path / "again.duckdb", PARTS)
    reader = IndexReader(tmp_path / "again.duckdb")
    again = reader.connection()

    differing = [
        table
        for table in ("sessions", "messages", "parts", "part_bodies", "exchanges", "exchange_traces", "failures")
        if one(con, f"SELECT bit_xor(hash(t)) FROM {table} t") != one(again, f"SELECT bit_xor(hash(t)) FROM {table} t")
    ]

    reader.close()
    assert differing == []
