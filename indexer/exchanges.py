"""Exchanges and their traces ("Plan 45"), rebuilt for whole sessions (DESIGN: docs/metrics.md).

An exchange is one user message and all messages that answer it. Messages are ordered by time, a session that is wholly
in the third generation by `seq`; ids only break ties. Inside a message the order is that of the document: part times
are shown and never sorted by, as old clients stamp a text when it ends.
"""

from collections.abc import Collection

import duckdb

from indexer import sql


def gather(con: duckdb.DuckDBPyConnection, session_ids: Collection[str]) -> None:
    """Copy what is derived from into the temporary tables `own_messages` and `own_parts`: one scan serves all.

    Args:
        con: The index, inside a transaction.
        session_ids: Sessions whose rows changed; at least one.
    """
    for table, columns in (("messages", _MESSAGE_COLUMNS), ("parts", _PART_COLUMNS)):
        con.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE own_{table} AS
            SELECT {columns} FROM index_db.{table} WHERE session_id IN {sql.texts(session_ids)}
            """
        )


def forget(con: duckdb.DuckDBPyConnection) -> None:
    """Remove what was gathered and made of it: titles that are deleted must not stay anywhere."""
    for table in ("own_messages", "own_parts", "assigned", "wanted_exchange_traces", "wanted_exchanges"):
        con.execute(f"DROP TABLE {table}")


def rebuild(con: duckdb.DuckDBPyConnection, session_ids: Collection[str]) -> None:
    """Rebuild the exchanges and traces of some sessions from what was gathered of them.

    What they should be stays in the temporary tables `wanted_exchange_traces` and `wanted_exchanges`.

    Args:
        con: The index, inside a transaction.
        session_ids: The same sessions.
    """
    con.execute(_ASSIGN)
    _write(con, "exchange_traces", "trace_id", _TRACES, session_ids)
    _write(con, "exchanges", "exchange_id", _EXCHANGES, session_ids)


def _write(con: duckdb.DuckDBPyConnection, table: str, key: str, wanted: str, session_ids: Collection[str]) -> None:
    """Bring the derived rows of some sessions up to date.

    A live change adds a few rows to a session that may have thousands: only what differs is written, for every written
    row costs its place in two indexes, in the log, and in the copy of it that every reader replays.

    Args:
        con: The index, inside a transaction.
        table: With `session_id`.
        key: Its primary key.
        wanted: The rows as they should be.
        session_ids: Whose rows they are.
    """
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE wanted_{table} AS (FROM index_db.{table} LIMIT 0) UNION ALL BY NAME ({wanted})"
    )
    differing = con.execute(
        f"""
        SELECT held.place, wanted.{key}
        FROM wanted_{table} wanted FULL JOIN (
            SELECT rowid AS place, row FROM index_db.{table} row WHERE session_id IN {sql.texts(session_ids)}
        ) held ON held.row.{key} = wanted.{key}
        WHERE wanted IS DISTINCT FROM held.row
        """
    ).fetchall()
    stale = [place for place, _ in differing if place is not None]
    if stale:
        con.execute(f"DELETE FROM {table} WHERE rowid IN (SELECT unnest($stale::BIGINT[]))", {"stale": stale})
    if new := [row_key for _, row_key in differing if row_key is not None]:
        con.execute(
            f"INSERT INTO {table} FROM wanted_{table} WHERE {key} IN (SELECT unnest($new::VARCHAR[]))", {"new": new}
        )


_MESSAGE_COLUMNS = """
    message_id, session_id, role, user_message_id, seq, agent, provider_id, model_id, created_at, completed_at,
    error_name, has_usage, input_tokens, output_tokens, reasoning_tokens, cache_read_tokens, cache_write_tokens,
    total_tokens, root_tokens, is_usage_missing, cost_recorded_usd, fork_key, is_fork_copy, generation, recorded_until,
    deleted_at
"""
_PART_COLUMNS = """
    part_id, message_id, session_id, position, part_type, tool_name, tool_status, title, started_at, ended_at,
    child_session_id, is_failed, is_unfinished, is_synthetic, is_shell_notice, is_orphan, input_tokens, output_tokens,
    reasoning_tokens, cache_read_tokens, cache_write_tokens, cost_recorded_usd
