"""How long tool calls take, how often they fail, and what they work on: everything the Tools page shows.

All of it comes from `tool_calls`: a call belongs to the time, agent and model of its message, and what forks copied
counts once.
"""

from dataclasses import dataclass
from datetime import datetime

import duckdb

from queries import narrow
from queries.period import Scope
from queries.rows import fetch_row, fetch_rows
from queries.tools import FEW_CALLS
from queries.waste import COMMANDS

GROUPINGS = ("tool", "agent", "model", "program")
BINS_PER_DECADE = 5

_KEYS = {
    "tool": "tool_name",
    "agent": "coalesce(agent, 'unknown')",
    "model": narrow.MODEL,
    "program": "coalesce(target, 'unknown')",
}
# Of models both names, which are put together for a few groups then, not for every call.
_GROUPED_BY = {**_KEYS, "model": "coalesce(provider_id, 'unknown'), coalesce(model_id, 'unknown')"}


@dataclass(frozen=True, slots=True)
class CallTotals:
    """Tool calls in a scope.

    Attributes:
        calls: Calls that ended, well or not.
        unfinished_calls: Calls that never ended: in no other number.
        total_ms: Time of all timed calls, added up: calls that ran beside each other count each. None
            without any.
        output_bytes: What the calls gave back, added up.
        first_at: Time of the first call's message, naive UTC. None if there is none with a time.
        last_at: Time of the last one's.
    """

    tools: int
    calls: int
    failed_calls: int
    unfinished_calls: int
    total_ms: int | None
    output_bytes: int
    first_at: datetime | None
    last_at: datetime | None

    @property
    def success_share(self) -> float | None:
        """Return the part of the calls that went well, 0 to 1. None without any."""
        return 1 - self.failed_calls / self.calls if self.calls else None


@dataclass(frozen=True, slots=True)
class CallReport:
    """How the calls of one group went.

    Attributes:
        key: Tool, agent, `provider/model`, or program of a shell command.
        calls: Calls that ended, well or not.
        unfinished_calls: Calls that never ended: in no other number.
        timed_calls: Calls whose start and end are known. The times are of these, and None without any.
        p50_ms: Half of them were this fast or faster; and so on.
        total_ms: Their time, added up. None without any.
        output_bytes: What the calls gave back, added up.
        last_at: Time of the newest call's message, naive UTC. None if there is none with a time.
    """

    key: str
    calls: int
    failed_calls: int
    unfinished_calls: int
    timed_calls: int
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: int | None
    total_ms: int | None
    output_bytes: int
    last_at: datetime | None

    @property
    def is_rare(self) -> bool:
        """Tell whether there are too few calls for the percentiles to mean much."""
        return self.timed_calls < FEW_CALLS

    @property
    def success_share(self) -> float | None:
        """Return the part of the calls that went well, 0 to 1. None without any."""
        return 1 - self.failed_calls / self.calls if self.calls else None


@dataclass(frozen=True, slots=True)
class LatencyBin:
    """Calls of about one duration.

    Attributes:
        place: Which bin: from 10^(place / 5) ms up to that of the next one. Bin 0 holds what was faster, too.
        failed_calls: Those among them that failed.
    """

    place: int
    calls: int
    failed_calls: int

    @property
    def from_ms(self) -> float:
        """Return the shortest duration in it."""
        return bin_start(self.place)


@dataclass(frozen=True, slots=True)
class LatencyPoint:
    """How long calls took in one step of time.

    Attributes:
        step_at: Start of the hour, day, week or month in the viewer's zone, naive.
        calls: Timed calls.
    """

    step_at: datetime
    calls: int
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class SlowCall:
    """One timed call.

    Attributes:
        part_id: Id of its event.
        session_title: None if the session has none.
        started_at: Naive UTC.
        model: `provider/model`.
        target: Program, or files, one a line. None where the tool names none.
    """

    part_id: str
    session_id: str
    session_title: str | None
    tool_name: str
    started_at: datetime
    duration_ms: int
    is_failed: bool
    agent: str | None
    model: str
    target: str | None
    output_bytes: int | None


@dataclass(frozen=True, slots=True)
class _Least:
    """The fastest of the slowest calls."""

    least_ms: int


@dataclass(frozen=True, slots=True)
class FileUse:
    """A file that calls named.

    Attributes:
        path: As the calls name it.
        calls: Calls that named it, unfinished ones too.
        reads: Those that read it; the others write.
        last_at: Time of the newest call's message, naive UTC. None if there is none with a time.
    """

    path: str
    calls: int
    reads: int
    failed_calls: int
    last_at: datetime | None

    @property
    def edits(self) -> int:
        """Calls that wrote it, or tried to."""
        return self.calls - self.reads


