"""What it cost, and what drives it: the view `spend`, as `usage_slices` add it up; each request once."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import duckdb

from queries import narrow
from queries.period import Scope
from queries.rows import fetch_row, fetch_rows

GROUPINGS = ("day", "week", "month", "provider", "model", "agent", "project", "session")
TIME_GROUPINGS = ("day", "week", "month")
DIMENSIONS = ("provider", "model", "agent", "project")
STEPS = ("hour", "day", "week", "month")
RECORDED, LIST = BASES = ("recorded", "list")

_KEYS = {
    "day": "local_time::DATE",
    "week": "(date_trunc('week', local_time - to_days($first_weekday)) + to_days($first_weekday))::DATE",
    "month": "date_trunc('month', local_time)::DATE",
    "provider": "coalesce(provider_id, 'unknown')",
    "model": narrow.MODEL,
    "agent": "coalesce(agent, 'unknown')",
    "project": "coalesce(project_id, 'unknown')",
    "session": "session_id",
}
_NAMES = {
    "day": "strftime(key, '%Y-%m-%d')",
    "week": "strftime(key, '%Y-%m-%d')",
    "month": "strftime(key, '%Y-%m')",
}
_LABELS = {
    "project": "SELECT project_id AS key, coalesce(nullif(name, ''), nullif(parse_filename(worktree), '')) AS label"
    " FROM projects",
    "session": "SELECT session_id AS key, title AS label FROM sessions",
}


@dataclass(frozen=True, slots=True)
class CostTotals:
    """Spend in a scope, and what is not in it.

    Attributes:
        cost_recorded_usd: Sum of the recorded costs, exact. None if none was recorded.
        sessions: Sessions with a message that counts.
        messages: Messages that count.
        input_tokens: Without cached.
        output_tokens: As recorded: may contain reasoning.
        total_tokens: Every token once.
        cache_read_share: Cache reads of everything that was sent to a model (input, cache read and write). None if
            nothing was sent.
        unrecorded_messages: Counting messages without a recorded cost; their tokens are in, their cost is not.
        unrecorded_tokens: Tokens of those.
        cost_list_usd: What these tokens cost at public prices of their days, exact. None if no price is known.
        unpriced_messages: Counting messages with tokens whose model has no known price; not in `cost_list_usd`.
        unpriced_tokens: Tokens of those.
        free_list_usd: Share of `cost_list_usd` whose recorded cost is 0: subscriptions and free models.
        missing_usage_messages: Messages whose request ended without usage: unknown, not free.
        unknown_time_messages: Messages that the period left out because their time is not known.
        fork_copies: Copies that forks made of counted messages; not in any number here.
        fork_copy_tokens: Tokens of those.
        first_at: Time of the first counting message, naive UTC. None if there is none with a time.
        last_at: Time of the last one.
    """

    cost_recorded_usd: Decimal | None
    sessions: int
    messages: int
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    total_tokens: int
    cache_read_share: float | None
    unrecorded_messages: int
    unrecorded_tokens: int
    cost_list_usd: Decimal | None
    unpriced_messages: int
    unpriced_tokens: int
    free_list_usd: Decimal | None
    missing_usage_messages: int
    unknown_time_messages: int
    fork_copies: int
    fork_copy_tokens: int
    first_at: datetime | None
    last_at: datetime | None

    def cost_usd(self, basis: str) -> Decimal | None:
        """Return the cost on one of `BASES`, as it is shown."""
        return _shown_usd(self, basis)


@dataclass(frozen=True, slots=True)
class CostRow:
    """Spend of one group.

    Attributes:
        key: Day or first day of a week (2026-11-03), month (2026-11), provider, `provider/model`, agent, project id or
            session id. None: the time is not known.
        label: Name of a project or title of a session where there is one, else None.
        cost_recorded_usd: Exact. None if none was recorded.
        share: Part of the scope's cost on the basis that was asked for, 0 to 1. None if there is no cost.
        sessions: Sessions with a message in the group. A session may be in several groups.
        errors: Answers that ended in an error, unless the user cut them short, plus tool calls that failed.
        unrecorded_messages: Messages without a recorded cost; not in `cost_recorded_usd`.
        cost_list_usd: At list prices, exact. None if no price is known.
        unpriced_messages: Messages with tokens and no known price; not in `cost_list_usd`.
    """

    key: str | None
    label: str | None
    cost_recorded_usd: Decimal | None
    share: float | None
    sessions: int
    messages: int
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    total_tokens: int
    errors: int
    unrecorded_messages: int
    missing_usage_messages: int
    cost_list_usd: Decimal | None
    unpriced_messages: int

    def cost_usd(self, basis: str) -> Decimal | None:
        """Return the cost on one of `BASES`, as it is shown."""
        return _shown_usd(self, basis)


@dataclass(frozen=True, slots=True)
class CostPoint:
    """Cost of one key in one step of time.

    Attributes:
        step_at: Start of the hour, day, week or month in the viewer's zone, naive.
        cost_usd: For drawing only.
    """

    step_at: datetime
    key: str
    cost_usd: float

    @property
    def amount(self) -> float:
        """Return what is drawn."""
        return self.cost_usd


@dataclass(frozen=True, slots=True)
class UnpricedModel:
    """A model whose list price is not known.

    Attributes:
        model: `provider/model`.
        messages: With tokens.
    """

    model: str
    messages: int
    tokens: int


@dataclass(frozen=True, slots=True)
class RankedKey:
    """A provider, model, agent or project, and its place by cost over all data.

    Attributes:
        rank: From 1: dearest, then most tokens, then by name.
    """

    key: str
    rank: int


def known_list_usd(cost_list_usd: Decimal | None, unpriced_messages: int) -> Decimal | None:
    """Return a list price that says something. None where all that is known of it is 0, and other tokens have no price.

    Args:
        cost_list_usd: The sum of what is known: a request of a priced model that used no token costs 0.
        unpriced_messages: Messages with tokens that are not in it.
    """
    return cost_list_usd if cost_list_usd or not unpriced_messages else None


def _shown_usd(row: CostTotals | CostRow, basis: str) -> Decimal | None:
    """Return the cost of a sum on one of `BASES`, as it is shown: see `known_list_usd`."""
    if basis == RECORDED:
        return row.cost_recorded_usd
    return known_list_usd(row.cost_list_usd, row.unpriced_messages)


def per_session(cost_usd: Decimal | None, sessions: int) -> Decimal | None:
    """Divide a cost by a number of sessions, to 12 decimals. None if either side is missing."""
    if cost_usd is None or not sessions:
        return None
    return (cost_usd / sessions).quantize(Decimal("1e-12"))


def cost_totals(con: duckdb.DuckDBPyConnection, scope: Scope) -> CostTotals:
    """Add up the spend of a scope.

    Args:
        con: The index, open for reading.
        scope: What to look at.

    Returns:
        The totals; zeros and None if nothing matches.
    """
    return fetch_row(con, narrow.narrowed(_TOTALS, scope), narrow.values(scope), CostTotals)


def cost_rows(
    con: duckdb.DuckDBPyConnection,
    by: str,
    scope: Scope,
    limit: int | None = None,
    offset: int = 0,
    basis: str = RECORDED,
) -> list[CostRow]:
    """Break the spend of a scope down.

    Args:
        con: The index, open for reading.
        by: One of `GROUPINGS`.
        scope: What to look at.
        limit: Rows at most. None: all.
        offset: Rows to leave out first.
        basis: One of `BASES`: what shares and the order go by.

    Returns:
        One row per group with a message in the scope. Days, weeks and months newest first, unknown time last; others
        dearest first, then most tokens, then by key. The rows of all pages add up to `cost_totals`.
    """
    values = {**narrow.values(scope), "limit": limit, "offset": offset}
    return fetch_rows(con, narrow.narrowed(_ROWS[by, basis], scope), values, CostRow)


def cost_series(
    con: duckdb.DuckDBPyConnection, dimension: str, step: str, scope: Scope, basis: str = RECORDED
) -> list[CostPoint]:
    """Follow the cost over time.

    Args:
        con: The index, open for reading.
        dimension: One of `DIMENSIONS`.
        step: One of `STEPS`.
        scope: What to look at.
        basis: One of `BASES`.

    Returns:
        By time, then key; steps and keys without a cost have no point, nor do messages of unknown time.
    """
    sql = narrow.narrowed(_SERIES[dimension, basis], scope)
    return fetch_rows(con, sql, {**narrow.values(scope), "step": step}, CostPoint)


def unpriced_models(con: duckdb.DuckDBPyConnection, scope: Scope) -> list[UnpricedModel]:
    """List the models of a scope whose list price is not known, most tokens first, then by name."""
    return fetch_rows(con, narrow.narrowed(_UNPRICED, scope), narrow.values(scope), UnpricedModel)


def cost_ranks(con: duckdb.DuckDBPyConnection, dimension: str) -> list[RankedKey]:
    """Rank the keys of a dimension over all data, whatever the filters: their colours must not move.

    Args:
        con: The index, open for reading.
        dimension: One of `DIMENSIONS`.

    Returns:
        Every key, rank 1 first.
    """
    return fetch_rows(con, _RANKS[dimension], {}, RankedKey)


_COUNTERS = (
    *("messages", "input_tokens", "output_tokens", "reasoning_tokens", "cache_read_tokens", "cache_write_tokens"),
    *("total_tokens", "unrecorded_messages", "missing_usage_messages", "unpriced_messages"),
)
_COSTS = {RECORDED: "cost_recorded_usd", LIST: "cost_list_usd"}


def _sums(*counters: str) -> str:
    """Write the sums of the costs and some counters."""
    counted = (f"coalesce(sum({counter}), 0)::BIGINT AS {counter}" for counter in counters)
    costs = (f"sum({cost})::DECIMAL(38, 12) AS {cost}" for cost in _COSTS.values())
    return ", ".join((*costs, *counted))


_TOTALS = f"""
    WITH {narrow.HITS}, {narrow.SLICED},
    copies AS (
        SELECT coalesce(sum(messages), 0)::BIGINT AS fork_copies,
               coalesce(sum(total_tokens), 0)::BIGINT AS fork_copy_tokens
        FROM usage_slices
        WHERE kind = 'copy' AND {narrow.in_period("quarter_at")} AND {narrow.BY_NAME} AND {narrow.IN_SESSION}
    ),
    timeless AS (
        SELECT coalesce(sum(messages), 0)::BIGINT AS unknown_time_messages
        FROM usage_slices
        WHERE quarter_at IS NULL AND kind = 'counted' AND ($start::TIMESTAMP IS NOT NULL OR $end::TIMESTAMP IS NOT NULL)
          AND {narrow.BY_NAME} AND {narrow.IN_SESSION}
    ),
    sums AS (
        SELECT {_sums(*_COUNTERS, "unrecorded_tokens", "unpriced_tokens")},
               sum(free_list_usd)::DECIMAL(38, 12) AS free_list_usd,
               count(DISTINCT session_id) AS sessions,
               min(first_at)              AS first_at,
               max(last_at)               AS last_at
        FROM sliced
    )
    SELECT *, cache_read_tokens / nullif(input_tokens + cache_read_tokens + cache_write_tokens, 0) AS cache_read_share
    FROM sums, copies, timeless
