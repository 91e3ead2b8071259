"""When the work is done: by weekday and hour of the viewer's clock."""

from dataclasses import dataclass
from decimal import Decimal

import duckdb

from queries import narrow
from queries.period import Scope
from queries.rows import fetch_rows


@dataclass(frozen=True, slots=True)
class WeekHour:
    """What was done in one hour of one weekday, over all weeks together.

    Attributes:
        weekday: 0 is Monday.
        hour: 0 to 23, of the local clock: where it is put back, the hour that comes twice counts both times.
        messages: Messages that can carry usage: answers. Each request once.
        total_tokens: Every token once.
        cost_recorded_usd: Exact. None if none was recorded.
        cost_list_usd: At list prices. None if no model of it has a known price.
    """

    weekday: int
    hour: int
    messages: int
    total_tokens: int
    cost_recorded_usd: Decimal | None
    cost_list_usd: Decimal | None


def week_hours(con: duckdb.DuckDBPyConnection, scope: Scope) -> list[WeekHour]:
    """Add up the usage of a scope by weekday and hour.

    Args:
        con: The index, open for reading.
        scope: What to look at. Its zone sets the clock.

    Returns:
        By weekday from Monday, then by hour; hours without a message are left out, as are messages of unknown time.
    """
    return fetch_rows(con, narrow.narrowed(_WEEK_HOURS, scope), narrow.values(scope), WeekHour)


_WEEK_HOURS = f"""
    WITH {narrow.HITS}, {narrow.SLICED}, {narrow.TIMED}
    SELECT (isodow(local_time) - 1)::INTEGER       AS weekday,
           hour(local_time)::INTEGER               AS hour,
           sum(messages)::BIGINT                   AS messages,
           sum(total_tokens)::BIGINT               AS total_tokens,
           sum(cost_recorded_usd)::DECIMAL(38, 12) AS cost_recorded_usd,
           sum(cost_list_usd)::DECIMAL(38, 12)     AS cost_list_usd
    FROM timed
    WHERE local_time IS NOT NULL
    GROUP BY ALL
    ORDER BY weekday, hour
"""
