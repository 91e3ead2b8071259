"""What the providers' caches saved, and where a session lost what it had in one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import duckdb

from queries import narrow
from queries.period import Scope
from queries.request_chain import CACHE_MINUTES, CHAINED
from queries.rows import fetch_row, fetch_rows

DIMENSIONS = ("model", "agent")
COMPACTION, MODEL_SWITCH, AGENT_SWITCH, PAUSE, UNKNOWN = (
    "compaction",
    "model switch",
    "agent switch",
    "pause",
    "unknown",
)
CAUSES = (COMPACTION, MODEL_SWITCH, AGENT_SWITCH, PAUSE, UNKNOWN)

_KEYS = {"model": narrow.MODEL, "agent": "coalesce(agent, 'unknown')"}


@dataclass(frozen=True, slots=True)
class CacheTotals:
    """What requests of a scope sent, and what caching did about it.

    Attributes:
        requests: Those that sent anything.
        sent_tokens: input + cache read + cache write.
        read_share: Cache reads of what was sent, 0 to 1. None if nothing was sent.
        saved_list_usd: What the cache reads would have cost as plain input, minus what they cost, minus what the cache
            writes cost more than plain input; at list prices. Negative where the writes were not worth it. None if
            nothing has a known price.
        unpriced_cached_tokens: Cache reads and writes without a known price: not in `saved_list_usd`.
        first_at: Time of the first request, naive UTC. None if there is none with a time.
        last_at: Time of the last one.
    """

    requests: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    sent_tokens: int
    read_share: float | None
    saved_list_usd: Decimal | None
    unpriced_cached_tokens: int
    first_at: datetime | None
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class CacheRow:
    """The same of one model or agent.

    Attributes:
        key: `provider/model`, or agent; `unknown` where none is recorded.
    """

    key: str
    requests: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    sent_tokens: int
    read_share: float | None
    saved_list_usd: Decimal | None
    unpriced_cached_tokens: int


@dataclass(frozen=True, slots=True)
class CachePoint:
    """What one key sent in one step of time.

    Attributes:
        step_at: Start of the hour, day, week or month in the viewer's zone, naive.
        cache_read_tokens: Of those.
    """

    step_at: datetime
    key: str
    sent_tokens: int
    cache_read_tokens: int

    @property
    def amount(self) -> float:
        """Return what tells whether there is anything to draw."""
        return self.sent_tokens


@dataclass(frozen=True, slots=True)
class Collapse:
    """A request that found less than half of what the one before it had left in the cache.

    Attributes:
        at: When its message was created, naive UTC. None: unknown.
        trace_id: Its event in the timeline.
        exchange: Number of its exchange.
        cause: The likely one, of `CAUSES`: the first that applies.
        gap_ms: Between the messages of both requests. None: a time is not known.
        agent: `unknown` where none is recorded; of the request before it, `prior_agent`.
        model: `provider/model`; alike.
        prior_cached_tokens: What the request before it had read from the cache or written into it.
        lost_tokens: Those of them that were sent anew: not read now, and at most what was sent beside the reads.
        bill_list_usd: What these cost more than reading them, at list prices. None: no price is known.
    """

    at: datetime | None
    session_id: str
    session_title: str | None
    trace_id: str | None
    exchange: int | None
    cause: str
    gap_ms: int | None
    agent: str
    prior_agent: str
    model: str
    prior_model: str
    prior_cached_tokens: int
    cache_read_tokens: int
    lost_tokens: int
    bill_list_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class CollapseCause:
    """All collapses of one likely cause.

    Attributes:
        bill_list_usd: Of those with a known price. None if there is none.
        unpriced: Collapses without a known price.
    """

    cause: str
    collapses: int
    lost_tokens: int
    bill_list_usd: Decimal | None
    unpriced: int


@dataclass(frozen=True, slots=True)
class Collapses:
    """Where the cached prefix collapsed.

    Attributes:
        causes: One row per likely cause that occurs, in the order of `CAUSES`: all collapses of the scope.
        dearest: Single ones: dearest first, those without a known price last; then most tokens, newest, by request.
    """

    causes: list[CollapseCause]
    dearest: list[Collapse]

    @property
    def count(self) -> int:
        """Return how many there are, listed or not."""
        return sum(row.collapses for row in self.causes)

    @property
    def bill_list_usd(self) -> Decimal | None:
        """Return what all of them cost, listed or not. None if none has a known price."""
        bills = [row.bill_list_usd for row in self.causes if row.bill_list_usd is not None]
        return sum(bills, Decimal()) if bills else None


def cache_rows(con: duckdb.DuckDBPyConnection, by: str, scope: Scope) -> list[CacheRow]:
    """Break that down.

    Args:
        con: The index, open for reading.
        by: One of `DIMENSIONS`.
        scope: What to look at.

    Returns:
        One row per key with a request that sent anything, most tokens first, then by key.
    """
    return fetch_rows(con, narrow.narrowed(_ROWS[by], scope), narrow.values(scope), CacheRow)


def cache_series(con: duckdb.DuckDBPyConnection, by: str, step: str, scope: Scope) -> list[CachePoint]:
    """Follow what was sent and read over time.

    Args:
        con: The index, open for reading.
        by: One of `DIMENSIONS`.
        step: hour, day, week or month.
        scope: What to look at.

    Returns:
        By time, then key. Without what sent nothing, and without messages of unknown time.
    """
    values = {**narrow.values(scope), "step": step}
    return fetch_rows(con, narrow.narrowed(_SERIES[by], scope), values, CachePoint)


def collapses(con: duckdb.DuckDBPyConnection, scope: Scope, limit: int | None = None) -> Collapses:
    """Find the requests at which the cached prefix collapsed.

    Args:
        con: The index, open for reading.
        scope: What to look at: the request that found it gone.
        limit: Single requests at most. None: all.

    Returns:
        The collapses; no rows if there is none.
    """
    values = {**narrow.values(scope), "limit": limit, "causes": list(CAUSES)}
    found = fetch_row(con, narrow.narrowed(_COLLAPSES, scope), values, _Found)
    return collapses_of(found.causes, found.dearest)


def collapses_of(causes: Sequence[dict[str, Any]], dearest: Sequence[dict[str, Any]]) -> Collapses:
    """Read the two answers of `COLLAPSE_ANSWERS`."""
    return Collapses([CollapseCause(**row) for row in causes], [Collapse(**row) for row in dearest])


@dataclass(frozen=True, slots=True)
class _Found:
    """Both answers of one query, columns by name."""

    causes: list[dict[str, Any]]
    dearest: list[dict[str, Any]]


SAVED_USD = """
    cache_read_tokens * input_usd - cache_read_tokens * cache_read_usd
        - (cache_write_tokens * cache_write_usd - cache_write_tokens * input_usd)
