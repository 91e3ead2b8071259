"""The SQL of a scope over the small tables of reports: tool calls, failures and usage slices."""

from queries import narrow

# The sessions are looked up only where a project or a text is asked for.
_BY_WHOM = f"""
    (len($agents::VARCHAR[]) = 0 OR list_contains($agents::VARCHAR[], coalesce(agent, 'unknown')))
    AND (len($models::VARCHAR[]) = 0 OR list_contains(
        $models::VARCHAR[], coalesce(provider_id, 'unknown') || '/' || coalesce(model_id, 'unknown')))
    AND ((len($projects::VARCHAR[]) = 0 AND $text = '')
         OR session_id IN (SELECT session_id FROM sessions WHERE {narrow.IN_SESSION}))
"""

# Of `tool_calls` and `failures`: they belong to the time of their message. What forks copied is not left out yet.
IN_SCOPE = f"""
    ($start::TIMESTAMP IS NULL OR message_at >= $start::TIMESTAMP)
    AND ($end::TIMESTAMP IS NULL OR message_at < $end::TIMESTAMP)
    AND {_BY_WHOM}
"""

# Of `usage_slices`.
SLICE_IN_SCOPE = f"""
    kind = 'counted'
    AND ($start::TIMESTAMP IS NULL OR quarter_at >= $start::TIMESTAMP)
    AND ($end::TIMESTAMP IS NULL OR quarter_at < $end::TIMESTAMP)
    AND {_BY_WHOM}
"""