"""

# Which exchange every message belongs to. `place` orders the messages of a session.
# A row of the third generation has no parent: a user row opens an exchange and an idle row closes it; what a model did
# after an idle row and before the next user row is an exchange without a prompt.
_ASSIGN = """
    CREATE OR REPLACE TEMP TABLE assigned AS
    WITH counted AS (
        SELECT *, count(*) FILTER (seq IS NULL) OVER (PARTITION BY session_id) AS without_seq FROM own_messages
    ),
    placed AS (
        SELECT * EXCLUDE (without_seq), row_number() OVER (
            PARTITION BY session_id ORDER BY if(without_seq = 0, seq, NULL), created_at NULLS LAST, seq, message_id
        ) AS place
        FROM counted
    ),
    opened AS (
        SELECT p.*,
               last_value(CASE WHEN p.role = 'user' THEN p.message_id END IGNORE NULLS) OVER earlier AS open_user_id,
               last_value(if(p.role IN ('user', 'idle'), p.role, NULL) IGNORE NULLS) OVER before_this AS last_border,
               max(if(p.role IN ('assistant', 'shell', 'compaction'), p.place, NULL)) OVER before_this
                   AS last_answer_place,
               max(CASE WHEN p.role = 'idle' THEN p.place END) OVER before_this AS last_idle_place,
               first_value(if(p.role = 'user', p.message_id, NULL) IGNORE NULLS) OVER later AS next_user_id,
               parent.message_id AS parent_user_id
        FROM placed p
        LEFT JOIN own_messages parent
            ON parent.message_id = p.user_message_id AND parent.session_id = p.session_id AND parent.role = 'user'
        WINDOW earlier AS (
            PARTITION BY p.session_id ORDER BY p.place ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ), later AS (
            PARTITION BY p.session_id ORDER BY p.place ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
        ), before_this AS (
            PARTITION BY p.session_id ORDER BY p.place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        )
    )
    SELECT *, CASE
            WHEN role = 'user' THEN message_id
            WHEN parent_user_id IS NOT NULL THEN parent_user_id
            WHEN last_border = 'idle' AND (
                    role IN ('assistant', 'shell', 'compaction')
                    OR (role = 'idle' AND last_answer_place > last_idle_place)
                ) THEN session_id || ':' || last_idle_place
            WHEN role IN ('assistant', 'shell', 'compaction') THEN coalesce(open_user_id, session_id || ':start')
            ELSE coalesce(open_user_id, next_user_id, session_id || ':start')  -- a switch before the first prompt
        END AS exchange_id
    FROM opened
