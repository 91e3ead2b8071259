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
# numbered, since numbers are sorted and joined faster than ids; numbered once, hence MATERIALIZED. What is sorted has
# numbers only: names and ids are those of `sent`.
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
               lag(request_number IGNORE NULLS) OVER in_order AS prior_number,
               count(request_number) OVER in_order            AS number,
               count(*) FILTER (is_summary) OVER in_order     AS summaries
        FROM answers LEFT JOIN sent USING (message_id)
        WINDOW in_order AS (
            PARTITION BY session_number ORDER BY place, message_at NULLS LAST, message_id, request_id
            ROWS UNBOUNDED PRECEDING
        )
    ),
    placed AS MATERIALIZED (
        SELECT session_number, number, request_number, prior_number, summaries, is_summary, is_counted,
               cache_read_tokens, cache_read_usd, context_tokens, cached_tokens, answer_tokens
        FROM events JOIN sent USING (request_number)
    ),
    linked AS (
        SELECT placed.*,
               prior.context_tokens AS prior_context_tokens,
               prior.cached_tokens  AS prior_cached_tokens,
               prior.answer_tokens  AS prior_answer_tokens,
               coalesce(placed.summaries > prior.summaries OR prior.is_summary, false) AS is_compacted,
               coalesce(prior.context_tokens >= {SMALLEST_PREFIX}
                        AND 2 * placed.cache_read_tokens < prior.cached_tokens, false) AS is_collapsed
        FROM placed LEFT JOIN placed prior ON prior.request_number = placed.prior_number
    ),
    chained AS (
        SELECT *, count(*) FILTER (is_collapsed OR is_compacted)
                      OVER (PARTITION BY session_number ORDER BY number ROWS UNBOUNDED PRECEDING) AS stretch
        FROM linked
    )
"""
