"""What the pages ask, over messages and parts alone: slow, and the measure of the queries over the small tables."""

from queries.narrow import HITS

_IN_SESSION = """
    (len($projects::VARCHAR[]) = 0 OR list_contains($projects::VARCHAR[], coalesce(project_id, 'unknown')))
    AND ($text = '' OR session_id IN (SELECT session_id FROM hits))
"""

# A period leaves out what has no known time; `all` keeps it.
_IN_PERIOD = """
    ($start::TIMESTAMP IS NULL OR created_at >= $start::TIMESTAMP)
    AND ($end::TIMESTAMP IS NULL OR created_at < $end::TIMESTAMP)
"""

_BY_NAME = """
    (len($agents::VARCHAR[]) = 0 OR list_contains($agents::VARCHAR[], coalesce(agent, 'unknown')))
    AND (len($models::VARCHAR[]) = 0 OR list_contains($models::VARCHAR[], model))
"""

_SCOPED = f"""
    scoped AS (SELECT * FROM spend WHERE {_IN_PERIOD} AND {_BY_NAME} AND {_IN_SESSION})
"""

# Local wall-clock time of each quarter of an hour that occurs. Every offset in use is a multiple of it, and
# converting a few thousand quarters instead of every row takes a fifth of the time.
_LOCAL_TIMES = """
    quarters AS (SELECT DISTINCT time_bucket(INTERVAL 15 minutes, created_at) AS quarter FROM scoped),
    local_times AS (SELECT quarter, quarter AT TIME ZONE 'UTC' AT TIME ZONE $tz AS local_time FROM quarters),
    timed AS (
        SELECT scoped.*, local_time
        FROM scoped LEFT JOIN local_times ON quarter = time_bucket(INTERVAL 15 minutes, created_at)
    )
"""

_WEEK = "(local_time::DATE - ((isodow(local_time) + 6 - $first_weekday) % 7)::INTEGER)"
_KEYS = {
    "day": "strftime(local_time, '%Y-%m-%d')",
    "week": f"strftime({_WEEK}, '%Y-%m-%d')",
    "month": "strftime(local_time, '%Y-%m')",
    "provider": "coalesce(provider_id, 'unknown')",
    "model": "model",
    "agent": "coalesce(agent, 'unknown')",
    "project": "coalesce(project_id, 'unknown')",
    "session": "session_id",
}
_LABELS = {
    "project": "LEFT JOIN (SELECT project_id AS key, coalesce(nullif(name, ''), nullif(parse_filename(worktree), ''))"
    " AS label FROM projects) USING (key)",
    "session": "LEFT JOIN (SELECT session_id AS key, title AS label FROM sessions) USING (key)",
}
_NO_LABELS = "LEFT JOIN (SELECT NULL::VARCHAR AS key, NULL::VARCHAR AS label WHERE false) USING (key)"

_SUMS = """
    sum(cost_recorded_usd)::DECIMAL(38, 12)                        AS cost_recorded_usd,
    count(DISTINCT session_id)                                     AS sessions,
    count(*)                                                       AS messages,
    coalesce(sum(input_tokens), 0)::BIGINT                         AS input_tokens,
    coalesce(sum(output_tokens), 0)::BIGINT                        AS output_tokens,
    coalesce(sum(reasoning_tokens), 0)::BIGINT                     AS reasoning_tokens,
    coalesce(sum(cache_read_tokens), 0)::BIGINT                    AS cache_read_tokens,
    coalesce(sum(cache_write_tokens), 0)::BIGINT                   AS cache_write_tokens,
    coalesce(sum(total_tokens), 0)::BIGINT                         AS total_tokens,
    count(*) FILTER (cost_recorded_usd IS NULL)                    AS unrecorded_messages,
    count(*) FILTER (is_usage_missing)                             AS missing_usage_messages,
    sum(cost_list_usd)::DECIMAL(38, 12)                            AS cost_list_usd,
    count(*) FILTER (cost_list_usd IS NULL AND total_tokens <> 0)  AS unpriced_messages
"""