"""
_SENT = f"""
    sent AS (
        SELECT agent, provider_id, model_id, input_tokens, cache_read_tokens, cache_write_tokens,
               input_tokens + cache_read_tokens + cache_write_tokens AS sent_tokens, {SAVED_USD} AS saved_usd
        FROM priced_requests
        WHERE NOT is_fork_copy AND {narrow.in_period("created_at")} AND {narrow.BY_NAME} AND {narrow.IN_SESSION}
          AND sent_tokens > 0
    )
"""
SUMS = """
    count(*)                                          AS requests,
    coalesce(sum(input_tokens), 0)::BIGINT            AS input_tokens,
    coalesce(sum(cache_read_tokens), 0)::BIGINT       AS cache_read_tokens,
    coalesce(sum(cache_write_tokens), 0)::BIGINT      AS cache_write_tokens,
    coalesce(sum(sent_tokens), 0)::BIGINT             AS sent_tokens,
    sum(cache_read_tokens) / sum(sent_tokens)         AS read_share,
    sum(saved_usd)::DECIMAL(38, 12)                   AS saved_list_usd,
    coalesce(sum(cache_read_tokens + cache_write_tokens) FILTER (saved_usd IS NULL), 0)::BIGINT
                                                      AS unpriced_cached_tokens
"""

_ROWS = {
    by: f"""
        WITH {narrow.HITS}, {_SENT}
        SELECT {_KEYS[by]} AS key, {SUMS} FROM sent GROUP BY 1 ORDER BY sent_tokens DESC, key
    """
    for by in DIMENSIONS
}

_SERIES = {
    by: f"""
        WITH {narrow.HITS}, {narrow.SLICED}, {narrow.TIMED}
        SELECT {narrow.step_at("local_time")} AS step_at, {_KEYS[by]} AS key,
               sum(input_tokens + cache_read_tokens + cache_write_tokens)::BIGINT AS sent_tokens,
               sum(cache_read_tokens)::BIGINT AS cache_read_tokens
        FROM timed WHERE local_time IS NOT NULL
        GROUP BY 1, 2 HAVING sent_tokens > 0
        ORDER BY 1, 2
    """
    for by in DIMENSIONS
}

# Of what was lost, as much as was written into the cache is billed as that, the rest as plain input.
_COLLAPSED = f"""
    collapsed AS (
        SELECT found.*, prior.agent AS prior_agent, prior.model AS prior_model,
               prior.cache_read_tokens + prior.cache_write_tokens AS prior_cached_tokens,
               least(prior_cached_tokens - found.cache_read_tokens, found.input_tokens + found.cache_write_tokens)
                   AS lost_tokens,
               least(lost_tokens, found.cache_write_tokens) AS written_tokens,
               (written_tokens * found.cache_write_usd + (lost_tokens - written_tokens) * found.input_usd
                   - lost_tokens * found.cache_read_usd)::DECIMAL(38, 12) AS bill_list_usd,
               date_diff('millisecond', prior.created_at, found.created_at) AS gap_ms,
               CASE WHEN found.is_compacted THEN '{COMPACTION}'
                    WHEN found.model <> prior.model THEN '{MODEL_SWITCH}'
                    WHEN found.agent <> prior.agent THEN '{AGENT_SWITCH}'
                    WHEN gap_ms > {CACHE_MINUTES} * 60_000 THEN '{PAUSE}'
                    ELSE '{UNKNOWN}' END AS cause
        FROM (FROM chained WHERE is_collapsed AND is_counted) found
             JOIN chained prior ON prior.session_number = found.session_number AND prior.number = found.number - 1
    )
