"""Rows in, the tables of the Cache page out. Every text is plain, on one line."""

from collections.abc import Callable, Sequence

import streamlit as st
from pandas.io.formats.style import Styler

from pages.ui import display, tables
from pages.ui.tables import Config
from queries.cache import CacheRow, Collapse, CollapseCause
from queries.context_rent import OutputRent, ToolRent

_TIME = "MMM D, YYYY HH:mm"
BILL = "What the lost tokens cost more than reading them from the cache. A dash: no list price is known."
RENT = "Estimate, at list prices: what its re-reads from the cache cost. A dash: no list price is known."


def rows(rows: Sequence[CacheRow], heading: str) -> tuple[Styler, Config]:
    """Lay out what models or agents sent and read.

    Args:
        rows: What to show.
        heading: Of the first column.

    Returns:
        The table and how to show its columns; so do the functions below.
    """
    cells: tables.Columns = {heading: [display.one_line(row.key, 60) for row in rows]}
    cells["Share"] = tables.floats(row.read_share for row in rows)
    cells["Saved"] = tables.money(row.saved_list_usd for row in rows)
    cells["Requests"] = tables.ints(row.requests for row in rows)
    cells["Sent"] = tables.ints(row.sent_tokens for row in rows)
    cells["Read"] = tables.ints(row.cache_read_tokens for row in rows)
    cells["Written"] = tables.ints(row.cache_write_tokens for row in rows)
    cells["Input"] = tables.ints(row.input_tokens for row in rows)
    cells["Unpriced"] = tables.ints(row.unpriced_cached_tokens for row in rows)
    if not any(cells["Unpriced"]):
        del cells["Unpriced"]
    config: Config = {
        heading: st.column_config.TextColumn(width=220),
        "Share": tables.number("Hit share", "Cache reads of everything that was sent."),
        "Saved": tables.number(
            "Saved, list",
            "What the cache reads would have cost as plain input, minus what they cost, minus what the cache writes "
            "cost more than plain input. A dash: no list price is known.",
        ),
        "Requests": tables.number("Requests", "Requests to the model, each once."),
        "Sent": tables.number("Sent", "Input, cache reads and cache writes."),
        "Read": tables.number("Cache read", "Tokens taken from the provider's cache."),
        "Written": tables.number("Cache write", "Tokens put into it. Some providers do not report them."),
        "Input": tables.number("Input", "Tokens sent without any cache."),
        "Unpriced": tables.number("Unpriced", "Cache reads and writes without a known list price: in no amount."),
    }
    tokens = ("Sent", "Read", "Written", "Input", "Unpriced")
    formats: dict[str, Callable[..., str]] = {
        "Share": display.percent,
        "Saved": tables.usd4,
        "Requests": display.count,
        **dict.fromkeys(tokens, display.tokens),
    }
    return tables.styled(cells, formats), config


def causes(rows: Sequence[CollapseCause]) -> tuple[Styler, Config]:
    """Lay out what collapses cost by their likely cause."""
    cells: tables.Columns = {"Likely cause": [row.cause for row in rows]}
    cells["Collapses"] = tables.ints(row.collapses for row in rows)
    cells["Tokens"] = tables.ints(row.lost_tokens for row in rows)
    cells["Bill"] = tables.money(row.bill_list_usd for row in rows)
    cells["Unpriced"] = tables.ints(row.unpriced for row in rows)
    if not any(cells["Unpriced"]):
        del cells["Unpriced"]
    config: Config = {
        "Collapses": tables.number("Collapses", "Requests that found less than half of what was cached."),
        "Tokens": tables.number("Tokens sent anew", "Tokens that had been cached and were sent anew."),
        "Bill": tables.number("Bill, list", BILL),
        "Unpriced": tables.number("Unpriced", "Collapses without a known list price: not in the bill."),
    }
    counts = dict.fromkeys(("Collapses", "Unpriced"), display.count)
    return tables.styled(cells, {**counts, "Tokens": display.tokens, "Bill": tables.usd4}), config