TOTALS = f"""
    WITH {HITS}, {_SCOPED},
    copies AS (
        SELECT count(*) AS fork_copies, coalesce(sum(total_tokens), 0)::BIGINT AS fork_copy_tokens
        FROM (
            SELECT c.session_id, c.created_at, c.agent, c.total_tokens, s.project_id,
                   coalesce(c.provider_id, 'unknown') || '/' || coalesce(c.model_id, 'unknown') AS model
            FROM fork_copies c JOIN sessions s USING (session_id)
        )
        WHERE {_IN_PERIOD} AND {_BY_NAME} AND {_IN_SESSION}
    ),
    timeless AS (
        SELECT count(*) AS unknown_time_messages
        FROM spend
        WHERE created_at IS NULL AND ($start::TIMESTAMP IS NOT NULL OR $end::TIMESTAMP IS NOT NULL)
          AND {_BY_NAME} AND {_IN_SESSION}
    ),
    sums AS (
        SELECT {_SUMS},
               coalesce(sum(total_tokens) FILTER (cost_recorded_usd IS NULL), 0)::BIGINT AS unrecorded_tokens,
               coalesce(sum(total_tokens) FILTER (cost_list_usd IS NULL), 0)::BIGINT AS unpriced_tokens,
               sum(cost_list_usd) FILTER (cost_recorded_usd = 0)::DECIMAL(38, 12) AS free_list_usd,
               min(created_at) AS first_at,
               max(created_at) AS last_at
        FROM scoped
    )
    SELECT *, cache_read_tokens / nullif(input_tokens + cache_read_tokens + cache_write_tokens, 0) AS cache_read_share
    FROM sums, copies, timeless
"""


def _rows_sql(by: str) -> str:
    """Write the query of one grouping."""
    order = (
        "key DESC NULLS LAST"
        if by in ("day", "week", "month")
        else "cost_recorded_usd DESC NULLS LAST, total_tokens DESC, key"
    )
    source = "timed" if by in ("day", "week", "month") else "scoped"
    return f"""
        WITH {HITS}, {_SCOPED}, {_LOCAL_TIMES},
        failed AS (
            SELECT message_id, count(*) AS failed_calls FROM parts WHERE is_failed AND NOT is_orphan GROUP BY message_id
        ),
        grouped AS (
            SELECT {_KEYS[by]} AS key, {_SUMS},
                   (count(error_name) FILTER (NOT list_contains($aborted::VARCHAR[], error_name))
                    + coalesce(sum(failed_calls), 0))::BIGINT AS errors
            FROM {source} LEFT JOIN failed USING (message_id)
            GROUP BY 1
        )
        SELECT grouped.*, label,
               cost_recorded_usd::DOUBLE / nullif(sum(cost_recorded_usd) OVER ()::DOUBLE, 0) AS share
        FROM grouped {_LABELS.get(by, _NO_LABELS)}
        ORDER BY {order}
        LIMIT $limit::BIGINT OFFSET $offset::BIGINT
    """


ROWS = {by: _rows_sql(by) for by in _KEYS}

SERIES = {
    dimension: f"""
        WITH {HITS}, {_SCOPED}, {_LOCAL_TIMES}
        SELECT if($step = 'week', {_WEEK}, date_trunc($step, local_time))::TIMESTAMP AS step_at,
               {_KEYS[dimension]}             AS key,
               sum(cost_recorded_usd)::DOUBLE AS cost_usd
        FROM timed
        WHERE local_time IS NOT NULL AND cost_recorded_usd > 0
        GROUP BY 1, 2
        ORDER BY 1, 2
    """
    for dimension in ("provider", "model", "agent", "project")
}

RANKS = {
    dimension: f"""
        SELECT {_KEYS[dimension]} AS key,
               row_number() OVER (
                   ORDER BY coalesce(sum(cost_recorded_usd), 0) DESC, sum(total_tokens) DESC, {_KEYS[dimension]}
               ) AS rank
        FROM spend
        GROUP BY 1
        ORDER BY rank
    """
    for dimension in ("provider", "model", "agent", "project")
}

