"""What follows from rows: dimension tables, fork copies and session totals, only for the sessions that a batch touched.

SQL over narrow rows, so that the first index, a live change and a backfill run the same text, and sums stay exact; only
trees of sessions are walked in Python (`session_trees.py`). `exchanges.gather` copies the rows of the sessions first:
what follows here reads these copies.
"""

from collections.abc import Collection

import duckdb

from indexer import exchanges, session_trees, sql


def refresh(
    con: duckdb.DuckDBPyConnection,
    session_ids: Collection[str],
    *,
    fork_keys: Collection[int] = (),
    parents: Collection[str] = (),
) -> None:
    """Bring everything derived up to date after rows of some sessions changed, in the same transaction.

    Args:
        con: The index, inside a transaction.
        session_ids: Sessions whose own row, messages or parts changed.
        fork_keys: Keys that messages had before the change.
        parents: Sessions that were parents of some of these before the change.
    """
    if not session_ids:
        return
    touched = sorted(session_ids)
    exchanges.gather(con, touched)
    _add_placeholders(con, touched)
    _add_names(con)
    if copied := _flag_fork_copies(con, fork_keys):
        touched = sorted({*touched, *copied})
        exchanges.gather(con, touched)
    exchanges.rebuild(con, touched)
    _sum_sessions(con, touched)
    exchanges.forget(con)
    session_trees.rebuild(con, touched, parents)


def _add_placeholders(con: duckdb.DuckDBPyConnection, touched: list[str]) -> None:
    """Give messages of unknown sessions a session row, and sessions of unknown projects a project row."""
    con.execute(
        """
        INSERT INTO sessions BY NAME
        SELECT session_id, TRUE AS is_placeholder, FALSE AS is_missing_in_newer, 0 AS generation, 0 AS content_hash,
               if(bool_and(deleted_at IS NOT NULL), max(deleted_at), NULL) AS deleted_at
        FROM own_messages WHERE session_id NOT IN (SELECT session_id FROM sessions) GROUP BY session_id
        """
    )
    con.execute(
        f"""
        INSERT INTO projects BY NAME
        SELECT DISTINCT project_id, 0 AS generation, 0 AS content_hash
        FROM sessions
        WHERE session_id IN {sql.texts(touched)} AND project_id IS NOT NULL
          AND project_id NOT IN (SELECT project_id FROM projects)
        """
    )


def _add_names(con: duckdb.DuckDBPyConnection) -> None:
    """Add agents, models and tools that are new."""
    con.execute(
        """
        INSERT INTO agents
        SELECT DISTINCT agent FROM own_messages WHERE agent IS NOT NULL AND agent NOT IN (SELECT name FROM agents)
        """
    )
    con.execute(
        """
        INSERT INTO models
        SELECT DISTINCT provider_id, model_id FROM own_messages
        WHERE provider_id IS NOT NULL AND model_id IS NOT NULL
          AND (provider_id, model_id) NOT IN (SELECT (vendor, model_id) FROM models)
        """
    )
    con.execute(
        """
        INSERT INTO tools
        SELECT DISTINCT tool_name FROM own_parts
        WHERE tool_name IS NOT NULL AND tool_name NOT IN (SELECT tool_name FROM tools)
        """
    )


def _flag_fork_copies(con: duckdb.DuckDBPyConnection, fork_keys: Collection[int]) -> list[str]:
    """Tell originals from the copies that forks made (see `fork_key`).

    A request that is still there comes before one that OpenCode deleted. The original is in the session that no other
    one of the group was forked to, as far as OpenCode names origins (2.0), then in the session created first; equal
    times: in the smaller session id.

    Returns:
        Ids of the sessions whose flags changed.
    """
    shared = con.execute(  # most requests have no copy
        """
        SELECT fork_key FROM messages
        WHERE fork_key IN (
            SELECT fork_key FROM own_messages WHERE fork_key IS NOT NULL UNION SELECT unnest($fork_keys::BIGINT[])
        )
        GROUP BY fork_key HAVING min(session_id) <> max(session_id) OR bool_or(is_fork_copy)
        """,
        {"fork_keys": list(fork_keys)},
    ).fetchall()
    if not shared:
        return []
    changed = con.execute(
        """
        WITH keys AS (SELECT unnest($keys::BIGINT[]) AS fork_key),
        members AS MATERIALIZED (
            SELECT m.message_id, m.fork_key, m.session_id, m.is_fork_copy, m.deleted_at IS NOT NULL AS is_deleted,
                   s.created_at, s.fork_session_id
            FROM messages m JOIN keys USING (fork_key) JOIN sessions s USING (session_id)
        ),
        flagged AS (
            SELECT message_id, session_id <> first_value(session_id) OVER (
                PARTITION BY fork_key
                ORDER BY is_deleted, EXISTS (
                    SELECT 1 FROM members origin
                    WHERE origin.fork_key = members.fork_key AND origin.session_id = members.fork_session_id
                ), created_at NULLS LAST, session_id
            ) AS is_copy
            FROM members
        )
        UPDATE messages SET is_fork_copy = flagged.is_copy
        FROM flagged
        WHERE messages.message_id = flagged.message_id AND messages.is_fork_copy <> flagged.is_copy
        RETURNING messages.session_id
        """,
        {"keys": [key for (key,) in shared]},
    ).fetchall()
    return [session_id for (session_id,) in changed]


