"""What requests cost at list prices: the table `prices`, and `cost_list_usd` of every message. Added up in SQL."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import astuple, fields
from decimal import Decimal
from typing import TYPE_CHECKING

import duckdb

from indexer import sql
from indexer.hot_sessions import HotSessions, Request
from indexer.price_sources import ModelKey, Price, PriceSources
from indexer.rows import MessageRow, PartRow

if TYPE_CHECKING:
    import pyarrow  # see rows.py

COLUMNS = tuple(field.name for field in fields(Price))
_COUNTERS = ("input", "output", "reasoning", "reasoning_in_output", "cache_read", "cache_write")
_DAY_MS, _MINUTE_MS = 86_400_000, 60_000

# The condition and the sum are those of the view `priced_requests` (schema.sql), for requests that are not written yet.
_UNWRITTEN = """
    SELECT r.place,
           CASE WHEN r.is_blank THEN 0 * p.input_usd
           ELSE r.input_tokens * p.input_usd + r.cache_read_tokens * p.cache_read_usd
                + r.cache_write_tokens * p.cache_write_usd
                + (r.output_tokens - r.reasoning_in_output_tokens) * p.output_usd
                + r.reasoning_tokens * p.reasoning_usd + p.request_usd
           END::DECIMAL(38, 12)
    FROM unwritten r LEFT JOIN prices p
      ON p.vendor = r.provider_id AND p.model_id = r.model_id
     AND (p.from_at IS NULL OR r.created_at >= p.from_at) AND (p.until_at IS NULL OR r.created_at < p.until_at)
     AND (p.from_minute IS NULL OR r.minute >= p.from_minute) AND (p.until_minute IS NULL OR r.minute < p.until_minute)
     AND (p.over_tokens IS NULL OR r.sent > p.over_tokens) AND (p.upto_tokens IS NULL OR r.sent <= p.upto_tokens)