ACTIVITY = f"""
    WITH {HITS}, {_SCOPED},
    parted AS (
        SELECT scoped.*, coalesce(created_at < $now_start::TIMESTAMP, false) AS is_before
        FROM scoped
        WHERE NOT is_before OR created_at < $before_end::TIMESTAMP
    ),
    called AS (
        SELECT message_id, count(*) AS calls, count(*) FILTER (is_failed) AS failed_calls
        FROM parts
        WHERE part_type = 'tool' AND NOT is_orphan AND NOT is_unfinished
        GROUP BY message_id
    ),
    children AS (SELECT session_id, session_id AS child_id FROM sessions WHERE parent_id IS NOT NULL),
    held AS (
        SELECT message_id, list(DISTINCT part_type) AS types
        FROM parts WHERE part_type NOT IN ('patch', 'retry', 'snapshot') GROUP BY message_id
    ),
    named AS (
        SELECT parted.*, coalesce(agent, 'unknown') AS agent_name, calls, failed_calls, child_id,
               coalesce(list_contains($aborted::VARCHAR[], error_name), false) AS is_aborted,
               role = 'assistant' AND error_name IS NULL AND finish IS NULL
                   AND (completed_at IS NULL OR (total_tokens = 0 AND (
                       types IS NULL OR (list_contains(types, 'step-start') AND NOT list_contains(types, 'step-finish'))
                   ))) AS is_unfinished
        FROM parted JOIN (SELECT message_id, role, finish, completed_at FROM messages) USING (message_id)
        LEFT JOIN called USING (message_id) LEFT JOIN children USING (session_id) LEFT JOIN held USING (message_id)
    )
    SELECT is_before,
           CASE WHEN grouping(agent_name) = 0 THEN agent_name END       AS agent,
           sum(cost_recorded_usd)::DECIMAL(38, 12)                      AS cost_recorded_usd,
           sum(total_tokens)::BIGINT                                    AS total_tokens,
           count(DISTINCT session_id)                                   AS sessions,
           count(DISTINCT child_id)                                     AS child_sessions,
           count(*) FILTER (NOT is_aborted AND NOT is_unfinished)       AS answers,
           count(error_name) FILTER (NOT is_aborted)                    AS failed_answers,
           count(*) FILTER (is_aborted)                                 AS aborted_answers,
           count(*) FILTER (is_unfinished)                              AS unfinished_answers,
           coalesce(sum(calls), 0)::BIGINT                              AS calls,
           coalesce(sum(failed_calls), 0)::BIGINT                       AS failed_calls,
           min(created_at)                                              AS first_at,
           max(created_at)                                              AS last_at
    FROM named
    GROUP BY GROUPING SETS ((is_before), (is_before, agent_name))
"""

SLOWEST = f"""
    WITH {HITS}, {_SCOPED},
    calls AS (
        SELECT coalesce(tool_name, 'unknown') AS tool_name, is_failed, is_unfinished,
               CASE WHEN NOT is_unfinished AND ended_at >= started_at
                    THEN date_diff('millisecond', started_at, ended_at) END AS duration_ms
        FROM parts SEMI JOIN scoped USING (message_id)
        WHERE part_type = 'tool' AND NOT is_orphan
    )
    SELECT tool_name,
           count(*) FILTER (NOT is_unfinished)   AS calls,
           count(*) FILTER (is_failed)           AS failed_calls,
           count(*) FILTER (is_unfinished)       AS unfinished_calls,
           count(duration_ms)                    AS timed_calls,
           quantile_cont(duration_ms, 0.95)      AS p95_ms
    FROM calls
    GROUP BY tool_name
    ORDER BY timed_calls >= $few DESC, p95_ms DESC NULLS LAST, tool_name
    LIMIT $limit::BIGINT
"""