def bin_start(place: int) -> float:
    """Return the shortest duration of a bin, in ms."""
    return float(10 ** (place / BINS_PER_DECADE))


def call_totals(con: duckdb.DuckDBPyConnection, scope: Scope, tool: str | None = None) -> CallTotals:
    """Add up the tool calls.

    Args:
        con: The index, open for reading.
        scope: What to look at.
        tool: Only calls of this tool. None: of all.

    Returns:
        Zeros and None if nothing matches.
    """
    return fetch_row(con, narrow.narrowed(_TOTALS, scope), _values(scope, tool), CallTotals)


def call_reports(con: duckdb.DuckDBPyConnection, by: str, scope: Scope, tool: str | None = None) -> list[CallReport]:
    """Report on the calls of each group.

    Args:
        con: The index, open for reading.
        by: One of `GROUPINGS`; programs are those of shell commands alone.
        scope: What to look at.
        tool: Only calls of this tool. None: of all.

    Returns:
        One row per group that was called: most calls first, then by key.
    """
    return fetch_rows(con, narrow.narrowed(_REPORTS[by], scope), _values(scope, tool), CallReport)


def latency_bins(con: duckdb.DuckDBPyConnection, tool: str, scope: Scope) -> list[LatencyBin]:
    """Count the calls of a tool by duration.

    Args:
        con: The index, open for reading.
        tool: Its name.
        scope: What to look at.

    Returns:
        Fastest first; bins without a call are left out.
    """
    return fetch_rows(
        con, narrow.narrowed(_BINS, scope), {**_values(scope, tool), "per_decade": BINS_PER_DECADE}, LatencyBin
    )


def latency_series(con: duckdb.DuckDBPyConnection, tool: str, step: str, scope: Scope) -> list[LatencyPoint]:
    """Follow how long the calls of a tool take.

    Args:
        con: The index, open for reading.
        tool: Its name.
        step: hour, day, week or month.
        scope: What to look at.

    Returns:
        By time; steps without a timed call have no point.
    """
    return fetch_rows(con, narrow.narrowed(_SERIES, scope), {**_values(scope, tool), "step": step}, LatencyPoint)


def slowest_calls(
    con: duckdb.DuckDBPyConnection, scope: Scope, tool: str | None = None, limit: int | None = None
) -> list[SlowCall]:
    """List the calls that took longest.

    Args:
        con: The index, open for reading.
        scope: What to look at.
        tool: Only calls of this tool. None: of all.
        limit: Rows at most. None: all.

    Returns:
        Slowest first, then by id. Calls whose duration is not known are left out.
    """
    values = {**_values(scope, tool), "limit": limit}
    least = fetch_row(con, narrow.narrowed(_LEAST, scope), values, _Least)
    return fetch_rows(con, narrow.narrowed(_SLOWEST, scope), {**values, "least_ms": least.least_ms}, SlowCall)


def file_uses(
    con: duckdb.DuckDBPyConnection, scope: Scope, tool: str | None = None, limit: int | None = None
) -> list[FileUse]:
    """Rank the files that calls name.

    Args:
        con: The index, open for reading.
        scope: What to look at.
        tool: Only calls of this tool. None: of all that read or edit files.
        limit: Rows at most. None: all.

    Returns:
        Most used first, then by path.
    """
    return fetch_rows(con, narrow.narrowed(_FILES, scope), {**_values(scope, tool), "limit": limit}, FileUse)


def _values(scope: Scope, tool: str | None) -> dict[str, object]:
    """Return the named values that the texts below use."""
    return {**narrow.values(scope), "tool": tool, "shells": list(COMMANDS)}


_CALLS = f"""
    calls AS (
        SELECT * FROM tool_calls
        WHERE ($tool::VARCHAR IS NULL OR tool_name = $tool) AND {narrow.IN_SCOPE}
    )
"""

_TOTALS = f"""
    WITH {narrow.HITS}, {_CALLS}
    SELECT count(DISTINCT tool_name)                  AS tools,
           count(*) FILTER (NOT is_unfinished)        AS calls,
           count(*) FILTER (is_failed)                AS failed_calls,
           count(*) FILTER (is_unfinished)            AS unfinished_calls,
           sum(duration_ms)::BIGINT                   AS total_ms,
           coalesce(sum(output_bytes), 0)::BIGINT     AS output_bytes,
           min(message_at)                            AS first_at,
           max(message_at)                            AS last_at
    FROM calls
"""

