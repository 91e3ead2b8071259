"""The story's schema, to compare with: typed tables without keys and indexes, rows in no order, nothing added up.

`build` makes it from an index. The texts below are what one would ask it where a page's own query reads a small table
that it does not have: the same numbers, from messages and parts. The queries of Errors and Tools run on views that tell
these tables from messages and parts; all other queries run on it as they are.
"""

from collections.abc import Sequence
from pathlib import Path

import duckdb

from indexer.database import STORAGE_OPTIONS
from indexer.duckdb_file import attach, quoted, quoted_name
from indexer.published import READER_SETTINGS

# Kept by the indexer so that pages need not add up messages and parts.
ROLLUPS = ("usage_slices", "tool_calls", "failures", "request_chain")

# As the indexer derives them, told anew by each query. One message is one slice: sums over them are the same.
_ROLLUP_VIEWS = (
    (
        """
        CREATE VIEW usage_slices AS
        SELECT m.session_id,
               CASE WHEN NOT has_usage THEN 'other' WHEN is_fork_copy THEN 'copy' ELSE 'counted' END AS kind,
               time_bucket(INTERVAL 15 minutes, created_at) AS quarter_at, agent, provider_id, model_id,
               1 AS messages, input_tokens, output_tokens, reasoning_tokens, cache_read_tokens, cache_write_tokens,
               total_tokens, cost_recorded_usd, cost_list_usd,
               (has_usage AND cost_recorded_usd IS NULL)::INTEGER AS unrecorded_messages,
               (has_usage AND is_usage_missing)::INTEGER AS missing_usage_messages,
               (has_usage AND cost_list_usd IS NULL AND total_tokens <> 0)::INTEGER AS unpriced_messages,
               if(has_usage AND cost_list_usd IS NULL, total_tokens, 0) AS unpriced_tokens,
               (error_name IS NOT NULL AND error_name NOT IN ('MessageAbortedError', 'aborted'))::INTEGER
                   AS failed_answers,
               coalesce(error_name IN ('MessageAbortedError', 'aborted'), FALSE)::INTEGER AS aborted_answers,
               (role = 'assistant' AND has_usage AND error_name IS NULL AND finish IS NULL
                   AND (completed_at IS NULL OR (total_tokens = 0 AND NOT coalesce(has_ended, FALSE))))::INTEGER
                   AS unfinished_answers,
               coalesce(calls, 0) AS calls, coalesce(failed_calls, 0) AS failed_calls
        FROM messages m LEFT JOIN (
            SELECT message_id, count(*) FILTER (is_call AND NOT is_unfinished) AS calls,
                   count(*) FILTER (is_call AND is_failed) AS failed_calls,
                   bool_or(part_type = 'step-finish')
                       OR (bool_or(NOT is_note) AND NOT bool_or(part_type = 'step-start')) AS has_ended
            FROM (
                SELECT *, part_type = 'tool' AND NOT is_orphan AS is_call,
                       part_type IN ('patch', 'retry', 'snapshot') AS is_note
                FROM parts
            )
            GROUP BY message_id
        ) USING (message_id)
        """,
    ),
    (
        """
        CREATE VIEW tool_calls AS
        SELECT part_id, m.session_id, coalesce(user_message_id, m.session_id || ':start') AS exchange_id,
               coalesce(tool_name, 'unknown') AS tool_name, m.created_at AS message_at,
               agent, provider_id, model_id, started_at,
               CASE WHEN NOT is_unfinished AND ended_at >= started_at
                    THEN date_diff('millisecond', started_at, ended_at) END AS duration_ms,
               is_failed, is_unfinished, has_usage AND NOT is_fork_copy AS is_counted, target, output_bytes, enters_at
        FROM parts p JOIN messages m USING (message_id) LEFT JOIN (SELECT part_id, enters_at FROM chain_outputs)
             USING (part_id)
        WHERE part_type = 'tool' AND NOT is_orphan
        """,
    ),
    (
        """
        CREATE VIEW chain_events AS
        WITH sent AS (
            SELECT request_id, message_id, input_tokens + cache_read_tokens + cache_write_tokens AS context_tokens,
                   cache_read_tokens, cache_read_tokens + cache_write_tokens AS cached_tokens,
                   output_tokens - reasoning_in_output_tokens AS answer_tokens
            FROM requests WHERE context_tokens > 0
        ),
        answers AS (
            SELECT message_id, session_id, created_at, seq, is_summary, deleted_at,
                   if(session_id IN (SELECT session_id FROM messages WHERE seq IS NULL), 0, seq) AS place
            FROM messages WHERE role <> 'user'
        )
        SELECT answers.*, sent.* EXCLUDE (message_id),
               lead(message_id) OVER in_order IS DISTINCT FROM message_id AS is_last,
               lag(request_id IGNORE NULLS) OVER in_order AS prior_id,
               count(request_id) OVER in_order AS number,
               count(*) FILTER (is_summary) OVER in_order AS summaries
        FROM answers LEFT JOIN sent USING (message_id)
        WINDOW in_order AS (
            PARTITION BY session_id ORDER BY place, created_at NULLS LAST, seq NULLS LAST, message_id, request_id
            ROWS UNBOUNDED PRECEDING
        )
        """,
    ),
    (
        """
        CREATE VIEW chain_outputs AS
        WITH several AS (
            SELECT message_id, list(request_id) AS ends FROM chain_events
            WHERE message_id IN (SELECT message_id FROM chain_events WHERE NOT is_last) GROUP BY message_id
        )
        SELECT part_id, events.session_id, output_bytes,
               1 + number - greatest(coalesce(len(list_filter(ends, lambda id: id > part_id)), 0) - 1, 0) AS enters_at
        FROM parts p JOIN chain_events events USING (message_id) LEFT JOIN several USING (message_id)
        WHERE part_type = 'tool' AND NOT is_orphan AND output_bytes > 0 AND is_last
          AND (p.deleted_at IS NULL OR p.deleted_at >= events.deleted_at)
        """,
    ),
    (
        """
        CREATE VIEW request_chain AS
        WITH linked AS (
            SELECT e.*, coalesce(e.summaries > p.summaries OR p.is_summary, false) AS is_compacted,
                   coalesce(p.context_tokens >= 1024 AND 2 * e.cache_read_tokens < p.cached_tokens, false)
                       AS is_collapsed,
                   coalesce(e.context_tokens - p.context_tokens - p.answer_tokens, 0) AS grown_tokens
            FROM chain_events e LEFT JOIN chain_events p ON p.request_id = e.prior_id
            WHERE e.request_id IS NOT NULL
        ),
        entering AS (
            SELECT session_id, enters_at AS number, sum(output_bytes)::BIGINT AS bytes FROM chain_outputs GROUP BY ALL
        ),
        entered AS (
            SELECT linked.*, coalesce(bytes, 0) AS entered_bytes,
                   least(greatest(grown_tokens, 0), entered_bytes // 2) AS entered_tokens,
                   count(*) FILTER (is_collapsed OR is_compacted) OVER (
                       PARTITION BY session_id ORDER BY number ROWS UNBOUNDED PRECEDING
                   ) AS stretch
            FROM linked LEFT JOIN entering USING (session_id, number)
        )
        SELECT request_id, session_id, number, prior_id, stretch, is_compacted, is_collapsed, entered_bytes,
               entered_tokens, coalesce(sum(entered_tokens) OVER (
                   PARTITION BY session_id, stretch ORDER BY number ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
               ), 0)::BIGINT AS held_tokens
        FROM entered
        """,
    ),
    (
        """
        CREATE VIEW failures AS
        WITH endings AS (
            SELECT exchange_id, arg_max(trace_id, position) AS ending_id
            FROM exchange_traces JOIN exchanges USING (exchange_id)
            WHERE exchange_traces.kind = 'error' AND exchanges.error_name IS NOT NULL
            GROUP BY exchange_id
        ),
        failed AS (
            SELECT part_id AS failure_id, p.message_id, TRUE AS is_call, p.error_category,
                   coalesce(tool_name, 'unknown') AS name, coalesce(ended_at, started_at) AS ended,
                   p.deleted_at IS NOT NULL AS is_deleted
            FROM parts p WHERE is_failed AND NOT is_orphan
            UNION ALL
            SELECT message_id || ':error', message_id, FALSE, error_category, error_name, completed_at, FALSE
            FROM messages WHERE error_name IS NOT NULL
        )
        SELECT failure_id, m.session_id, t.exchange_id, message_id, is_call,
               coalesce(failed.error_category, 'unknown') AS category, failed.name,
               NOT is_call AND failed.name IN ('MessageAbortedError', 'aborted') AS is_aborted,
               m.created_at AS message_at, coalesce(ended, m.created_at) AS failed_at, agent, provider_id, model_id,
               has_usage AND NOT is_fork_copy AS is_counted, coalesce(failure_id = ending_id, FALSE) AS is_ending,
               is_deleted OR m.deleted_at IS NOT NULL AS is_deleted
        FROM failed JOIN messages m USING (message_id)
             LEFT JOIN exchange_traces t ON t.trace_id = failure_id
             LEFT JOIN endings ON endings.exchange_id = t.exchange_id
        """,
    ),
)


