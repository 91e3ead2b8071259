"""What happened lately, beside the same length of time before. Selected from the view `spend`: each request once."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import duckdb

from queries import narrow
from queries.period import Period, Scope
from queries.rows import fetch_rows

# How the generations name an answer that the user cut short: neither a success nor an error.
ABORTED = ("MessageAbortedError", "aborted")


@dataclass(frozen=True, slots=True)
class Activity:
    """What was done and what went wrong: in all, or by one agent.

    Attributes:
        is_before: In the stretch before the scope, not in the scope itself.
        agent: `unknown` where messages name none. None: everything together.
        cost_recorded_usd: Sum of the recorded costs, exact. None if none was recorded.
        total_tokens: Every token once.
        sessions: Sessions with a message that counts; so are child sessions.
        child_sessions: Those among them that another session delegated to.
        answers: Messages that count, without those that the user cut short.
        failed_answers: Answers that ended in an error.
        aborted_answers: Messages that the user cut short; in no other number of answers.
        calls: Tool calls that ended. Unfinished ones are neither good nor bad.
        failed_calls: Tool calls that failed.
        first_at: Time of the first counting message, naive UTC. None if there is none with a time.
        last_at: Time of the last one.
    """

    is_before: bool
    agent: str | None
    cost_recorded_usd: Decimal | None
    total_tokens: int
    sessions: int
    child_sessions: int
    answers: int
    failed_answers: int
    aborted_answers: int
    calls: int
    failed_calls: int
    first_at: datetime | None
    last_at: datetime | None

    @property
    def errors(self) -> int:
        """Count what went wrong."""
        return self.failed_answers + self.failed_calls

    @property
    def error_rate(self) -> float | None:
        """Return the part of answers and tool calls that failed, 0 to 1. None if there was neither."""
        tried = self.answers + self.calls
        return self.errors / tried if tried else None


@dataclass(frozen=True, slots=True)
class Overview:
    """A scope beside the stretch before it.

    Attributes:
        now: Everything in the scope.
        before: Everything in the stretch before. None if nothing was asked for or found there.
        agents: Who did it: dearest first, then most tokens, then by name.
    """

    now: Activity
    before: Activity | None
    agents: tuple[Activity, ...]


_NOTHING = Activity(False, None, None, 0, 0, 0, 0, 0, 0, 0, 0, None, None)


def overview(con: duckdb.DuckDBPyConnection, scope: Scope, before: Period | None = None) -> Overview:
    """Add up a scope and the stretch before it, in one pass.

    Args:
        con: The index, open for reading.
        scope: What to look at.
        before: An earlier period with both ends, to compare with; see `period.before`.

    Returns:
        Zeros and None if nothing matches. Cost, tokens and sessions are those of `costs.cost_totals`.
    """
    compared = before or Period()
    values = {
        **narrow.values(scope),
        "start": compared.start or scope.period.start,
        "now_start": scope.period.start,
        "before_end": compared.end,
        "aborted": list(ABORTED),
    }
    rows = sorted(fetch_rows(con, _ACTIVITY, values, Activity), key=_place)
    whole = {row.is_before: row for row in rows if row.agent is None}
    return Overview(
        now=whole.get(False, _NOTHING),
        before=whole.get(True),
        agents=tuple(row for row in rows if row.agent is not None and not row.is_before),
    )


def _place(row: Activity) -> tuple[bool, Decimal, int, str]:
    """Order rows: dearest first, unknown cost last, then most tokens, then by name."""
    has_none = row.cost_recorded_usd is None
    return has_none, -(row.cost_recorded_usd or Decimal(0)), -row.total_tokens, row.agent or ""


# Without a period messages of unknown time belong to it; with one, the condition on the start has left them out.
# The rows are sorted in Python: with count(DISTINCT) and ORDER BY together, DuckDB 2.0.0 takes the estimate of one row
# for a bound of the sum, sorts it as one byte, and returns 100 + 100 tokens as -56 (tests/queries/test_overview.py).
_ACTIVITY = f"""
    WITH {narrow.HITS}, {narrow.SCOPED},
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
    named AS (
        SELECT parted.*, coalesce(agent, 'unknown') AS agent_name, calls, failed_calls, child_id,
               coalesce(list_contains($aborted::VARCHAR[], error_name), false) AS is_aborted
        FROM parted LEFT JOIN called USING (message_id) LEFT JOIN children USING (session_id)
    )
    SELECT is_before,
           CASE WHEN grouping(agent_name) = 0 THEN agent_name END       AS agent,
           sum(cost_recorded_usd)::DECIMAL(38, 12)                      AS cost_recorded_usd,
           sum(total_tokens)::BIGINT                                    AS total_tokens,
           count(DISTINCT session_id)                                   AS sessions,
           count(DISTINCT child_id)                                     AS child_sessions,
           count(*) FILTER (NOT is_aborted)                             AS answers,
           count(error_name) FILTER (NOT is_aborted)                    AS failed_answers,
           count(*) FILTER (is_aborted)                                 AS aborted_answers,
           coalesce(sum(calls), 0)::BIGINT                              AS calls,
           coalesce(sum(failed_calls), 0)::BIGINT                       AS failed_calls,
           min(created_at)                                              AS first_at,
           max(created_at)                                              AS last_at
    FROM named
    GROUP BY GROUPING SETS ((is_before), (is_before, agent_name))
"""
