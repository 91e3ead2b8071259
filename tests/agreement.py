"""Compares an index that was kept up to date with a fresh one of the same storage.

Rows that OpenCode deleted are left out: only the older index has them. What is derived from them, such as the numbers
of their exchanges, is compared for the sessions that lost nothing.
"""

from collections.abc import Sequence
from pathlib import Path

from indexer.database import Database
from indexer.publish import Publisher
from indexer.published import IndexReader
from indexer.service import read_once
from tests.indexing import lay_down_empty

Rows = list[tuple[object, ...]]

# Sessions of which everything is still there, with all sessions of their trees.
_WHOLE = """
    WITH lossy AS (
        SELECT session_id FROM sessions WHERE deleted_at IS NOT NULL
        UNION SELECT session_id FROM messages WHERE deleted_at IS NOT NULL
        UNION SELECT session_id FROM parts WHERE deleted_at IS NOT NULL
    ),
    whole AS (
        SELECT session_id FROM sessions
        WHERE session_id NOT IN (SELECT session_id FROM lossy)
          AND session_id NOT IN (SELECT root_session_id FROM session_traces JOIN lossy USING (session_id))
          AND session_id NOT IN (
              SELECT t.session_id FROM session_traces t
              JOIN lossy ON lossy.session_id = t.root_session_id
          )
    )
"""
_SMALL = ("usage_slices", "tool_calls", "failures", "request_chain")
_QUERIES = {
    "projects": "SELECT * EXCLUDE (source_id) FROM projects WHERE deleted_at IS NULL",
    "sessions": "SELECT * EXCLUDE (source_id) FROM sessions WHERE deleted_at IS NULL",
    "messages": "SELECT * EXCLUDE (source_id) FROM messages WHERE deleted_at IS NULL",
    "parts": "SELECT * FROM parts WHERE deleted_at IS NULL",
    "part_bodies": "SELECT * FROM part_bodies",
    **{
        table: f"{_WHOLE} SELECT * FROM {table} WHERE session_id IN (SELECT session_id FROM whole)"
        for table in ("session_stats", "exchanges", "exchange_traces", *_SMALL)
    },
    "session_traces": f"{_WHOLE} SELECT * FROM session_traces WHERE root_session_id IN (SELECT session_id FROM whole)",
    "documents": "SELECT key, owner_id, document_kind, state, reason, size_bytes FROM documents",
    "sources": "SELECT kind, path, state, sessions, messages FROM sources",
}

_DERIVED = (
    *("session_stats", "exchanges", "exchange_traces", "session_traces"),
    *_SMALL,
)


def living_rows(index: Path, *, only_sessions: Sequence[str] | None = None) -> dict[str, Rows]:
    """Read everything of an index that still exists in OpenCode.

    Args:
        index: What readers open.
        only_sessions: Of derived tables, only the rows of these sessions. None: of all.
    """
    reader = IndexReader(index)
    con = reader.connection()
    try:
        found = {}
        for name, sql in _QUERIES.items():
            key = {"session_traces": "root_session_id"}.get(name, "session_id")
            where = ""
            if only_sessions is not None and name in _DERIVED:
                where = f"WHERE {key} IN (SELECT unnest($ids::VARCHAR[]))"
            values = {"ids": list(only_sessions or ())} if where else {}
            result = con.execute(f"SELECT * FROM ({sql}) {where}", values)
            columns = [str(column[0]) for column in result.description or ()]
            by_name = sorted(range(len(columns)), key=columns.__getitem__)
            # sorted here: a reader's memory limit is too small to sort the texts of a large index
            found[name] = sorted((tuple(row[at] for at in by_name) for row in result.fetchall()), key=repr)
        return found
    finally:
        con.close()
        reader.close()


def whole_sessions(index: Path) -> list[str]:
    """List the sessions that lost nothing."""
    reader = IndexReader(index)
    con = reader.connection()
    try:
        return [found for (found,) in con.execute(f"{_WHOLE} SELECT session_id FROM whole ORDER BY 1").fetchall()]
    finally:
        con.close()
        reader.close()


def differences(kept: Path, fresh: Path) -> dict[str, tuple[Rows, Rows]]:
    """Compare an index that was kept up to date with a fresh one.

    Returns:
        Table to the rows that only the first and only the second one has; empty if they agree.
    """
    sessions = whole_sessions(kept)
    ours, theirs = living_rows(kept, only_sessions=sessions), living_rows(fresh, only_sessions=sessions)
    found = {}
    for table, rows in ours.items():
        mine, others = set(map(repr, rows)), set(map(repr, theirs[table]))
        if mine != others or len(rows) != len(theirs[table]):
            found[table] = (
                [row for row in rows if repr(row) not in others],
                [row for row in theirs[table] if repr(row) not in mine],
            )
    return found


def fresh_index(index: Path, data_dirs: Sequence[Path]) -> Path:
    """Index data folders from nothing: into an empty index, as every test's."""
    lay_down_empty(index)
    with Database.open(index) as database:
        publisher = Publisher(database)
        read_once(database, publisher, data_dirs, lambda done, total: None)
        publisher.close()
    return index