def build(source: Path, target: Path, index: Path) -> None:
    """Copy an index into the story's schema.

    Args:
        source: The index's file. Only read.
        target: A file that is not there yet.
        index: What the user calls the index; named in errors.
    """
    spill = {"temp_directory": str(target.with_name("story-spill"))}
    con = attach(target, index, STORAGE_OPTIONS, READER_SETTINGS | spill | {"preserve_insertion_order": False})
    try:
        con.execute(f"ATTACH {quoted(source)} AS source (READ_ONLY)")
        tables = con.execute(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = 'source' AND schema_name = 'main'"
        ).fetchall()
        for (table,) in tables:
            if table not in ROLLUPS:
                name = quoted_name(table)
                con.execute(f"CREATE TABLE {name} AS SELECT * FROM source.{name} ORDER BY hash(rowid)")
        views = con.execute(
            "SELECT sql FROM duckdb_views() WHERE database_name = 'source' AND schema_name = 'main' AND NOT internal"
        ).fetchall()
        _create_views(con, [text for (text,) in (*views, *_ROLLUP_VIEWS)])
        con.execute("CHECKPOINT index_db")
    finally:
        con.close()


def _create_views(con: duckdb.DuckDBPyConnection, texts: Sequence[str]) -> None:
    """Create views, those that read others after these: nothing tells their order."""
    waiting = []
    for text in texts:
        try:
            con.execute(text)
        except duckdb.CatalogException:
            waiting.append(text)
    if len(waiting) == len(texts):
        con.execute(waiting[0])  # tells what is missing
    if waiting:
        _create_views(con, waiting)


