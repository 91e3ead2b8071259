"""All that caches did in a scope, from one query: all of it is told from the same requests."""

from dataclasses import dataclass
from typing import Any

import duckdb

from queries import narrow
from queries.cache import (
    CAUSES,
    COLLAPSE_ANSWERS,
    COLLAPSES,
    DIMENSIONS,
    SAVED_USD,
    SUMS,
    CacheRow,
    CacheTotals,
    Collapses,
    collapses_of,
)
from queries.context_rent import RENT, RENT_ANSWERS, ContextRent, rent_of
from queries.period import Scope
from queries.request_chain import CHAINED
from queries.rows import fetch_row


@dataclass(frozen=True, slots=True)
class CacheReport:
    """What caches did.

    Attributes:
        totals: Zeros and None if nothing matches.
        rows: The same by each of `cache.DIMENSIONS`, as `cache.cache_rows` returns it.
        collapses: As `cache.collapses` returns them.
        rent: As `context_rent.context_rent` returns it.
    """

    totals: CacheTotals
    rows: dict[str, list[CacheRow]]
    collapses: Collapses
    rent: ContextRent


@dataclass(frozen=True, slots=True)
class _Found:
    """All answers of the query, columns by name."""

    totals: dict[str, Any]
    by_model: list[dict[str, Any]]
    by_agent: list[dict[str, Any]]
    causes: list[dict[str, Any]]
    dearest: list[dict[str, Any]]
    rent_totals: dict[str, Any]
    tools: list[dict[str, Any]]
    outputs: list[dict[str, Any]]


def cache_report(con: duckdb.DuckDBPyConnection, scope: Scope, limit: int) -> CacheReport:
    """Add up what requests sent and read from caches, where the cached prefix collapsed, and what old outputs cost.

    Args:
        con: The index, open for reading.
        scope: What to look at.
        limit: Single collapses, and single outputs, at most.
    """
    values = {**narrow.values(scope), "limit": limit, "causes": list(CAUSES)}
    found = fetch_row(con, narrow.narrowed(_REPORT, scope), values, _Found)
    return CacheReport(
        totals=CacheTotals(**found.totals),
        rows={by: [CacheRow(**row) for row in getattr(found, f"by_{by}")] for by in DIMENSIONS},
        collapses=collapses_of(found.causes, found.dearest),
        rent=rent_of(found.rent_totals, found.tools, found.outputs),
    )


def _broken_down(by: str) -> str:
    """Write the table of one dimension."""
    return f"by_{by} AS (SELECT {by} AS key, {SUMS} FROM saving GROUP BY 1)"


def _listed(by: str) -> str:
    """Write the answer of one dimension."""
    return f"(SELECT coalesce(list(by_{by} ORDER BY sent_tokens DESC, key), []) FROM by_{by}) AS by_{by}"


# A request that counts is in a session with spend: all of them are in the chain. The answers are put together in groups
# that are planned apart: DuckDB tries every order of what is read side by side, which took 8 ms for all eight.
_REPORT = f"""
    WITH {narrow.HITS}, {CHAINED}, {COLLAPSES}, {RENT},
    saving AS (
        SELECT agent, model, created_at, input_tokens, cache_read_tokens, cache_write_tokens,
               input_tokens + cache_read_tokens + cache_write_tokens AS sent_tokens, {SAVED_USD} AS saved_usd
        FROM chained WHERE is_counted
    ),
    totals AS (SELECT {SUMS}, min(created_at) AS first_at, max(created_at) AS last_at FROM saving),
    {", ".join(_broken_down(by) for by in DIMENSIONS)},
    sums AS MATERIALIZED (
        SELECT (SELECT totals FROM totals) AS totals, {", ".join(_listed(by) for by in DIMENSIONS)}
    ),
    lost AS MATERIALIZED (SELECT {COLLAPSE_ANSWERS}),
    rented AS MATERIALIZED (SELECT {RENT_ANSWERS})
    SELECT * FROM sums, lost, rented
"""
