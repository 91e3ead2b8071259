"""The requests of the sessions in a scope with their places in these: what of one was in the cache for the next.

How they follow each other is told when they are written (`request_chain`, docs/metrics.md).
"""

from queries import narrow

SMALLEST_PREFIX = 1_024  # tokens; what sent less before cannot collapse, as providers cache nothing shorter
CACHE_MINUTES = 5  # how long they keep it unused

# Every request of the sessions in scope, as outputs of calls before a period are read in it; `is_counted` are those in
# scope. Sessions are numbered, since numbers are sorted and joined faster than ids; numbered once, hence MATERIALIZED.
CHAINED = f"""
    {narrow.SLICED},
    chosen AS MATERIALIZED (
        SELECT session_id, row_number() OVER () AS session_number FROM (SELECT DISTINCT session_id FROM sliced)
    ),
    chained AS MATERIALIZED (
        SELECT request_id, message_id, session_number, created_at, coalesce(agent, 'unknown') AS agent,
               {narrow.MODEL} AS model, input_tokens, cache_read_tokens, cache_write_tokens,
               input_usd, cache_read_usd, cache_write_usd,
               NOT is_fork_copy AND {narrow.in_period("created_at")} AND {narrow.BY_NAME} AS is_counted,
               number, stretch, is_compacted, is_collapsed, entered_bytes, entered_tokens, held_tokens,
               least(held_tokens, cache_read_tokens) AS rent_tokens
        FROM priced_requests
             JOIN (SELECT * EXCLUDE (session_id) FROM request_chain JOIN chosen USING (session_id)) USING (request_id)
    )
"""