"""

# One trace per part; a step-start and the step-finish after it are one step; one more per message error. A row of the
# third generation has no step parts: an assistant row is a step of its own, any other row one event.
_TRACES = """
    WITH steps AS (
        SELECT p.part_id, p.part_type,
               lag(p.part_type) OVER of_message AS type_before,
               lead(p.part_type) OVER of_message AS type_after,
               lead(p.part_id) OVER of_message AS id_after
        FROM own_parts p
        WHERE p.part_type IN ('step-start', 'step-finish') AND NOT p.is_orphan
        WINDOW of_message AS (PARTITION BY p.message_id ORDER BY p.position, p.part_id)
    ),
    of_parts AS (
        SELECT p.part_id AS trace_id, m.exchange_id, p.session_id, p.message_id, m.place, p.position AS inner_position,
               CASE
                   WHEN p.part_type = 'tool' THEN if(p.tool_name = 'task', 'delegation', 'tool')
                   WHEN p.part_type = 'subtask' THEN 'delegation'
                   WHEN p.part_type IN ('step-start', 'step-finish') THEN 'step'
                   WHEN p.part_type = 'agent' OR (p.part_type = 'text' AND m.role <> 'assistant') THEN 'prompt'
                   WHEN p.part_type IN ('text', 'reasoning', 'retry', 'compaction', 'file', 'patch') THEN p.part_type
                   ELSE 'other'
               END AS kind,
               coalesce(p.tool_name, p.part_type) AS name, p.title,
               coalesce(
                   p.started_at, if(p.part_type = 'step-start' OR m.role <> 'assistant', m.created_at, NULL)
               ) AS started_at,
               coalesce(p.ended_at, finish.ended_at) AS ended_at,
               CASE
                   WHEN p.part_type = 'step-start' THEN if(finish.part_id IS NULL, 'unfinished', 'finished')
                   WHEN p.part_type = 'step-finish' THEN 'finished'
                   ELSE p.tool_status
               END AS status,
               p.is_failed, p.is_unfinished OR (p.part_type = 'step-start' AND finish.part_id IS NULL) AS is_unfinished,
               p.child_session_id,
               coalesce(finish.input_tokens, p.input_tokens) AS input_tokens,
               coalesce(finish.output_tokens, p.output_tokens) AS output_tokens,
               coalesce(finish.reasoning_tokens, p.reasoning_tokens) AS reasoning_tokens,
               coalesce(finish.cache_read_tokens, p.cache_read_tokens) AS cache_read_tokens,
               coalesce(finish.cache_write_tokens, p.cache_write_tokens) AS cache_write_tokens,
               coalesce(finish.cost_recorded_usd, p.cost_recorded_usd) AS cost_recorded_usd
        FROM own_parts p
        JOIN assigned m USING (message_id)
        LEFT JOIN steps ON steps.part_id = p.part_id
        LEFT JOIN own_parts finish
            ON p.part_type = 'step-start' AND steps.type_after = 'step-finish' AND finish.part_id = steps.id_after
        WHERE NOT p.is_orphan
          AND NOT coalesce(steps.part_type = 'step-finish' AND steps.type_before = 'step-start', FALSE)
    ),
    of_rows AS (
        SELECT message_id || if(role = 'assistant', ':step', '') AS trace_id,
               exchange_id, session_id, message_id, place, -1 AS inner_position,
               CASE role
                   WHEN 'assistant' THEN 'step'
                   WHEN 'user' THEN 'prompt' WHEN 'synthetic' THEN 'prompt'
                   WHEN 'compaction' THEN 'compaction' WHEN 'shell' THEN 'tool'
                   ELSE 'other'
               END AS kind,
               if(role = 'assistant', 'step', role) AS name,
               created_at AS started_at, completed_at AS ended_at,
               if(role = 'assistant', if(completed_at IS NULL, 'unfinished', 'finished'), NULL) AS status,
               FALSE AS is_failed, role = 'assistant' AND completed_at IS NULL AS is_unfinished,
               if(has_usage, input_tokens, NULL) AS input_tokens, if(has_usage, output_tokens, NULL) AS output_tokens,
               if(has_usage, reasoning_tokens, NULL) AS reasoning_tokens,
               if(has_usage, cache_read_tokens, NULL) AS cache_read_tokens,
               if(has_usage, cache_write_tokens, NULL) AS cache_write_tokens, cost_recorded_usd
        FROM assigned WHERE generation = 3
    ),
    of_errors AS (
        SELECT message_id || ':error' AS trace_id, exchange_id, session_id, message_id, place,
               2147483647 AS inner_position, 'error' AS kind, error_name AS name,
               coalesce(completed_at, recorded_until, created_at) AS started_at, NULL::TIMESTAMP AS ended_at,
               'error' AS status, TRUE AS is_failed, FALSE AS is_unfinished
        FROM assigned WHERE error_name IS NOT NULL
    ),
    every AS (SELECT * FROM of_parts UNION ALL BY NAME SELECT * FROM of_rows UNION ALL BY NAME SELECT * FROM of_errors)
    SELECT * EXCLUDE (place, inner_position),
           row_number() OVER (PARTITION BY session_id ORDER BY place, inner_position, trace_id) AS position
    FROM every