NEWEST = rf"""
    WITH {HITS}, {_SCOPED},
    failures AS (
        SELECT message_id AS error_id, coalesce(completed_at, created_at) AS failed_at, false AS is_call,
               error_name AS name, session_id, error_data
        FROM messages SEMI JOIN scoped USING (message_id)
        WHERE error_name IS NOT NULL AND NOT list_contains($aborted::VARCHAR[], error_name) AND deleted_at IS NULL
        UNION ALL
        SELECT part_id, coalesce(ended_at, started_at, created_at), true, coalesce(tool_name, 'unknown'),
               scoped.session_id, error_data
        FROM parts JOIN scoped USING (message_id)
        WHERE is_failed AND NOT is_orphan AND parts.deleted_at IS NULL AND scoped.deleted_at IS NULL
    ),
    newest AS MATERIALIZED (SELECT * FROM failures ORDER BY failed_at DESC NULLS LAST, error_id LIMIT $limit::BIGINT),
    read AS (
        SELECT *, is_call AND name <> 'invalid' AND error_data->>'$.status' = 'completed' AS has_exit,
               CASE WHEN is_call THEN error_data->>'$.message'
                    ELSE coalesce(error_data->>'$.data.message', error_data->>'$.message') END AS report,
               trim(regexp_replace(report, '</?\w+>', ' ', 'g'), E' \t\r\n') AS output
        FROM newest
    )
    SELECT error_id,
           failed_at AS occurred_at,
           is_call, name,
           nullif(left(trim(CASE WHEN has_exit THEN regexp_extract(output, '[^\r\n]*$')
                                 ELSE regexp_extract(report, '\S[^\r\n]*') END), 300), '') AS message,
           CASE WHEN has_exit THEN coalesce(error_data->>'$.exit', 'none') END AS exit_code,
           session_id,
           nullif(trim(title), '') AS session_title
    FROM read LEFT JOIN sessions USING (session_id)
    ORDER BY failed_at DESC NULLS LAST, error_id
"""

_ORDERS = {
    "newest": "started_utc DESC NULLS LAST",
    "oldest": "started_utc NULLS LAST",
    "last active": "last_active_utc DESC NULLS LAST",
    "cost": "cost_recorded_usd DESC NULLS LAST",
    "tokens": "total_tokens DESC",
    "active time": "active_ms DESC",
    "errors": "errors DESC",
    "title": "lower(title) NULLS LAST",
}

_MATCHING = f"""
    {HITS},
    scoped AS (
        SELECT session_id, sum(cost_recorded_usd)::DECIMAL(38, 12) AS cost_recorded_usd,
               sum(total_tokens)::BIGINT AS total_tokens
        FROM spend
        WHERE {_IN_PERIOD} AND {_BY_NAME} AND {_IN_SESSION}
        GROUP BY session_id
    ),
    named AS (
        SELECT session_id, created_at,
               CASE WHEN has_usage THEN coalesce(agent, 'unknown') ELSE agent END AS agent,
               CASE WHEN has_usage THEN coalesce(provider_id, 'unknown') || '/' || coalesce(model_id, 'unknown')
                    ELSE provider_id || '/' || model_id END AS model
        FROM messages
    ),
    matching AS (
        SELECT session_id
        FROM (
            SELECT DISTINCT session_id FROM named
            WHERE {_IN_PERIOD}
              AND (len($agents::VARCHAR[]) = 0 OR coalesce(list_contains($agents::VARCHAR[], agent), false))
              AND (len($models::VARCHAR[]) = 0 OR coalesce(list_contains($models::VARCHAR[], model), false))
        ) JOIN sessions USING (session_id)
        WHERE {_IN_SESSION}
        UNION ALL
        SELECT session_id
        FROM sessions ANTI JOIN messages USING (session_id)
        WHERE len($agents::VARCHAR[]) = 0 AND len($models::VARCHAR[]) = 0
          AND {_IN_PERIOD} AND {_IN_SESSION}
    ),
    climb AS (
        SELECT session_id, session_id AS root_id, parent_id AS next_id, [session_id] AS path
        FROM sessions
        WHERE $fold
        UNION ALL
        SELECT climb.session_id, above.session_id, above.parent_id, list_append(path, above.session_id)
        FROM climb JOIN sessions above ON above.session_id = next_id
        WHERE NOT list_contains(path, above.session_id)
    ),
    roots AS (
        SELECT session_id,
               CASE WHEN coalesce(list_contains(path, next_id), false) THEN session_id ELSE root_id END AS root_id
        FROM climb
        QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY len(path) DESC) = 1
        UNION ALL
        SELECT session_id, session_id FROM sessions WHERE NOT $fold
    ),
    rooted AS (
        SELECT session_id, root_id, cost_recorded_usd, total_tokens
        FROM matching JOIN roots USING (session_id) LEFT JOIN scoped USING (session_id)
    )
"""