# One sort serves all percentiles.
_REPORTS = {
    by: f"""
        WITH {narrow.HITS}, {_CALLS},
        grouped AS (
            SELECT {_KEYS[by]}                                        AS key,
                   count(*) FILTER (NOT is_unfinished)                AS calls,
                   count(*) FILTER (is_failed)                        AS failed_calls,
                   count(*) FILTER (is_unfinished)                    AS unfinished_calls,
                   count(duration_ms)                                 AS timed_calls,
                   quantile_cont(duration_ms, [0.5, 0.9, 0.95, 0.99]) AS percentiles,
                   max(duration_ms)                                   AS max_ms,
                   sum(duration_ms)::BIGINT                           AS total_ms,
                   coalesce(sum(output_bytes), 0)::BIGINT             AS output_bytes,
                   max(message_at)                                    AS last_at
            FROM calls
            WHERE {"list_contains($shells::VARCHAR[], tool_name)" if by == "program" else "true"}
            GROUP BY {_GROUPED_BY[by]}
        )
        SELECT * EXCLUDE (percentiles),
               percentiles[1] AS p50_ms, percentiles[2] AS p90_ms, percentiles[3] AS p95_ms, percentiles[4] AS p99_ms
        FROM grouped
        ORDER BY calls DESC, key
    """
    for by in GROUPINGS
}

_BINS = f"""
    WITH {narrow.HITS}, {_CALLS}
    SELECT floor($per_decade * log10(greatest(duration_ms, 1)))::INTEGER AS place,
           count(*)                                                      AS calls,
           count(*) FILTER (is_failed)                                   AS failed_calls
    FROM calls WHERE duration_ms IS NOT NULL
    GROUP BY place ORDER BY place
"""

# Local time of each quarter of an hour that occurs: every offset in use is a multiple of it, and they are few.
_SERIES = f"""
    WITH {narrow.HITS}, {_CALLS},
    timed AS (
        SELECT time_bucket(INTERVAL 15 minutes, message_at) AS quarter, duration_ms
        FROM calls WHERE duration_ms IS NOT NULL AND message_at IS NOT NULL
    ),
    steps AS (
        SELECT quarter, {narrow.step_at("(quarter AT TIME ZONE 'UTC' AT TIME ZONE $tz)")} AS step_at
        FROM (SELECT DISTINCT quarter FROM timed)
    ),
    grouped AS (
        SELECT step_at, count(*) AS calls, quantile_cont(duration_ms, [0.5, 0.95]) AS percentiles
        FROM timed JOIN steps USING (quarter) GROUP BY step_at
    )
    SELECT step_at, calls, percentiles[1] AS p50_ms, percentiles[2] AS p95_ms FROM grouped ORDER BY step_at
"""

# How slow the slowest are is looked for in one column first, so that the others are read of few rows.
_LEAST = f"""
    WITH {narrow.HITS}, {_CALLS}
    SELECT coalesce(min(duration_ms), 0) AS least_ms
    FROM (SELECT duration_ms FROM calls WHERE duration_ms IS NOT NULL
          ORDER BY duration_ms DESC LIMIT $limit::BIGINT)
"""

_SLOWEST = f"""
    WITH {narrow.HITS}, {_CALLS},
    slowest AS (
        SELECT * FROM calls WHERE duration_ms >= $least_ms
        ORDER BY duration_ms DESC, part_id LIMIT $limit::BIGINT
    )
    SELECT part_id, session_id, nullif(trim(title), '') AS session_title, tool_name, started_at, duration_ms, is_failed,
           agent, {narrow.MODEL} AS model, target, output_bytes
    FROM slowest LEFT JOIN sessions USING (session_id)
    ORDER BY duration_ms DESC, part_id
"""

# Equal targets are counted before they are taken apart: most calls name one of a few files.
_FILES = f"""
    WITH {narrow.HITS}, {_CALLS},
    targets AS (
        SELECT target,
               count(*)                               AS calls,
               count(*) FILTER (tool_name = 'read')   AS reads,
               count(*) FILTER (is_failed)            AS failed_calls,
               max(message_at)                        AS last_at
        FROM calls WHERE target IS NOT NULL AND NOT list_contains($shells::VARCHAR[], tool_name)
        GROUP BY target
    ),
    named AS (SELECT unnest(string_split(target, E'\\n')) AS path, * EXCLUDE (target) FROM targets)
    SELECT path,
           sum(calls)::BIGINT          AS calls,
           sum(reads)::BIGINT          AS reads,
           sum(failed_calls)::BIGINT   AS failed_calls,
           max(last_at)                AS last_at
    FROM named
    GROUP BY path
    ORDER BY calls DESC, path
    LIMIT $limit::BIGINT
"""
