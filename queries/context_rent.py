"""Context rent: what the output of a tool cost after it had arrived, since every later request sent it again.

An estimate, at list prices. OpenCode records how much each request read from the cache, not what of; so:

- What entered the context between two requests of a session is how much longer the second one is, its own answer left
  out. The outputs of the calls in between share it by their bytes, at most a token for two bytes: what is over came
  with a prompt.
- The request after the call sends the output for the first time, which is no rent. Each further one reads it from the
  cache, until the prefix collapses or the session is compacted.
- If a request read fewer tokens from the cache than its context holds of outputs, each is taken to be read in part.

So the rents of one request are at most what it paid for cache reads; the rest is the *remainder*: the system's prompt,
yours, and answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import duckdb

from queries import narrow
from queries.period import Scope
from queries.request_chain import CHAINED
from queries.rows import fetch_row, fetch_rows


@dataclass(frozen=True, slots=True)
class RentTotals:
    """What requests of a scope read from caches, and how much of it were outputs of tools.

    Attributes:
        requests: Those that sent anything.
        cache_read_tokens: All that they read.
        estimated_rent_tokens: Outputs of tools among them.
        cache_read_list_usd: What the cache reads cost at list prices. None: no price is known.
        estimated_rent_list_usd: What the outputs among them cost: the rents of all outputs together.
        unpriced_tokens: Cache reads without a known price: in no amount.
    """

    requests: int
    cache_read_tokens: int
    estimated_rent_tokens: int
    cache_read_list_usd: Decimal | None
    estimated_rent_list_usd: Decimal | None
    unpriced_tokens: int

    @property
    def remainder_list_usd(self) -> Decimal | None:
        """Return what the other cache reads cost. None: no price is known."""
        if self.cache_read_list_usd is None or self.estimated_rent_list_usd is None:
            return None
        return self.cache_read_list_usd - self.estimated_rent_list_usd


@dataclass(frozen=True, slots=True)
class ToolRent:
    """The rents of all outputs of one tool.

    Attributes:
        outputs: Outputs that were read again.
        estimated_tokens: Their size.
        reads: How often they were read again, added up.
        estimated_rent_list_usd: None: no price is known.
    """

    tool_name: str
    outputs: int
    output_bytes: int
    estimated_tokens: int
    reads: int
    estimated_rent_list_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class OutputRent:
    """The rent of one output.

    Attributes:
        part_id: The call, in the timeline too.
        target: Program of a command; files, one a line. None: it names nothing.
        called_at: When its message was created, naive UTC. None: unknown.
        estimated_tokens: Its size.
        reads: Requests that read it again.
        estimated_rent_list_usd: None: no price is known.
    """

    part_id: str
    session_id: str
    session_title: str | None
    tool_name: str
    target: str | None
    called_at: datetime | None
    output_bytes: int
    estimated_tokens: int
    reads: int
    estimated_rent_list_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class StepRent:
    """What one request paid for cache reads, and for what.

    Attributes:
        request_id: Its step, else its message.
        requested_at: When its message was created, naive UTC. None: unknown.
        agent: `unknown` where none is recorded.
        model: `provider/model`.
        cache_read_list_usd: None, as the other amounts: no price is known.
        estimated_rent_tokens: Outputs of tools among what it read.
        estimated_rent_list_usd: What those cost.
        remainder_list_usd: What the other cache reads cost; both add up to `cache_read_list_usd`.
    """

    request_id: str
    session_id: str
    requested_at: datetime | None
    agent: str
    model: str
    cache_read_tokens: int
    estimated_rent_tokens: int
    cache_read_list_usd: Decimal | None
    estimated_rent_list_usd: Decimal | None
    remainder_list_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class ContextRent:
    """What cache reads of a scope cost, and for what.

    Attributes:
        totals: All of it.
        tools: One row per tool of which an output was read again: dearest first, unpriced last, then by size and name.
            Their rents add up to that of the totals.
        outputs: Single outputs that were read again: dearest first, unpriced last, then by size and call.
    """

    totals: RentTotals
    tools: list[ToolRent]
    outputs: list[OutputRent]


def context_rent(con: duckdb.DuckDBPyConnection, scope: Scope, limit: int | None = None) -> ContextRent:
    """Split what cache reads cost into rents and the remainder.

    Args:
        con: The index, open for reading.
        scope: What to look at: the requests that read, whenever the call was.
        limit: Outputs at most. None: all.

    Returns:
        The rents; totals of zeros and None, and no rows, if nothing matches.
    """
    found = fetch_row(con, narrow.narrowed(_RENT, scope), {**narrow.values(scope), "limit": limit}, _Found)
    return rent_of(found.rent_totals, found.tools, found.outputs)


def rent_of(totals: dict[str, Any], tools: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]) -> ContextRent:
    """Read the three answers of `RENT_ANSWERS`."""
    return ContextRent(RentTotals(**totals), [ToolRent(**row) for row in tools], [OutputRent(**row) for row in outputs])


def step_rents(con: duckdb.DuckDBPyConnection, scope: Scope) -> list[StepRent]:
    """Split what each request paid for cache reads into the rents of outputs and the remainder.

    Args:
        con: The index, open for reading.
        scope: What to look at: the requests that read.

    Returns:
        One row per request that read from a cache, by session, in order. They add up to the totals of `context_rent`.
    """
    return fetch_rows(con, narrow.narrowed(_STEPS, scope), narrow.values(scope), StepRent)


@dataclass(frozen=True, slots=True)
class _Found:
    """The three answers of one query, columns by name."""

    rent_totals: dict[str, Any]
    tools: list[dict[str, Any]]
    outputs: list[dict[str, Any]]


_STEPS = f"""
    WITH {narrow.HITS}, {CHAINED}
    SELECT request_id, session_id, created_at AS requested_at, agent, model, cache_read_tokens,
           rent_tokens AS estimated_rent_tokens,
           (cache_read_tokens * cache_read_usd)::DECIMAL(38, 12) AS cache_read_list_usd,
           (rent_tokens * cache_read_usd)::DECIMAL(38, 12)       AS estimated_rent_list_usd,
           cache_read_list_usd - estimated_rent_list_usd         AS remainder_list_usd
    FROM chained JOIN chosen USING (session_number)
    WHERE is_counted AND cache_read_tokens > 0
    ORDER BY session_id, number
