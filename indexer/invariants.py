"""What must hold inside an index, whatever is in it: queries that count what is wrong, with what to say of it."""

from collections.abc import Sequence

import duckdb

from indexer.late_columns import MISSEARCHED

Rules = Sequence[tuple[str, str]]

_SUMS = ("root", "input", "output", "reasoning", "cache_read", "cache_write", "total")
_USED = _SUMS[1:]  # what messages used; the tokens of a root are told from these

# Derived rows follow from the others; they are computed anew by a backfill.
DERIVED: Rules = (
    (
        f"""
        WITH sums AS (
            SELECT session_id, {", ".join(f"sum({name}_tokens) AS {name}" for name in _SUMS)},
                   sum(cost_recorded_usd) AS cost
            FROM spend GROUP BY session_id
        )
        SELECT count(*) FROM session_stats t FULL JOIN sums USING (session_id)
        WHERE {" OR ".join(f"t.{name}_tokens IS DISTINCT FROM coalesce(sums.{name}, 0)" for name in _SUMS)}
           OR t.cost_recorded_usd IS DISTINCT FROM sums.cost
        """,
        "{:,} sessions do not add up",
    ),
    (
        """
        SELECT count(*) FROM sessions s FULL JOIN session_stats t USING (session_id)
        WHERE s.session_id IS NULL OR t.session_id IS NULL
        """,
        "{:,} sessions have no numbers, or numbers no session",
    ),
    (
        """
        WITH sums AS (
            SELECT session_id, count(*) AS exchanges, sum(total_tokens) AS total, sum(cost_recorded_usd) AS cost
            FROM exchanges GROUP BY session_id
        )
        SELECT count(*) FROM session_stats t LEFT JOIN sums USING (session_id)
        WHERE t.total_tokens <> coalesce(sums.total, 0) OR t.cost_recorded_usd IS DISTINCT FROM sums.cost
           OR t.exchange_count <> coalesce(sums.exchanges, 0)
        """,
        "the exchanges of {:,} sessions do not add up",
    ),
    (
        """
        WITH counts AS (SELECT session_id, exchange_id, count(*) AS traces FROM exchange_traces GROUP BY ALL)
        SELECT count(*) FROM exchanges e LEFT JOIN counts USING (session_id, exchange_id)
        WHERE e.trace_count <> coalesce(counts.traces, 0)
        """,
        "{:,} exchanges have another number of traces",
    ),
    (
        """
        WITH counts AS (
            SELECT session_id, count(*) AS parts, count(*) FILTER (part_type = 'tool') AS calls
            FROM parts GROUP BY session_id
        )
        SELECT count(*) FROM session_stats t LEFT JOIN counts USING (session_id)
        WHERE t.part_count <> coalesce(counts.parts, 0) OR t.tool_calls <> coalesce(counts.calls, 0)
        """,
        "{:,} sessions have another number of parts",
    ),
    (
        f"""
        WITH sums AS (
            SELECT root_session_id AS session_id, {", ".join(f"sum({name}_tokens) AS {name}" for name in _SUMS)},
                   sum(cost_recorded_usd) AS cost
            FROM session_traces t JOIN session_stats s ON s.session_id = t.session_id GROUP BY root_session_id
        )
        SELECT count(*) FROM sums JOIN session_stats t USING (session_id)
        WHERE {" OR ".join(f"t.subtree_{name}_tokens <> sums.{name}" for name in _SUMS)}
           OR t.subtree_cost_recorded_usd IS DISTINCT FROM sums.cost
        """,
        "{:,} session trees do not add up",
    ),
    ("SELECT count(*) FROM sessions ANTI JOIN session_traces USING (session_id)", "{:,} sessions are in no tree"),
    (
        f"""
        WITH sums AS (
            SELECT session_id, {", ".join(f"sum({name}_tokens) FILTER (kind = 'counted') AS {name}" for name in _USED)},
                   {", ".join(f"sum({name}_tokens) FILTER (kind = 'copy') AS inherited_{name}" for name in _USED)},
                   sum(cost_recorded_usd) FILTER (kind = 'counted') AS cost,
                   sum(failed_answers + aborted_answers) AS errors
            FROM index_db.main.usage_slices GROUP BY session_id
        )
        SELECT count(*) FROM session_stats t LEFT JOIN sums USING (session_id)
        WHERE {" OR ".join(f"t.{name}_tokens <> coalesce(sums.{name}, 0)" for name in _USED)}
           OR {" OR ".join(f"t.inherited_{name}_tokens <> coalesce(sums.inherited_{name}, 0)" for name in _USED)}
           OR t.cost_recorded_usd IS DISTINCT FROM sums.cost OR t.message_errors <> coalesce(sums.errors, 0)
        """,
        "the usage of {:,} sessions over time does not add up",
    ),
    (
        """
        SELECT count(*)
        FROM (SELECT part_id FROM parts WHERE part_type = 'tool' AND NOT is_orphan) p
             FULL JOIN tool_calls c USING (part_id)
        WHERE p.part_id IS NULL OR c.part_id IS NULL
        """,
        "{:,} tool calls are missing, or there without their part",
    ),
    (
        """
        WITH failed AS (
            SELECT part_id AS failure_id FROM parts WHERE is_failed AND NOT is_orphan
            UNION ALL SELECT message_id || ':error' FROM messages WHERE error_name IS NOT NULL
        )
        SELECT count(*) FROM failed a FULL JOIN failures b USING (failure_id)
        WHERE a.failure_id IS NULL OR b.failure_id IS NULL
        """,
        "{:,} failures are missing, or there without what failed",
    ),
    (
        """
        WITH endings AS (SELECT exchange_id, count(*) AS n FROM failures WHERE is_ending GROUP BY exchange_id)
        SELECT count(*) FROM exchanges e FULL JOIN endings USING (exchange_id)
        WHERE (e.error_name IS NOT NULL)::INTEGER <> coalesce(endings.n, 0)
        """,
        "{:,} failed exchanges do not have one error that ended them",
    ),
    (  # what lies there of a deleted message may name another session than it did
        """
        WITH sent AS (
            SELECT request_id FROM requests r JOIN messages m USING (message_id) LEFT JOIN parts ON part_id = request_id
            WHERE m.role <> 'user' AND r.input_tokens + r.cache_read_tokens + r.cache_write_tokens > 0
              AND coalesce(parts.session_id, m.session_id) = m.session_id
        )
        SELECT count(*) FROM sent s FULL JOIN request_chain c USING (request_id)
        WHERE s.request_id IS NULL OR c.request_id IS NULL
        """,
        "{:,} requests are missing among those of their session, or there without what they used",
    ),
    (
        """
        SELECT count(*) FROM request_chain c LEFT JOIN request_chain prior
            ON prior.session_id = c.session_id AND prior.request_id = c.prior_id AND prior.number = c.number - 1
        WHERE (c.number > 1 OR c.prior_id IS NOT NULL) AND prior.request_id IS NULL
        """,
        "{:,} requests do not follow the one before them",
    ),
    (
        f"SELECT count(*) FROM ({MISSEARCHED})",
        "{:,} texts are not searched as they are",
    ),
)