SESSIONS_TOTAL = f"""
    WITH RECURSIVE {_MATCHING}
    SELECT count(DISTINCT root_id)                         AS sessions,
           count(*) FILTER (session_id <> root_id)         AS children,
           sum(cost_recorded_usd)::DECIMAL(38, 12)         AS cost_recorded_usd,
           coalesce(sum(total_tokens), 0)::BIGINT          AS total_tokens
    FROM rooted
"""


def _sessions_sql(sort: str) -> str:
    """Write the query of one order."""
    return f"""
        WITH RECURSIVE {_MATCHING},
        listed AS (
            SELECT root_id, sum(cost_recorded_usd)::DECIMAL(38, 12) AS cost_recorded_usd,
                   coalesce(sum(total_tokens), 0)::BIGINT AS total_tokens
            FROM rooted GROUP BY root_id
        ),
        trees AS (
            SELECT root_id, count(*) - 1 AS folded,
                   sum(stats.cost_recorded_usd)::DECIMAL(38, 12)                  AS session_cost_usd,
                   coalesce(sum(stats.total_tokens), 0)::BIGINT                   AS session_tokens,
                   coalesce(sum(stats.inherited_total_tokens), 0)::BIGINT         AS inherited_tokens,
                   coalesce(sum(stats.fork_copies), 0)::BIGINT                    AS fork_copies,
                   coalesce(sum(stats.tool_calls), 0)::BIGINT                     AS tool_calls,
                   coalesce(sum(message_errors + failed_tool_calls - (
                       SELECT count(*) FROM messages m
                       WHERE m.session_id = roots.session_id AND list_contains($aborted::VARCHAR[], error_name)
                   )), 0)::BIGINT AS errors,
                   max(stats.last_message_at)                                     AS last_active_utc
            FROM roots LEFT JOIN session_stats stats USING (session_id)
            GROUP BY root_id
        ),
        page AS MATERIALIZED (
            SELECT session.session_id, session.title, last_agent AS agent,
                   last_provider_id || '/' || last_model_id AS model,
                   session.project_id,
                   coalesce(nullif(project.name, ''), nullif(parse_filename(project.worktree), '')) AS project_name,
                   coalesce(session.created_at, first_message_at) AS started_utc,
                   started_utc AT TIME ZONE 'UTC' AT TIME ZONE $tz AS started_at,
                   coalesce(last_active_utc, session.created_at)  AS last_active_utc,
                   coalesce(active_ms, 0)     AS active_ms,
                   coalesce(exchange_count, 0) AS exchanges,
                   trees.tool_calls, trees.errors,
                   listed.cost_recorded_usd, listed.total_tokens,
                   session_cost_usd, session_tokens, trees.inherited_tokens,
                   CASE WHEN $fold THEN folded ELSE coalesce(stats.child_sessions, 0) END AS children,
                   trees.fork_copies,
                   session.parent_id IS NOT NULL      AS is_child,
                   session.deleted_at IS NOT NULL     AS is_deleted,
                   session.archived_at IS NOT NULL    AS is_archived,
                   session.is_missing_in_newer, session.is_placeholder
            FROM listed
                 JOIN sessions session ON session.session_id = listed.root_id
                 JOIN trees USING (root_id)
                 LEFT JOIN session_stats stats ON stats.session_id = listed.root_id
                 LEFT JOIN projects project ON project.project_id = session.project_id
            ORDER BY {_ORDERS[sort]}, session_id
            LIMIT $limit::BIGINT OFFSET $offset::BIGINT
        )
        SELECT page.* FROM page
        ORDER BY {_ORDERS[sort]}, session_id
    """


SESSIONS = {sort: _sessions_sql(sort) for sort in _ORDERS}

AGENTS = """
        SELECT CASE WHEN has_usage THEN coalesce(agent, 'unknown') ELSE agent END AS name
        FROM messages GROUP BY 1 HAVING name IS NOT NULL ORDER BY count(*) DESC, name
    """
MODELS = """
        SELECT CASE WHEN has_usage THEN coalesce(provider_id, 'unknown') || '/' || coalesce(model_id, 'unknown')
                    ELSE provider_id || '/' || model_id END AS name
        FROM messages GROUP BY 1 HAVING name IS NOT NULL ORDER BY count(*) DESC, name
    """