"""

# What an output costs is its tokens times what a token of all that was held then cost at each later request: sums of
# whole columns, where every output with every later request would be millions of pairs.
_RENTS = """
    later AS (
        SELECT session_number, number, entered_tokens / nullif(entered_bytes, 0) AS tokens_a_byte,
               count(*) FILTER (is_counted AND rent_tokens > 0) OVER later AS reads,
               sum(rent_tokens / held_tokens * cache_read_usd::DOUBLE) FILTER (is_counted AND rent_tokens > 0)
                   OVER later AS token_usd
        FROM chained
        WINDOW later AS (
            PARTITION BY session_number, stretch ORDER BY number ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
        )
    ),
    rents AS (
        SELECT part_id, chosen.session_number, tool_name, target, message_at AS called_at, output_bytes, reads,
               output_bytes * tokens_a_byte AS tokens, tokens * token_usd AS rent_usd
        FROM tool_calls JOIN chosen USING (session_id)
             JOIN later ON later.session_number = chosen.session_number AND later.number = enters_at
        WHERE reads > 0 AND tokens_a_byte > 0
    )
"""

_DEAREST = "estimated_rent_list_usd DESC NULLS LAST, estimated_tokens DESC"

# What all three answers are told from. `CHAINED` precedes.
RENT = f"""
    {_RENTS},
    rent_totals AS (
        SELECT count(*)                                                 AS requests,
               coalesce(sum(cache_read_tokens), 0)::BIGINT              AS cache_read_tokens,
               coalesce(sum(rent_tokens), 0)::BIGINT                    AS estimated_rent_tokens,
               sum(cache_read_tokens * cache_read_usd)::DECIMAL(38, 12) AS cache_read_list_usd,
               sum(rent_tokens * cache_read_usd)::DECIMAL(38, 12)       AS estimated_rent_list_usd,
               coalesce(sum(cache_read_tokens) FILTER (cache_read_usd IS NULL), 0)::BIGINT AS unpriced_tokens
        FROM chained WHERE is_counted
    ),
    tools AS (
        SELECT tool_name, count(*) AS outputs, sum(output_bytes)::BIGINT AS output_bytes,
               round(sum(tokens))::BIGINT AS estimated_tokens, sum(reads)::BIGINT AS reads,
               sum(rent_usd)::DECIMAL(38, 12) AS estimated_rent_list_usd
        FROM rents GROUP BY tool_name
    ),
    dearest_outputs AS (
        SELECT * FROM rents ORDER BY rent_usd DESC NULLS LAST, tokens DESC, part_id LIMIT $limit::BIGINT
    ),
    named AS (
        SELECT part_id, session_id, nullif(trim(title), '') AS session_title, tool_name, target, called_at,
               output_bytes, round(tokens)::BIGINT AS estimated_tokens, reads,
               rent_usd::DECIMAL(38, 12) AS estimated_rent_list_usd
        FROM dearest_outputs JOIN chosen USING (session_number) LEFT JOIN sessions USING (session_id)
    )
"""
RENT_ANSWERS = f"""
    (SELECT rent_totals FROM rent_totals) AS rent_totals,
    (SELECT coalesce(list(tools ORDER BY {_DEAREST}, tool_name), []) FROM tools) AS tools,
    (SELECT coalesce(list(named ORDER BY {_DEAREST}, part_id), []) FROM named) AS outputs
"""
_RENT = f"WITH {narrow.HITS}, {CHAINED}, {RENT} SELECT {RENT_ANSWERS}"
