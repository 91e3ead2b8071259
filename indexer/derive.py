"""What follows from rows: dimension tables, fork copies and session totals, only for the sessions that a batch touched.

Everything is one SQL statement over narrow rows, so that the first index, a live change and a backfill run the same
text, and sums stay exact.
"""

from collections.abc import Collection

import duckdb

from indexer import exchanges


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
    _add_placeholders(con, touched)
    _add_names(con, touched)
    touched = sorted({*touched, *_flag_fork_copies(con, touched, fork_keys)})
    exchanges.rebuild(con, touched)
    _sum_sessions(con, touched)
    _sum_subtrees(con, sorted({*touched, *parents}))


def _add_placeholders(con: duckdb.DuckDBPyConnection, touched: list[str]) -> None:
    """Give messages of unknown sessions a session row, and sessions of unknown projects a project row."""
    con.execute(
        """
        INSERT INTO sessions BY NAME
        SELECT session_id, TRUE AS is_placeholder, FALSE AS is_missing_in_newer, 0 AS generation, 0 AS content_hash,
               if(bool_and(deleted_at IS NOT NULL), max(deleted_at), NULL) AS deleted_at
        FROM messages
        WHERE session_id IN (SELECT unnest($touched::VARCHAR[]))
          AND session_id NOT IN (SELECT session_id FROM sessions)
        GROUP BY session_id
        """,
        {"touched": touched},
    )
    con.execute(
        """
        INSERT INTO projects BY NAME
        SELECT DISTINCT project_id, 0 AS generation, 0 AS content_hash
        FROM sessions
        WHERE session_id IN (SELECT unnest($touched::VARCHAR[])) AND project_id IS NOT NULL
          AND project_id NOT IN (SELECT project_id FROM projects)
        """,
        {"touched": touched},
    )


def _add_names(con: duckdb.DuckDBPyConnection, touched: list[str]) -> None:
    """Add agents, models and tools that are new."""
    con.execute(
        """
        INSERT INTO agents
        SELECT DISTINCT agent FROM messages
        WHERE session_id IN (SELECT unnest($touched::VARCHAR[])) AND agent IS NOT NULL
          AND agent NOT IN (SELECT name FROM agents)
        """,
        {"touched": touched},
    )
    con.execute(
        """
        INSERT INTO models
        SELECT DISTINCT provider_id, model_id FROM messages
        WHERE session_id IN (SELECT unnest($touched::VARCHAR[])) AND provider_id IS NOT NULL AND model_id IS NOT NULL
          AND (provider_id, model_id) NOT IN (SELECT (vendor, model_id) FROM models)
        """,
        {"touched": touched},
    )
    con.execute(
        """
        INSERT INTO tools
        SELECT DISTINCT tool_name FROM parts
        WHERE session_id IN (SELECT unnest($touched::VARCHAR[])) AND tool_name IS NOT NULL
          AND tool_name NOT IN (SELECT tool_name FROM tools)
        """,
        {"touched": touched},
    )