_IN_PERIOD = """
    ($start::TIMESTAMP IS NULL OR created_at >= $start::TIMESTAMP)
    AND ($end::TIMESTAMP IS NULL OR created_at < $end::TIMESTAMP)
    AND (len($agents::VARCHAR[]) = 0 OR list_contains($agents::VARCHAR[], coalesce(agent, 'unknown')))
"""
# Every request once.
_COUNTED = f"FROM messages WHERE has_usage AND NOT is_fork_copy AND {_IN_PERIOD}"
_LOCAL = "(created_at AT TIME ZONE 'UTC' AT TIME ZONE $tz)"
_MODEL = "coalesce(provider_id, 'unknown') || '/' || coalesce(model_id, 'unknown')"
_SUMS = """
    sum(cost_recorded_usd) AS cost_recorded_usd, count(DISTINCT session_id) AS sessions, count(*) AS messages,
    sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, sum(reasoning_tokens) AS reasoning_tokens,
    sum(cache_read_tokens) AS cache_read_tokens, sum(cache_write_tokens) AS cache_write_tokens,
    sum(total_tokens) AS total_tokens, count(*) FILTER (cost_recorded_usd IS NULL) AS unrecorded_messages,
    count(*) FILTER (is_usage_missing) AS missing_usage_messages
"""
_CALLS = """
    SELECT message_id, count(*) FILTER (NOT is_unfinished) AS calls, count(*) FILTER (is_failed) AS failed_calls
    FROM parts WHERE part_type = 'tool' AND NOT is_orphan GROUP BY message_id
"""
_ABORTED = "error_name IN ('MessageAbortedError', 'aborted')"

