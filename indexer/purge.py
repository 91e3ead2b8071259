"""Removes what the settings leave out and an earlier run indexed: all of it, as if it had never been read."""

import logging
from collections.abc import Collection

import duckdb

from indexer import derive, kept_spend, sql
from indexer.database import Database
from indexer.exclusion import note_indexed
from indexer.storages import now_ms

log = logging.getLogger(__name__)

_DERIVED = (
    *("usage_slices", "tool_calls", "failures", "request_chain"),
    *("exchange_traces", "exchanges", "session_traces", "session_stats"),
)
_OF_SESSIONS = (*_DERIVED, "part_bodies", "parts", "messages", "sessions")
_NAMES = (
    "DELETE FROM agents WHERE name NOT IN (SELECT agent FROM messages WHERE agent IS NOT NULL)",
    """
    DELETE FROM models WHERE (vendor, model_id) NOT IN (
        SELECT (provider_id, model_id) FROM messages WHERE provider_id IS NOT NULL AND model_id IS NOT NULL
    )
    """,
    "DELETE FROM prices WHERE (vendor, model_id) NOT IN (SELECT (vendor, model_id) FROM models)",
    "DELETE FROM tools WHERE tool_name NOT IN (SELECT tool_name FROM parts WHERE tool_name IS NOT NULL)",
)


def purge_indexed(database: Database) -> None:
    """Remove what is left out, as far as the index itself tells: to be called before storages are listed."""
    if not database.exclusion.is_empty:
        note_indexed(database.exclusion, database.con)
        purge(database)


def purge(database: Database) -> None:
    """Remove what turned out to be left out since the last call, and what follows from it.

    To be called between transactions. Copies of a session that forks made count themselves from then on.
    """
    projects, sessions = database.exclusion.take_news()
    if not (projects or sessions):
        return
    held = _held(database.con, "projects", projects), _held(database.con, "sessions", sessions)
    orphans = _ids(
        database.con, f"SELECT DISTINCT session_id FROM parts WHERE is_orphan AND session_id IN {sql.texts(sessions)}"
    )
    if not any((*held, orphans)):
        return
    database.hot.forget()
    with database.transaction() as con:
        _remove(con, held[0], held[1] | orphans)
    kept_spend.save(database.con, database.path)
    log.info("%d projects and %d sessions are left out by the settings, and were removed", len(held[0]), len(held[1]))


def _remove(con: duckdb.DuckDBPyConnection, projects: Collection[str], sessions: Collection[str]) -> None:
    """Remove projects and sessions, inside a transaction."""
    of_sessions = f"session_id IN {sql.texts(sessions)}"
    fork_keys = [
        key
        for (key,) in con.execute(
            f"SELECT DISTINCT fork_key FROM messages WHERE fork_key IS NOT NULL AND {of_sessions}"
        ).fetchall()
    ]
    parents = _ids(con, f"SELECT parent_id FROM sessions WHERE parent_id IS NOT NULL AND {of_sessions}")
    owners = {*projects, *sessions}
    owners |= _ids(con, f"SELECT message_id FROM messages WHERE {of_sessions}")
    owners |= _ids(con, f"SELECT message_id FROM parts WHERE {of_sessions}")
    owned, values = sql.among(owners)
    con.execute(f"DELETE FROM read_stamps WHERE document_id IN {owned}", values)
    con.execute(f"DELETE FROM documents WHERE owner_id IN {owned}", values)
    emptied = _ids(con, f"SELECT DISTINCT project_id FROM sessions WHERE project_id IS NOT NULL AND {of_sessions}")
    for table in _OF_SESSIONS:
        con.execute(f"DELETE FROM {table} WHERE {of_sessions}")
    con.execute(f"DELETE FROM session_traces WHERE root_session_id IN {sql.texts(sessions)}")
    con.execute(f"DELETE FROM projects WHERE project_id IN {sql.texts(projects)}")
    con.execute(  # nothing but a name, and nobody names it any more
        f"""
        DELETE FROM projects WHERE source_id IS NULL AND project_id IN {sql.texts(emptied)}
          AND project_id NOT IN (SELECT project_id FROM sessions WHERE project_id IS NOT NULL)
        """
    )
    for statement in _NAMES:
        con.execute(statement)
    # the bytes stay in the file until it is compacted
    con.execute(
        "UPDATE sync_state SET texts_deleted_at = coalesce(texts_deleted_at, make_timestamp_ms($now))",
        {"now": now_ms()},
    )
    near = f"parent_id IN {sql.texts(sessions)} OR session_id IN {sql.texts(parents)}"
    touched = _ids(con, f"SELECT session_id FROM sessions WHERE {near}")
    touched |= {
        session_id
        for (session_id,) in con.execute(
            "SELECT DISTINCT session_id FROM messages WHERE fork_key IN (SELECT unnest($keys::BIGINT[]))",
            {"keys": fork_keys},
        ).fetchall()
    }
    derive.refresh(con, touched, fork_keys=fork_keys, parents=parents)


def _held(con: duckdb.DuckDBPyConnection, table: str, ids: Collection[str]) -> set[str]:
    """List which of some projects or sessions the index has."""
    key = f"{table[:-1]}_id"
    return _ids(con, f"SELECT {key} FROM {table} WHERE {key} IN {sql.texts(ids)}")


def _ids(con: duckdb.DuckDBPyConnection, query: str) -> set[str]:
    """Run a query for ids."""
    return {found for (found,) in con.execute(query).fetchall()}