# Rows belong to others; what does not cannot be mended from inside the index.
REFERENCES: Rules = (
    ("SELECT count(*) FROM messages ANTI JOIN sessions USING (session_id)", "{:,} messages have no session"),
    (
        "SELECT count(*) FROM (SELECT message_id FROM parts WHERE NOT is_orphan) ANTI JOIN messages USING (message_id)",
        "{:,} parts have no message",
    ),
    (  # a row of the third generation has its own text
        """
        SELECT count(*) FROM part_bodies b
        WHERE part_id NOT IN (SELECT part_id FROM parts) AND part_id NOT IN (SELECT message_id FROM messages)
        """,
        "{:,} texts have no part",
    ),
    (
        "SELECT count(*) FROM exchange_traces ANTI JOIN exchanges USING (session_id, exchange_id)",
        "{:,} traces have no exchange",
    ),
    ("SELECT count(*) FROM exchanges ANTI JOIN sessions USING (session_id)", "{:,} exchanges have no session"),
    ("SELECT count(*) FROM session_traces ANTI JOIN sessions USING (session_id)", "{:,} tree rows have no session"),
    ("SELECT count(*) FROM messages ANTI JOIN sources USING (source_id)", "{:,} messages have no storage"),
    ("SELECT count(*) FROM documents ANTI JOIN sources USING (source_id)", "{:,} bad documents have no storage"),
)

# What OpenCode deleted must not be here any more, but for its numbers.
DELETED_TEXTS = """
    SELECT (SELECT count(*) FROM part_bodies JOIN parts USING (part_id) WHERE parts.deleted_at IS NOT NULL)
         + (SELECT count(*) FROM part_bodies b JOIN messages m ON m.message_id = b.part_id
            WHERE m.deleted_at IS NOT NULL)
         + (SELECT count(*) FROM parts WHERE deleted_at IS NOT NULL
                AND (title IS NOT NULL OR error_data IS NOT NULL OR target IS NOT NULL))
         + (SELECT count(*) FROM tool_calls JOIN parts USING (part_id)
            WHERE deleted_at IS NOT NULL AND tool_calls.target IS NOT NULL)
         + (SELECT count(*) FROM messages WHERE deleted_at IS NOT NULL AND error_data IS NOT NULL)
         + (SELECT count(*) FROM sessions WHERE deleted_at IS NOT NULL AND title IS NOT NULL)
"""


def broken(con: duckdb.DuckDBPyConnection, rules: Rules) -> list[str]:
    """Say which rules do not hold, and how often.

    Args:
        con: The index, open for reading.
        rules: `DERIVED` or `REFERENCES`.
    """
    return [text.format(count) for sql, text in rules if (count := number(con, sql))]


def number(con: duckdb.DuckDBPyConnection, sql: str) -> int:
    """Run a query that has one row, and return its first value."""
    row = con.execute(sql).fetchone()
    assert row is not None, "an aggregate without GROUP BY has one row"
    return int(row[0])