_KEYS = {
    "day": f"strftime({_LOCAL}, '%Y-%m-%d')",
    "week": f"strftime(date_trunc('week', {_LOCAL}), '%Y-%m-%d')",
    "month": f"strftime({_LOCAL}, '%Y-%m')",
    "provider": "coalesce(provider_id, 'unknown')",
    "model": _MODEL,
    "agent": "coalesce(agent, 'unknown')",
    "project": "coalesce(project_id, 'unknown')",
    "session": "session_id",
}


def _with_project(by: str) -> str:
    """Write where messages are read from: with the project of their session only where it is asked for."""
    source = "messages JOIN (SELECT session_id, project_id FROM sessions) USING (session_id)"
    return _COUNTED.replace("messages", source, 1) if by == "project" else _COUNTED


def _rows(by: str) -> str:
    """Write the table of the Costs page."""
    return f"""
        SELECT {_KEYS[by]} AS key, {_SUMS},
               count(error_name) FILTER (NOT {_ABORTED}) + coalesce(sum(failed_calls), 0) AS errors
        FROM (SELECT * {_with_project(by)}) LEFT JOIN ({_CALLS}) USING (message_id)
        GROUP BY 1
        ORDER BY cost_recorded_usd DESC NULLS LAST
    """


def _series(by: str) -> str:
    """Write the cost of each day."""
    return f"""
        SELECT date_trunc('day', {_LOCAL}) AS step_at, {_KEYS[by]} AS key, sum(cost_recorded_usd) AS cost_usd
        {_with_project(by)} AND cost_recorded_usd > 0 AND created_at IS NOT NULL
        GROUP BY 1, 2
        ORDER BY 1, 2
    """


def _ranks(by: str) -> str:
    """Write the order of all keys by cost."""
    counted = _with_project(by).replace(_IN_PERIOD, "true")
    return f"SELECT {_KEYS[by]} AS key, sum(cost_recorded_usd) AS cost {counted} GROUP BY 1 ORDER BY cost DESC"


_SESSIONS = f"""
    SELECT root_session_id, count(DISTINCT session_id) AS sessions, sum(cost_recorded_usd) AS cost_recorded_usd,
           sum(total_tokens) AS total_tokens, max(created_at) AS last_active, sum(calls) AS tool_calls,
           count(error_name) FILTER (NOT {_ABORTED}) + coalesce(sum(failed_calls), 0) AS errors
    FROM (SELECT * FROM messages WHERE NOT is_fork_copy AND {_IN_PERIOD})
    JOIN (
        SELECT session_id, arg_max(root_session_id, depth) AS root_session_id FROM session_traces GROUP BY session_id
    ) USING (session_id)
    LEFT JOIN ({_CALLS}) USING (message_id)
    GROUP BY root_session_id
"""

