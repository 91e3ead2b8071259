"""What happened lately, beside the same length of time before: each request of the view `spend` once."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

import duckdb

from queries import narrow
from queries.period import Period, Scope
from queries.rows import fetch_rows


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
        answers: Messages that count, without those that the user cut short and those that never ended.
        failed_answers: Answers that ended in an error.
        aborted_answers: Messages that the user cut short; in no other number of answers.
        unfinished_answers: Those whose request never came to an end, without an error; alike.
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
    unfinished_answers: int
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


_NOTHING = Activity(False, None, None, 0, 0, 0, 0, 0, 0, 0, 0, 0, None, None)


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
    both = replace(scope, period=Period(compared.start or scope.period.start, scope.period.end))
    values = {**narrow.values(both), "now_start": scope.period.start, "before_end": compared.end}
    rows = fetch_rows(con, narrow.narrowed(_ACTIVITY, both), values, Activity)
    whole = {row.is_before: row for row in rows if row.agent is None}
    return Overview(
        now=whole.get(False, _NOTHING),
        before=whole.get(True),
        agents=tuple(row for row in rows if row.agent is not None and not row.is_before),
    )


_COUNTERS = (
    *("total_tokens", "answers", "failed_answers", "aborted_answers", "unfinished_answers", "calls", "failed_calls"),
)
_SUMS = f"""
    sum(cost_recorded_usd)::DECIMAL(38, 12) AS cost_recorded_usd,
    {", ".join(f"sum({counter})::BIGINT AS {counter}" for counter in _COUNTERS)},
    min(first_at) AS first_at, max(last_at) AS last_at
"""

# Without a period messages of unknown time belong to it; with one, the condition on the start has left them out. What
# each session did is added up first, which leaves a few rows and counts each session once.
_ACTIVITY = f"""
    WITH {narrow.HITS}, {narrow.SLICED},
    parted AS (
        SELECT * REPLACE (coalesce(agent, 'unknown') AS agent),
               messages - aborted_answers - unfinished_answers AS answers,
               coalesce(quarter_at < $now_start::TIMESTAMP, false) AS is_before
        FROM sliced
        WHERE NOT is_before OR quarter_at < $before_end::TIMESTAMP
    ),
    of_agents AS MATERIALIZED (SELECT is_before, session_id, agent, {_SUMS} FROM parted GROUP BY ALL),
    of_sessions AS (SELECT is_before, session_id, NULL AS agent, {_SUMS} FROM of_agents GROUP BY ALL),
    children AS (SELECT session_id, TRUE AS is_child FROM sessions WHERE parent_id IS NOT NULL)
    SELECT is_before, agent, {_SUMS}, count(*) AS sessions, count(is_child) AS child_sessions
    FROM (SELECT * FROM of_agents UNION ALL BY NAME SELECT * FROM of_sessions) LEFT JOIN children USING (session_id)
    GROUP BY is_before, agent
    ORDER BY cost_recorded_usd DESC NULLS LAST, total_tokens DESC, agent
"""