def _flag_fork_copies(con: duckdb.DuckDBPyConnection, touched: list[str], fork_keys: Collection[int]) -> list[str]:
    """Tell originals from the copies that forks made (see `fork_key`).

    A request that is still there comes before one that OpenCode deleted. The original is in the session that no other
    one of the group was forked to, as far as OpenCode names origins (2.0), then in the session created first; equal
    times: in the smaller session id.

    Returns:
        Ids of the sessions whose flags changed.
    """
    changed = con.execute(
        """
        WITH keys AS MATERIALIZED (
            SELECT DISTINCT fork_key FROM messages
            WHERE session_id IN (SELECT unnest($touched::VARCHAR[])) AND fork_key IS NOT NULL
            UNION
            SELECT unnest($fork_keys::BIGINT[])
        ),
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
        {"touched": touched, "fork_keys": list(fork_keys)},
    ).fetchall()
    return [session_id for (session_id,) in changed]


def _sum_sessions(con: duckdb.DuckDBPyConnection, touched: list[str]) -> None:
    """Rebuild the own numbers of sessions; those of their subtrees follow in `_sum_subtrees`."""
    con.execute(
        "DELETE FROM session_stats WHERE session_id IN (SELECT unnest($touched::VARCHAR[]))", {"touched": touched}
    )
    con.execute(
        """
        INSERT INTO session_stats BY NAME
        WITH target AS MATERIALIZED (
            SELECT session_id FROM sessions WHERE session_id IN (SELECT unnest($touched::VARCHAR[]))
        ),
        own AS MATERIALIZED (
            SELECT *, has_usage AND NOT is_fork_copy AS is_own
            FROM messages WHERE session_id IN (SELECT session_id FROM target)
        ),
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
            FROM exchanges WHERE session_id IN (SELECT session_id FROM target) GROUP BY session_id
        ),
        part_counts AS (
            SELECT session_id, count(*) AS part_count,
                   count(*) FILTER (part_type = 'tool') AS tool_calls,
                   count(*) FILTER (is_failed) AS failed_tool_calls
            FROM parts WHERE session_id IN (SELECT session_id FROM target) GROUP BY session_id
        )
        SELECT sums.*,
               coalesce(part_count, 0) AS part_count,
               coalesce(tool_calls, 0) AS tool_calls,
               coalesce(failed_tool_calls, 0) AS failed_tool_calls,
               coalesce(exchange_count, 0) AS exchange_count,
               coalesce(active_ms, 0) AS active_ms,
               last_agent, last_provider_id, last_model_id,
               0 AS child_sessions, 0 AS subtree_sessions,
               0 AS subtree_root_tokens, 0 AS subtree_input_tokens, 0 AS subtree_output_tokens,
               0 AS subtree_reasoning_tokens, 0 AS subtree_cache_read_tokens,
               0 AS subtree_cache_write_tokens, 0 AS subtree_total_tokens
        FROM sums
        LEFT JOIN latest USING (session_id)
        LEFT JOIN active USING (session_id)
        LEFT JOIN part_counts USING (session_id)
        """,
        {"touched": touched},
    )


def _sum_subtrees(con: duckdb.DuckDBPyConnection, touched: list[str]) -> None:
    """Rebuild the subtree numbers of sessions and of everything above them.

    UNION keeps each pair once, so that a cycle of parents ends; a session is in its own subtree once.
    """
    con.execute(
        """
        WITH RECURSIVE above AS (
            SELECT unnest($touched::VARCHAR[]) AS session_id
            UNION
            SELECT s.parent_id FROM above JOIN sessions s USING (session_id) WHERE s.parent_id IS NOT NULL
        ),
        tree AS (
            SELECT session_id AS top_id, session_id FROM above
            UNION
            SELECT tree.top_id, s.session_id FROM tree JOIN sessions s ON s.parent_id = tree.session_id
        ),
        children AS (SELECT parent_id, count(*) AS child_sessions FROM sessions GROUP BY parent_id),
        sums AS (
            SELECT top_id, count(*) AS sessions,
                   sum(root_tokens) AS root_tokens,
                   sum(input_tokens) AS input_tokens,
                   sum(output_tokens) AS output_tokens,
                   sum(reasoning_tokens) AS reasoning_tokens,
                   sum(cache_read_tokens) AS cache_read_tokens,
                   sum(cache_write_tokens) AS cache_write_tokens,
                   sum(total_tokens) AS total_tokens,
                   sum(cost_recorded_usd) AS cost_recorded_usd
            FROM tree JOIN session_stats USING (session_id)
            GROUP BY top_id
        )
        UPDATE session_stats SET
            child_sessions = coalesce(children.child_sessions, 0),
            subtree_sessions = sums.sessions,
            subtree_root_tokens = sums.root_tokens,
            subtree_input_tokens = sums.input_tokens,
            subtree_output_tokens = sums.output_tokens,
            subtree_reasoning_tokens = sums.reasoning_tokens,
            subtree_cache_read_tokens = sums.cache_read_tokens,
            subtree_cache_write_tokens = sums.cache_write_tokens,
            subtree_total_tokens = sums.total_tokens,
            subtree_cost_recorded_usd = sums.cost_recorded_usd
        FROM sums LEFT JOIN children ON children.parent_id = sums.top_id
        WHERE session_stats.session_id = sums.top_id
        """,
        {"touched": touched},
    )