"""

_DEAREST = "bill_list_usd DESC NULLS LAST, lost_tokens DESC, created_at DESC NULLS LAST, request_id"

# What both answers are told from. A request is the step of the timeline that began last before it ended; else its
# message has one. `CHAINED` precedes.
COLLAPSES = f"""
    {_COLLAPSED},
    causes AS (
        SELECT cause, count(*) AS collapses, sum(lost_tokens)::BIGINT AS lost_tokens,
               sum(bill_list_usd)::DECIMAL(38, 12) AS bill_list_usd,
               count(*) FILTER (bill_list_usd IS NULL) AS unpriced
        FROM collapsed GROUP BY cause
    ),
    listed AS (
        SELECT *, row_number() OVER (ORDER BY {_DEAREST}) AS place
        FROM (SELECT * FROM collapsed ORDER BY {_DEAREST} LIMIT $limit::BIGINT)
    ),
    traces AS (
        SELECT request_id, any_value(exchange_id) AS exchange_id,
               coalesce(max(trace_id) FILTER (kind = 'step' AND trace_id <= request_id),
                        min_by(trace_id, (kind <> 'step', position))) AS trace_id
        FROM exchange_traces JOIN listed USING (message_id) GROUP BY request_id
    ),
    dearest AS (
        SELECT place, {{
            'at': listed.created_at, 'session_id': session_id, 'session_title': nullif(trim(title), ''),
            'trace_id': trace_id, 'exchange': exchanges.number,
            'cause': cause, 'gap_ms': gap_ms, 'agent': listed.agent, 'prior_agent': prior_agent, 'model': model,
            'prior_model': prior_model, 'prior_cached_tokens': prior_cached_tokens,
            'cache_read_tokens': listed.cache_read_tokens, 'lost_tokens': lost_tokens, 'bill_list_usd': bill_list_usd
        }} AS one
        FROM listed JOIN chosen USING (session_number) LEFT JOIN traces USING (request_id)
             LEFT JOIN sessions USING (session_id) LEFT JOIN exchanges USING (exchange_id)
    )
"""
COLLAPSE_ANSWERS = """
    (SELECT coalesce(list(causes ORDER BY list_position($causes::VARCHAR[], cause)), []) FROM causes) AS causes,
    (SELECT coalesce(list(one ORDER BY place), []) FROM dearest) AS dearest
"""
_COLLAPSES = f"WITH {narrow.HITS}, {CHAINED}, {COLLAPSES} SELECT {COLLAPSE_ANSWERS}"