"""

_EXCHANGES = """
    WITH typed AS (
        SELECT message_id,
               bool_or(part_type = 'compaction') AS has_compaction,
               bool_or(is_shell_notice) AS has_shell_notice,
               bool_or(part_type = 'subtask') AS has_subtask,
               bool_or(part_type IN ('file', 'agent') OR (part_type = 'text' AND NOT is_synthetic)) AS is_typed,
               bool_or(part_type = 'text' AND is_synthetic) AS has_synthetic
        FROM own_parts WHERE NOT is_orphan GROUP BY message_id
    ),
    traced AS (
        SELECT exchange_id, session_id, count(*) AS trace_count, max(greatest(started_at, ended_at)) AS ended_at
        FROM wanted_exchange_traces GROUP BY ALL
    ),
    grouped AS (
        SELECT exchange_id, session_id,
               min(place) AS place,
               max(if(role = 'user', message_id, NULL)) AS user_message_id,
               min(created_at) AS started_at,
               max(greatest(created_at, completed_at)) AS ended_at,
               count(*) AS message_count,
               arg_max(agent, place) FILTER (role = 'assistant') AS agent,
               arg_max(provider_id, place) FILTER (role = 'assistant') AS provider_id,
               arg_max(model_id, place) FILTER (role = 'assistant') AS model_id,
               count(*) FILTER (role = 'assistant') AS answers,
               arg_max(coalesce(error_name, ''), place) FILTER (role = 'assistant') AS last_error,
               arg_max(completed_at IS NULL, place) FILTER (role = 'assistant') AS is_last_open,
               coalesce(sum(input_tokens) FILTER (has_usage AND NOT is_fork_copy), 0) AS input_tokens,
               coalesce(sum(output_tokens) FILTER (has_usage AND NOT is_fork_copy), 0) AS output_tokens,
               coalesce(sum(reasoning_tokens) FILTER (has_usage AND NOT is_fork_copy), 0) AS reasoning_tokens,
               coalesce(sum(cache_read_tokens) FILTER (has_usage AND NOT is_fork_copy), 0) AS cache_read_tokens,
               coalesce(sum(cache_write_tokens) FILTER (has_usage AND NOT is_fork_copy), 0) AS cache_write_tokens,
               coalesce(sum(total_tokens) FILTER (has_usage AND NOT is_fork_copy), 0) AS total_tokens,
               sum(cost_recorded_usd) FILTER (has_usage AND NOT is_fork_copy) AS cost_recorded_usd,
               coalesce(bool_and(is_fork_copy) FILTER (fork_key IS NOT NULL), FALSE) AS is_fork_copy
        FROM assigned GROUP BY exchange_id, session_id
    )
    SELECT g.exchange_id, g.session_id, g.user_message_id, g.started_at,
           greatest(g.ended_at, traced.ended_at) AS ended_at,
           g.agent, g.provider_id, g.model_id, g.message_count,
           coalesce(traced.trace_count, 0) AS trace_count,
           nullif(g.last_error, '') AS error_name,
           row_number() OVER (PARTITION BY g.session_id ORDER BY g.place) AS number,
           CASE
               WHEN g.user_message_id IS NULL THEN 'none'
               WHEN typed.has_compaction THEN 'compaction'
               WHEN typed.has_shell_notice THEN 'shell'
               WHEN typed.has_subtask THEN 'command'
               WHEN typed.has_synthetic AND NOT typed.is_typed THEN 'continuation'
               ELSE 'prompt'
           END AS kind,
           CASE
               WHEN coalesce(g.answers, 0) = 0 THEN 'unanswered'
               WHEN g.last_error IN ('MessageAbortedError', 'aborted') THEN 'aborted'
               WHEN g.last_error <> '' THEN 'failed'
               WHEN g.is_last_open THEN 'unfinished'
               ELSE 'answered'
           END AS status,
           g.input_tokens, g.output_tokens, g.reasoning_tokens, g.cache_read_tokens, g.cache_write_tokens,
           g.total_tokens, g.cost_recorded_usd, g.is_fork_copy
    FROM grouped g
    LEFT JOIN typed ON typed.message_id = g.user_message_id
    LEFT JOIN traced ON traced.exchange_id = g.exchange_id AND traced.session_id = g.session_id
"""