"""


def _source(by: str, is_timed: bool) -> str:
    """Write where the slices come from, with what keys are made of."""
    source = "timed" if is_timed else "sliced"
    projects = "JOIN (SELECT session_id, project_id FROM sessions) USING (session_id)"
    return f"{source} {projects}" if by == "project" else source


# The slices of each session are added up first, which leaves a few rows and counts each session once: count(DISTINCT)
# would take two further passes.
def _rows_sql(by: str, cost: str) -> str:
    """Write the query of one grouping, in the order of a cost."""
    is_timed = by in TIME_GROUPINGS
    order = "key DESC NULLS LAST" if is_timed else f"{cost} DESC NULLS LAST, total_tokens DESC, key"
    return f"""
        WITH {narrow.HITS}, {narrow.SLICED}, {f"{narrow.TIMED}," if is_timed else ""}
        by_session AS (
            SELECT {_KEYS[by]} AS key, session_id AS member, {_sums(*_COUNTERS)},
                   sum(failed_answers + failed_calls) AS errors
            FROM {_source(by, is_timed)} GROUP BY ALL
        ),
        by_key AS (
            SELECT key, {_sums(*_COUNTERS)}, count(*) AS sessions, sum(errors)::BIGINT AS errors
            FROM by_session GROUP BY key
        ),
        grouped AS (SELECT * REPLACE ({_NAMES.get(by, "key")} AS key) FROM by_key)
        SELECT grouped.*, {"label" if by in _LABELS else "NULL AS label"},
               {cost}::DOUBLE / nullif(sum({cost}) OVER ()::DOUBLE, 0) AS share
        FROM grouped {f"LEFT JOIN ({_LABELS[by]}) USING (key)" if by in _LABELS else ""}
        ORDER BY {order}
        LIMIT $limit::BIGINT OFFSET $offset::BIGINT
    """


_ROWS = {(by, basis): _rows_sql(by, cost) for by in GROUPINGS for basis, cost in _COSTS.items()}

_SERIES = {
    (dimension, basis): f"""
        WITH {narrow.HITS}, {narrow.SLICED}, {narrow.TIMED}
        SELECT {narrow.step_at("local_time")} AS step_at,
               {_KEYS[dimension]}             AS key,
               sum({cost})::DOUBLE            AS cost_usd
        FROM {_source(dimension, True)}
        WHERE local_time IS NOT NULL AND {cost} > 0
        GROUP BY 1, 2
        ORDER BY 1, 2
    """
    for dimension in DIMENSIONS
    for basis, cost in _COSTS.items()
}

_UNPRICED = f"""
    WITH {narrow.HITS}, {narrow.SLICED}
    SELECT {narrow.MODEL} AS model, sum(unpriced_messages)::BIGINT AS messages, sum(unpriced_tokens)::BIGINT AS tokens
    FROM sliced WHERE unpriced_messages > 0
    GROUP BY 1 ORDER BY tokens DESC, model
"""

_RANKS = {
    dimension: f"""
        WITH sliced AS (SELECT * FROM usage_slices WHERE kind = 'counted'),
        grouped AS (
            SELECT {_KEYS[dimension]} AS key, {_sums("total_tokens")} FROM {_source(dimension, False)} GROUP BY 1
        )
        SELECT key,
               row_number() OVER (ORDER BY coalesce(cost_recorded_usd, 0) DESC, total_tokens DESC, key) AS rank
        FROM grouped
        ORDER BY rank
    """
    for dimension in DIMENSIONS
}
