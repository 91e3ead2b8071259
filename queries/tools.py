"""Which tools are slow or failing."""

from dataclasses import dataclass

import duckdb

from queries import narrow
from queries.period import Scope
from queries.rows import fetch_rows

FEW_CALLS = 20  # below this one slow call decides the 95th percentile


@dataclass(frozen=True, slots=True)
class ToolSpeed:
    """How long the calls of one tool take, and how often they fail.

    Attributes:
        calls: Calls that ended, well or not.
        failed_calls: Those that failed.
        unfinished_calls: Calls that never ended: in no other number.
        timed_calls: Calls whose start and end are known.
        p95_ms: 19 of 20 timed calls were this fast or faster. None without any.
    """

    tool_name: str
    calls: int
    failed_calls: int
    unfinished_calls: int
    timed_calls: int
    p95_ms: float | None

    @property
    def is_rare(self) -> bool:
        """Tell whether there are too few calls for the percentile to mean much."""
        return self.timed_calls < FEW_CALLS

    @property
    def failed_share(self) -> float | None:
        """Return the part of the calls that failed, 0 to 1. None without any."""
        return self.failed_calls / self.calls if self.calls else None


def slowest_tools(con: duckdb.DuckDBPyConnection, scope: Scope, limit: int | None = None) -> list[ToolSpeed]:
    """Rank the tools by their 95th percentile.

    Args:
        con: The index, open for reading.
        scope: What to look at: calls belong to the time, agent and model of their message.
        limit: Rows at most. None: all.

    Returns:
        One row per tool that was called: those with enough calls first, slowest first, then by name.
    """
    values = {**narrow.values(scope), "limit": limit, "few": FEW_CALLS}
    return fetch_rows(con, narrow.narrowed(_SLOWEST, scope), values, ToolSpeed)


_SLOWEST = f"""
    WITH {narrow.HITS}
    SELECT tool_name,
           count(*) FILTER (NOT is_unfinished)   AS calls,
           count(*) FILTER (is_failed)           AS failed_calls,
           count(*) FILTER (is_unfinished)       AS unfinished_calls,
           count(duration_ms)                    AS timed_calls,
           quantile_cont(duration_ms, 0.95)      AS p95_ms
    FROM tool_calls
    WHERE {narrow.IN_SCOPE}
    GROUP BY tool_name
    ORDER BY timed_calls >= $few DESC, p95_ms DESC NULLS LAST, tool_name
    LIMIT $limit::BIGINT
"""
