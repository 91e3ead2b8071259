"""Queries to begin with: what the SQL page offers, and docs/sql.md shows for the plain client."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Example:
    """A query that one may change.

    Attributes:
        name: What it answers.
        sql: Its text.
    """

    name: str
    sql: str


EXAMPLES = (
    Example(
        "Cost per day and model",
        """\
SELECT date_trunc('day', created_at)::DATE AS day, model,
       sum(cost_recorded_usd)              AS cost_recorded_usd,
       sum(total_tokens)                   AS total_tokens
FROM spend
GROUP BY day, model
ORDER BY day DESC, cost_recorded_usd DESC NULLS LAST, model""",
    ),
    Example(
        "Slowest tool calls",
        """\
SELECT c.tool_name, c.duration_ms, c.target, c.started_at, s.title, c.session_id
FROM tool_calls c JOIN sessions s USING (session_id)
WHERE c.duration_ms IS NOT NULL
ORDER BY c.duration_ms DESC, c.part_id
LIMIT 50""",
    ),
    Example(
        "Most cache writes",
        """\
SELECT s.title, t.cache_write_tokens, t.cache_read_tokens, t.input_tokens, t.cost_recorded_usd, s.session_id
FROM session_stats t JOIN sessions s USING (session_id)
WHERE t.cache_write_tokens > 0
ORDER BY t.cache_write_tokens DESC, s.session_id
LIMIT 50""",
    ),
)