"""


def ensure(con: duckdb.DuckDBPyConnection, sources: PriceSources, models: Collection[ModelKey]) -> None:
    """Look up the prices of models that the index has not seen yet, inside a transaction."""
    prices = [price for model in sorted(models) for price in sources.prices_of(model)]
    insert(con, prices)


def ensure_known(
    con: duckdb.DuckDBPyConnection, hot: HotSessions, sources: PriceSources, models: Collection[ModelKey]
) -> None:
    """Look up the prices of models where that was not done before, inside a transaction."""
    looked_up = hot.names.get("prices") or hot.names.setdefault("prices", {*known(con)})
    if new := set(models) - looked_up:
        ensure(con, sources, new)
        looked_up |= new


def look_up(con: duckdb.DuckDBPyConnection, sources: PriceSources) -> None:
    """Look up the prices of all models of the index that were not looked up yet, inside a transaction."""
    models = set(con.execute("SELECT vendor, model_id FROM models").fetchall())
    ensure(con, sources, models - known(con))


def known(con: duckdb.DuckDBPyConnection) -> set[ModelKey]:
    """Return the models whose prices were looked up."""
    return {(vendor, model_id) for vendor, model_id in con.execute("SELECT vendor, model_id FROM prices").fetchall()}


def models_of(messages: Iterable[MessageRow]) -> set[ModelKey]:
    """Return the models that messages name: those of the table `models`."""
    return {
        (row.provider_id, row.model_id) for row in messages if row.provider_id is not None and row.model_id is not None
    }


def costs_of(
    con: duckdb.DuckDBPyConnection,
    messages: Sequence[MessageRow],
    parts: Iterable[PartRow],
    priced: dict[Request, Decimal | None],
) -> dict[str, Decimal | None]:
    """Price messages that are about to be written.

    A message costs what its requests cost; if the price of one is not known, nor is that of the message. What used no
    tokens costs 0 if its model has a price. Unknown, not free, is also what ended without any usage.

    Args:
        con: The index; the prices of all their models are in it.
        messages: The messages.
        parts: All their parts.
        priced: What requests cost that were priced before, at the prices of now; those of here are added to it.

    Returns:
        Message id to list price, USD; None, or no entry, where it is not known.
    """
    requests = [
        (message.message_id, _columns(message, each))
        for message, each in _requests(messages, parts)
        if _has_tokens(each) or not message.is_usage_missing
    ]
    if new := [*{request for _, request in requests} - priced.keys()]:
        unwritten = _request_table(new)  # noqa: F841 (DuckDB finds it by its name)
        priced |= {new[place]: cost for place, cost in con.execute(_UNWRITTEN).fetchall()}
    costs: dict[str, Decimal | None] = {}
    for message_id, request in requests:
        cost, before = priced[request], costs.get(message_id, Decimal())
        costs[message_id] = None if cost is None or before is None else before + cost
    return costs


def _request_table(requests: Sequence[Request]) -> "pyarrow.Table":
    """Put what prices depend on into columns, with the place of each request; see `_columns`."""
    import pyarrow

    schema = pyarrow.schema(
        [
            ("place", pyarrow.int64()),
            *((name, pyarrow.string()) for name in ("provider_id", "model_id")),
            ("created_at", pyarrow.timestamp("ms")),
            ("minute", pyarrow.int64()),
            ("sent", pyarrow.int64()),
            ("is_blank", pyarrow.bool_()),
            *((f"{name}_tokens", pyarrow.int64()) for name in _COUNTERS),
        ]
    )
    columns = [range(len(requests)), *zip(*requests, strict=True)]
    arrays = [pyarrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pyarrow.Table.from_arrays(arrays, schema=schema)


def _requests(
    messages: Iterable[MessageRow], parts: Iterable[PartRow]
) -> Iterator[tuple[MessageRow, MessageRow | PartRow]]:
    """List the requests of messages, as the view `requests` does of those that are written: a step, or the message."""
    steps: dict[str, list[PartRow]] = {}
    for part in parts:
        if part.part_type == "step-finish":
            steps.setdefault(part.message_id, []).append(part)
    for message in messages:
        if message.has_usage and message.step_count:
            yield from ((message, step) for step in steps.get(message.message_id, ()))
        elif message.has_usage:
            yield message, message


def _has_tokens(request: MessageRow | PartRow) -> bool:
    """Tell whether a request used anything."""
    return any(getattr(request, f"{name}_tokens") for name in _COUNTERS)


def _columns(message: MessageRow, request: MessageRow | PartRow) -> Request:
    """Return what the price of a request depends on."""
    at = message.created_at
    counters = [getattr(request, f"{name}_tokens") or 0 for name in _COUNTERS]
    sent = counters[0] + counters[4] + counters[5]
    minute = None if at is None else at % _DAY_MS // _MINUTE_MS
    is_blank = not _has_tokens(request)
    return message.provider_id, message.model_id, at, minute, sent, is_blank, *counters


def fill(con: duckdb.DuckDBPyConnection, session_ids: Collection[str]) -> None:
    """Price the messages of sessions anew, inside a transaction; the caller derives these sessions anew."""
    reprice(con, f"session_id IN {sql.texts(session_ids)}")


def insert(con: duckdb.DuckDBPyConnection, prices: Sequence[Price]) -> None:
    """Add rows to the table: few, with more decimals than other money has."""
    if prices:
        marks = ", ".join("?" * len(COLUMNS))
        con.executemany(
            f"INSERT INTO prices ({', '.join(COLUMNS)}) VALUES ({marks})", [astuple(price) for price in prices]
        )


def reprice(con: duckdb.DuckDBPyConnection, condition: str) -> set[str]:
    """Price messages of the index anew, as `costs_of` does.

    Args:
        con: The index, inside a transaction.
        condition: On the requests.

    Returns:
        Sessions of messages whose price changed.
    """
    rows = con.execute(
        f"""
        WITH priced AS (
            SELECT message_id,
                   CASE WHEN count(cost_list_usd) = count(*) AND NOT bool_and(is_blank AND is_usage_missing)
                        THEN sum(cost_list_usd)::DECIMAL(38, 12) END AS cost_list_usd
            FROM (
                SELECT message_id, is_usage_missing, cost_list_usd,
                       input_tokens = 0 AND output_tokens = 0 AND reasoning_tokens = 0 AND cache_read_tokens = 0
                       AND cache_write_tokens = 0 AS is_blank
                FROM priced_requests WHERE {condition}
            )
            GROUP BY message_id
        )
        UPDATE messages SET cost_list_usd = priced.cost_list_usd
        FROM priced
        WHERE messages.message_id = priced.message_id
          AND messages.cost_list_usd IS DISTINCT FROM priced.cost_list_usd
        RETURNING session_id
        """
    ).fetchall()
    return {session_id for (session_id,) in rows}