COST_TOTALS = f"SELECT {_SUMS}, min(created_at) AS first_at, max(created_at) AS last_at {_COUNTED}"
COST_ROWS = {by: _rows(by) for by in _KEYS}
COST_SERIES = {by: _series(by) for by in ("provider", "model", "agent", "project")}
COST_RANKS = {by: _ranks(by) for by in COST_SERIES}
OVERVIEW = f"""
    SELECT CASE WHEN grouping(name) = 0 THEN name END AS name, {_SUMS},
           count(*) FILTER (NOT coalesce({_ABORTED}, false)) AS answers,
           count(error_name) FILTER (NOT {_ABORTED}) AS failed_answers,
           count(*) FILTER ({_ABORTED}) AS aborted_answers,
           sum(calls) AS calls, sum(failed_calls) AS failed_calls,
           min(created_at) AS first_at, max(created_at) AS last_at
    FROM (SELECT *, coalesce(agent, 'unknown') AS name {_COUNTED}) LEFT JOIN ({_CALLS}) USING (message_id)
    GROUP BY GROUPING SETS ((), (name))
"""
_HITS = """
    SELECT session_id FROM sessions WHERE contains(lower(title), lower($text))
    UNION
    SELECT body.session_id FROM part_bodies body JOIN parts USING (part_id)
    WHERE contains(lower(body.text), lower($text)) AND part_type = 'text' AND NOT is_synthetic AND NOT is_orphan
    UNION
    SELECT body.session_id FROM part_bodies body JOIN messages ON messages.message_id = body.part_id
    WHERE contains(lower(body.text), lower($text)) AND role = 'user'
"""


def _searched(plain: str) -> str:
    """Narrow a list of sessions to those that hold a text."""
    return plain.replace(_IN_PERIOD, f"session_id IN ({_HITS})", 1)


SESSION_ROWS = f"""
    SELECT listed.*, session.title, session.created_at, project.name, project.worktree
    FROM ({_SESSIONS}) listed JOIN sessions session ON session.session_id = root_session_id
         LEFT JOIN projects project USING (project_id)
    ORDER BY session.created_at DESC LIMIT 100
"""
SESSION_ROWS_SEARCHED = _searched(SESSION_ROWS)
NAMES = f"""
    SELECT 'agent' AS kind, agent AS name FROM messages GROUP BY 2
    UNION ALL SELECT 'model', {_MODEL} FROM messages GROUP BY 2
    UNION ALL SELECT 'project', project_id FROM sessions GROUP BY 2
"""
# Calls belong to the time and agent of their message.
_ALL_CALLS = f"""
    FROM parts JOIN (SELECT message_id, created_at, agent, provider_id, model_id {_COUNTED}) USING (message_id)
    WHERE part_type = 'tool' AND NOT is_orphan
"""
_DURATION = """
    CASE WHEN NOT is_unfinished AND ended_at >= started_at THEN date_diff('millisecond', started_at, ended_at) END
"""
SLOWEST_TOOLS = f"""
    SELECT tool_name, count(*) FILTER (NOT is_unfinished) AS calls, count(*) FILTER (is_failed) AS failed_calls,
           count({_DURATION}) AS timed_calls, quantile_cont({_DURATION}, 0.95) AS p95_ms
    {_ALL_CALLS}
    GROUP BY tool_name
    ORDER BY p95_ms DESC NULLS LAST LIMIT 5
"""
NEWEST_ERRORS = f"""
    SELECT failed.*, title
    FROM (
        SELECT message_id AS error_id, session_id, coalesce(completed_at, created_at) AS failed_at, error_name AS name,
               error_data
        {_COUNTED} AND error_name IS NOT NULL AND NOT {_ABORTED} AND deleted_at IS NULL
        UNION ALL
        SELECT part_id, parts.session_id, coalesce(ended_at, started_at, created_at), tool_name, error_data
        {_ALL_CALLS} AND is_failed AND deleted_at IS NULL
    ) failed LEFT JOIN sessions USING (session_id)
    ORDER BY failed_at DESC NULLS LAST LIMIT 8
"""