def _sum_sessions(con: duckdb.DuckDBPyConnection, touched: list[str]) -> None:
    """Rebuild the own numbers of sessions, and those of their subtrees as if they were alone."""
    con.execute(f"DELETE FROM session_stats WHERE session_id IN {sql.texts(touched)}")
    con.execute(
        f"""
        INSERT INTO session_stats BY NAME
        WITH target AS MATERIALIZED (
            SELECT session_id FROM sessions WHERE session_id IN {sql.texts(touched)}
        ),
        own AS MATERIALIZED (SELECT *, has_usage AND NOT is_fork_copy AS is_own FROM own_messages),
        sums AS (
            SELECT session_id,
                   coalesce(sum(root_tokens) FILTER (is_own), 0) AS root_tokens,
                   coalesce(sum(input_tokens) FILTER (is_own), 0) AS input_tokens,
                   coalesce(sum(output_tokens) FILTER (is_own), 0) AS output_tokens,
                   coalesce(sum(reasoning_tokens) FILTER (is_own), 0) AS reasoning_tokens,
                   coalesce(sum(cache_read_tokens) FILTER (is_own), 0) AS cache_read_tokens,
                   coalesce(sum(cache_write_tokens) FILTER (is_own), 0) AS cache_write_tokens,
                   coalesce(sum(total_tokens) FILTER (is_own), 0) AS total_tokens,
                   sum(cost_recorded_usd) FILTER (is_own) AS cost_recorded_usd,
                   count(*) FILTER (is_own AND cost_recorded_usd IS NULL) AS unrecorded_messages,
                   count(*) FILTER (is_own AND is_usage_missing) AS missing_usage_messages,
                   coalesce(sum(root_tokens) FILTER (is_fork_copy), 0) AS inherited_root_tokens,
                   coalesce(sum(input_tokens) FILTER (is_fork_copy), 0) AS inherited_input_tokens,
                   coalesce(sum(output_tokens) FILTER (is_fork_copy), 0) AS inherited_output_tokens,
                   coalesce(sum(reasoning_tokens) FILTER (is_fork_copy), 0) AS inherited_reasoning_tokens,
                   coalesce(sum(cache_read_tokens) FILTER (is_fork_copy), 0) AS inherited_cache_read_tokens,
                   coalesce(sum(cache_write_tokens) FILTER (is_fork_copy), 0) AS inherited_cache_write_tokens,
                   coalesce(sum(total_tokens) FILTER (is_fork_copy), 0) AS inherited_total_tokens,
                   sum(cost_recorded_usd) FILTER (is_fork_copy) AS inherited_cost_recorded_usd,
                   count(*) FILTER (is_fork_copy) AS fork_copies,
                   count(*) FILTER (role = 'user') AS user_messages,
                   count(*) FILTER (role = 'assistant') AS assistant_messages,
                   count(*) FILTER (error_name IS NOT NULL) AS message_errors,
                   min(created_at) AS first_message_at,
                   max(coalesce(completed_at, created_at)) AS last_message_at
            FROM target LEFT JOIN own USING (session_id)
            GROUP BY session_id
        ),
        latest AS (
            SELECT session_id, agent AS last_agent, provider_id AS last_provider_id, model_id AS last_model_id
            FROM own WHERE role = 'assistant'
            QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY created_at DESC NULLS LAST, message_id DESC) = 1
        ),
        active AS (
            SELECT session_id, count(*) AS exchange_count,
                   sum(greatest(date_diff('millisecond', started_at, ended_at), 0)) AS active_ms
            FROM wanted_exchanges GROUP BY session_id
        ),
        part_counts AS (
            SELECT session_id, count(*) AS part_count,
                   count(*) FILTER (part_type = 'tool') AS tool_calls,
                   count(*) FILTER (is_failed) AS failed_tool_calls
            FROM own_parts GROUP BY session_id
        )
        SELECT sums.*,
               coalesce(part_count, 0) AS part_count,
               coalesce(tool_calls, 0) AS tool_calls,
               coalesce(failed_tool_calls, 0) AS failed_tool_calls,
               coalesce(exchange_count, 0) AS exchange_count,
               coalesce(active_ms, 0) AS active_ms,
               last_agent, last_provider_id, last_model_id,
               0 AS child_sessions, 1 AS subtree_sessions,
               root_tokens AS subtree_root_tokens, input_tokens AS subtree_input_tokens,
               output_tokens AS subtree_output_tokens, reasoning_tokens AS subtree_reasoning_tokens,
               cache_read_tokens AS subtree_cache_read_tokens, cache_write_tokens AS subtree_cache_write_tokens,
               total_tokens AS subtree_total_tokens, cost_recorded_usd AS subtree_cost_recorded_usd
        FROM sums
        LEFT JOIN latest USING (session_id)
        LEFT JOIN active USING (session_id)
        LEFT JOIN part_counts USING (session_id)
        """
    )