def collapses(rows: Sequence[Collapse], tz: str) -> tuple[Styler, Config]:
    """Lay out single collapses.

    Args:
        rows: What to show.
        tz: Zone of the times.
    """
    cells: tables.Columns = {"Bill": tables.money(row.bill_list_usd for row in rows)}
    cells["Tokens"] = tables.ints(row.lost_tokens for row in rows)
    cells["Cause"] = [row.cause for row in rows]
    cells["Change"] = [_change(row) for row in rows]
    cells["At"] = tables.times((row.at for row in rows), tz)
    cells["Session"] = [tables.session_title(row.session_title, False) for row in rows]
    cells["Exchange"] = tables.floats(row.exchange for row in rows)
    cells["Model"] = [display.one_line(row.model, 60) for row in rows]
    cells["Had"] = tables.ints(row.prior_cached_tokens for row in rows)
    cells["Read"] = tables.ints(row.cache_read_tokens for row in rows)
    config: Config = {
        "Bill": tables.number("Bill, list", BILL),
        "Tokens": tables.number("Tokens sent anew", "Tokens that had been cached and were sent anew."),
        "Cause": st.column_config.TextColumn("Likely cause", width=110),
        "Change": st.column_config.TextColumn("What changed", width=200),
        "At": st.column_config.DatetimeColumn("Time", format=_TIME, width=135, help=f"In {display.md(tz)}."),
        "Session": st.column_config.TextColumn(width=205),
        "Exchange": tables.number("Exchange", "Its number in the session."),
        "Had": tables.number("Cached before", "What the request before it had read from the cache or put into it."),
        "Read": tables.number("Read now", "What this request read from the cache."),
    }
    formats: dict[str, Callable[..., str]] = {
        **dict.fromkeys(("Tokens", "Had", "Read"), display.tokens),
        "Bill": tables.usd4,
        "Exchange": display.count,
        "At": display.moment,
    }
    return tables.styled(cells, formats), config


def _change(row: Collapse) -> str:
    """Say what was different, as far as it tells the cause."""
    if row.model != row.prior_model:
        return f"{display.one_line(row.prior_model, 40)} → {display.one_line(row.model, 40)}"
    if row.agent != row.prior_agent:
        return f"{display.one_line(row.prior_agent, 40)} → {display.one_line(row.agent, 40)}"
    return f"{display.duration(row.gap_ms)} after the last request" if row.gap_ms is not None else ""


def tool_rents(rows: Sequence[ToolRent]) -> tuple[Styler, Config]:
    """Lay out the rents of tools."""
    cells: tables.Columns = {"Tool": [display.one_line(row.tool_name, 60) for row in rows]}
    cells["Rent"] = tables.money(row.estimated_rent_list_usd for row in rows)
    cells["Outputs"] = tables.ints(row.outputs for row in rows)
    cells["Size"] = tables.ints(row.output_bytes for row in rows)
    cells["Tokens"] = tables.ints(row.estimated_tokens for row in rows)
    cells["Reads"] = tables.ints(row.reads for row in rows)
    config: Config = {
        "Tool": st.column_config.TextColumn(width=170),
        "Rent": tables.number("Rent, estimate", RENT),
        "Outputs": tables.number("Outputs", "Outputs that were read again at least once."),
        "Size": tables.number("Size", "Of those outputs, as recorded."),
        "Tokens": tables.number("Tokens, estimate", "Their share of what the context grew by when they arrived."),
        "Reads": tables.number("Re-reads", "How often requests read them again, added up."),
    }
    return tables.styled(cells, _RENT_FORMATS), config


def output_rents(rows: Sequence[OutputRent], tz: str) -> tuple[Styler, Config]:
    """Lay out the rents of single outputs.

    Args:
        rows: What to show.
        tz: Zone of the times.
    """
    cells: tables.Columns = {"Rent": tables.money(row.estimated_rent_list_usd for row in rows)}
    cells["Tool"] = [display.one_line(row.tool_name, 60) for row in rows]
    cells["Works on"] = [display.one_line(row.target, 120) or None for row in rows]
    cells["Tokens"] = tables.ints(row.estimated_tokens for row in rows)
    cells["Reads"] = tables.ints(row.reads for row in rows)
    cells["Size"] = tables.ints(row.output_bytes for row in rows)
    cells["Called"] = tables.times((row.called_at for row in rows), tz)
    cells["Session"] = [tables.session_title(row.session_title, False) for row in rows]
    config: Config = {
        "Rent": tables.number("Rent, estimate", RENT),
        "Tool": st.column_config.TextColumn(width=110),
        "Works on": st.column_config.TextColumn(
            width=260, help="The program of a command; the files of a read or edit."
        ),
        "Tokens": tables.number("Tokens, estimate", "Its share of what the context grew by when it arrived."),
        "Reads": tables.number("Re-reads", "Requests that read it again."),
        "Size": tables.number("Size", "Of the output, as recorded."),
        "Called": st.column_config.DatetimeColumn("Called", format=_TIME, width=135, help=f"In {display.md(tz)}."),
        "Session": st.column_config.TextColumn(width=280),
    }
    return tables.styled(cells, {**_RENT_FORMATS, "Called": display.moment}), config


_RENT_FORMATS: dict[str, Callable[..., str]] = {
    "Rent": tables.usd4,
    "Outputs": display.count,
    "Size": display.size,
    "Tokens": display.tokens,
    "Reads": display.count,
}
