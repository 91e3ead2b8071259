"""The requests of each session in the order they were sent: what of one was in the cache for the next.

A provider's cache holds the beginning of what a session sends, its *prefix*. What one request read from it or wrote
into it is there for the next one. Where the next one reads less than half of that, the prefix *collapsed*. Between two
collapses or compactions lies a *stretch*: there the context only grows.
"""

from queries import narrow

SMALLEST_PREFIX = 1_024  # tokens; providers cache nothing shorter
CACHE_MINUTES = 5  # how long they keep it unused

# Every request of the sessions in scope, so that the first one in a period has one before it; `is_counted` are those in
# scope. Requests that sent nothing that is known are left out, as if they had not been. What a message without one did
# comes after the request before it. Order: as in the timeline, but by id inside a message: the places of parts would
# be read of all parts, for the few messages of old clients that have several requests. Sessions and requests are
# numbered, since numbers are sorted and joined faster than ids; numbered once, hence MATERIALIZED.
CHAINED = f"""
    {narrow.SLICED},
    chosen AS MATERIALIZED (
        SELECT session_id, row_number() OVER () AS session_number FROM (SELECT DISTINCT session_id FROM sliced)
    ),
    sent AS MATERIALIZED (
        SELECT row_number() OVER () AS request_number, request_id, message_id, created_at,
               coalesce(agent, 'unknown') AS agent, {narrow.MODEL} AS model,
               input_tokens, cache_read_tokens, cache_write_tokens, input_usd, cache_read_usd, cache_write_usd,
               input_tokens + cache_read_tokens + cache_write_tokens AS context_tokens,
               cache_read_tokens + cache_write_tokens                AS cached_tokens,
               output_tokens - reasoning_in_output_tokens            AS answer_tokens,
               NOT is_fork_copy AND {narrow.in_period("created_at")} AND {narrow.BY_NAME} AS is_counted
        FROM priced_requests
        WHERE session_id IN (SELECT session_id FROM chosen) AND context_tokens > 0
    ),
    answers AS (
        SELECT message_id, session_number, created_at AS message_at, is_summary, deleted_at,
               if(session_id IN (SELECT session_id FROM messages WHERE seq IS NULL), 0, seq) AS place
        FROM messages JOIN chosen USING (session_id) WHERE role <> 'user'
    ),
    events AS (
        SELECT session_number, message_id, message_at, deleted_at, is_summary, request_number, request_id,
               lead(message_id) OVER in_order IS DISTINCT FROM message_id AS is_last,
               count(request_number) OVER in_order        AS number,
               count(*) FILTER (is_summary) OVER in_order AS summaries
        FROM answers LEFT JOIN sent USING (message_id)
        WINDOW in_order AS (
            PARTITION BY session_number ORDER BY place, message_at NULLS LAST, message_id, request_id
            ROWS UNBOUNDED PRECEDING
        )
    ),
    linked AS (
        SELECT session_number, number, sent.*,
               lag(created_at) OVER in_order     AS prior_at,
               lag(agent) OVER in_order          AS prior_agent,
               lag(model) OVER in_order          AS prior_model,
               lag(context_tokens) OVER in_order AS prior_context_tokens,
               lag(cached_tokens) OVER in_order  AS prior_cached_tokens,
               lag(answer_tokens) OVER in_order  AS prior_answer_tokens,
               coalesce(summaries > lag(summaries) OVER in_order OR lag(is_summary) OVER in_order, false)
                   AS is_compacted,
               coalesce(prior_context_tokens >= {SMALLEST_PREFIX}
                        AND 2 * cache_read_tokens < prior_cached_tokens, false) AS is_collapsed
        FROM events JOIN sent USING (request_number)
        WINDOW in_order AS (PARTITION BY session_number ORDER BY number)
    ),
    chained AS (
        SELECT *, count(*) FILTER (is_collapsed OR is_compacted)
                      OVER (PARTITION BY session_number ORDER BY number ROWS UNBOUNDED PRECEDING) AS stretch
        FROM linked
    )
"""
