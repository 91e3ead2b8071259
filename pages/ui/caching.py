"""The pieces of the Cache page."""

from collections.abc import Sequence

import streamlit as st

from pages.ui import blocks, cache_tables, charts, data, display, export, links, tables, time_axis
from queries import cache, cache_report, context_rent, costs
from queries.cache import CacheRow, CacheTotals, Collapses
from queries.cache_report import CacheReport
from queries.context_rent import ContextRent, RentTotals
from queries.period import Scope
from queries.request_chain import CACHE_MINUTES, SMALLEST_PREFIX

LISTED = 100  # collapses, and outputs

_COLLAPSE_MEANING = (
    "A request read less than half of what the request before it, in the same session, had read from the cache or put "
    f"into it; that one had sent at least {SMALLEST_PREFIX:,} tokens. The bill: those tokens that were sent anew, at "
    "the list price of cache writes or input, minus that of cache reads. The likely cause is the first that applies: "
    "the session was compacted in between, another model, another agent, more than "
    f"{CACHE_MINUTES} minutes since the last request; else unknown."
)
_RENT_MEANING = (
    "An estimate, at list prices. The tokens of an output: what the request after the call sent more than the one "
    "before it, its own answer left out, shared by the outputs that came in between by their bytes, at most a token "
    "for two bytes. The rent: those tokens at the price of cache reads, for every request that read them again, from "
    "the second one after the call until the prefix collapses or the session is compacted. Where a request read less "
    "from the cache than its context holds of outputs, each counts in part."
)


def load(scope: Scope) -> CacheReport:
    """Ask for all but the course over time."""
    return data.load(cache_report.cache_report, scope, LISTED)


def figures(found: CacheReport) -> None:
    """Draw the headline numbers."""
    with st.container(key="kpis"):
        share, saved, lost, rent = st.columns(4, gap="small")
    totals, collapses = found.totals, found.collapses
    share.metric(
        "Read from cache",
        display.percent(totals.read_share),
        border=True,
        height="stretch",
        help="Cache reads of everything sent to models: cache read ÷ (input + cache read + cache write). "
        f"{display.tokens(totals.cache_read_tokens)} of {display.tokens(totals.sent_tokens)} tokens.",
    )
    saved.metric(
        "Saved by caching (list, USD)",
        display.usd(totals.saved_list_usd),
        border=True,
        height="stretch",
        help="At list prices: what the cache reads would have cost as plain input, minus what they cost, minus what "
        "the cache writes cost more than plain input. Negative where the writes were not worth it.",
    )
    lost.metric(
        "Collapses cost (list, USD)",
        display.usd(collapses.bill_list_usd) if collapses.count else display.usd(0),
        border=True,
        height="stretch",
        help=f"{display.counted(collapses.count, 'request')} found the cached prefix gone. {_COLLAPSE_MEANING}",
    )
    rent.metric(
        "Context rent (estimate, list, USD)",
        display.usd(found.rent.totals.estimated_rent_list_usd),
        border=True,
        height="stretch",
        help=f"What re-reading old tool outputs cost. {_RENT_MEANING}",
    )


def left_out(found: CacheReport) -> None:
    """Name what the amounts do not hold. Nothing to name: no line."""
    if found.totals.unpriced_cached_tokens:
        tokens = display.tokens(found.totals.unpriced_cached_tokens)
        st.caption(f"Not in these amounts: {tokens} cached tokens of models without a known list price.")


def grouping() -> str:
    """Let the user choose what the cache is broken down by."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="cache_grouping"):
        st.markdown("**Cache by**", width="content")
        return blocks.choice("Cache by", cache.DIMENSIONS, "cache_by")


def over_time(by: str, scope: Scope, totals: CacheTotals) -> None:
    """Draw the hit share over time."""
    ranks = data.load(costs.cost_ranks, by)
    step, points, axis = time_axis.follow(
        lambda step: data.load(cache.cache_series, by, step, scope),
        lambda points: charts.fits(points, ranks),
        scope,
        (totals.first_at, totals.last_at),
    )
    ask = data.source(cache.cache_series, by, step, scope)
    title = f"Hit share per {step}, by {by}"
    with blocks.headed(title, "Cache reads of everything that was sent: input, cache reads and cache writes."):
        stem = export.file_stem(f"cache-over-time_by-{by}", scope)
        export.offer(lambda: export.course_table(ask(), step, scope.tz), stem, "cache_course_export", title)
    if not axis:
        st.text("No time is known.")
        return
    figure = charts.hits_over_time(points, axis, step, ranks, time_axis.today(scope.tz))
    blocks.chart(figure, "cache_course", f"Lines of the share that was read from caches per {step}, by {by}.")


def broken_down(by: str, scope: Scope, rows: Sequence[CacheRow]) -> None:
    """List what each model or agent read and saved."""
    title = f"Cache by {by}"
    with blocks.headed(title):
        export.offer_rows(data.source(cache.cache_rows, by, scope), scope, f"cache_by-{by}", "cache_rows_export", title)
    styled, config = cache_tables.rows(rows, by.capitalize())
    blocks.table(styled, config, tables.key("cache_rows_table", by, scope, [row.key for row in rows]), title)


def collapsed(scope: Scope, found: Collapses) -> None:
    """List where the cached prefix collapsed; a ticked row opens its event."""
    ask = data.source(cache.collapses, scope)
    title, by_cause = "Collapses of the cached prefix", "Collapses by likely cause"
    with blocks.headed(title, _COLLAPSE_MEANING):
        export.offer_rows(
            lambda: ask().causes, scope, "cache-collapses_by-cause", "cache_causes_export", by_cause, is_alone=False
        )
        export.offer_rows(
            lambda: ask().dearest, scope, "cache-collapses", "cache_collapses_export", title, is_alone=False
        )
    if not found.count:
        st.text("No request found its prefix gone.")
        return
    styled, config = cache_tables.causes(found.causes)
    blocks.table(styled, config, tables.key("cache_causes_table", scope, found.causes), by_cause)
    places = [(row.session_id, row.trace_id) for row in found.dearest]
    key = tables.key("cache_collapses_table", scope, places)
    styled, config = cache_tables.collapses(found.dearest, scope.tz)
    blocks.openable(styled, config, key, title, lambda: links.open_row(places, key))
    more = f"The {LISTED} dearest; all are in the export. " if found.count > len(found.dearest) else ""
    st.caption(f"{more}Bills are at list prices, causes are guesses. Tick a row to see the request in its timeline.")


def rents(scope: Scope, found: ContextRent) -> None:
    """List what outputs cost after they had arrived; a ticked row opens its call."""
    ask = data.source(context_rent.context_rent, scope)
    steps = data.source(context_rent.step_rents, scope)
    title = "Context rent: what tool outputs cost after they arrived"
    with blocks.headed(title, _RENT_MEANING):
        export.offer_rows(
            lambda: ask().tools,
            scope,
            "context-rent_by-tool",
            "cache_tool_rents_export",
            "Rent by tool",
            is_alone=False,
        )
        export.offer_rows(
            lambda: ask().outputs, scope, "context-rent", "cache_output_rents_export", "Rent by output", is_alone=False
        )
        export.offer_rows(
            steps, scope, "context-rent_by-request", "cache_step_rents_export", "Rent by request", is_alone=False
        )
    if not found.outputs:
        st.text("No tool output was read from a cache again.")
        return
    st.text(_shared(found.totals))
    styled, config = cache_tables.tool_rents(found.tools)
    names = [row.tool_name for row in found.tools]
    blocks.table(styled, config, tables.key("cache_tool_rents_table", scope, names), "Context rent by tool")
    places: list[tuple[str, str | None]] = [(row.session_id, row.part_id) for row in found.outputs]
    key = tables.key("cache_output_rents_table", scope, places)
    styled, config = cache_tables.output_rents(found.outputs, scope.tz)
    blocks.openable(styled, config, key, "Dearest tool outputs", lambda: links.open_row(places, key))
    more = f"The {LISTED} dearest; all are in the export. " if len(found.outputs) == LISTED else ""
    st.caption(f"{more}Rents are estimates, at list prices. Tick a row to see the call in its timeline.")


def _shared(totals: RentTotals) -> str:
    """Say how much of what was read from caches were tool outputs: of its cost, or of its tokens without a price."""
    if totals.remainder_list_usd is None:
        return (
            f"No list price is known of these. Estimate: of {display.tokens(totals.cache_read_tokens)} tokens read "
            f"from caches, {display.tokens(totals.estimated_rent_tokens)} were tool outputs, the others prompts and "
            "answers."
        )
    return (
        f"Estimate, at list prices: of {display.usd(totals.cache_read_list_usd, 4)} for cache reads, "
        f"{display.usd(totals.estimated_rent_list_usd, 4)} re-read tool outputs; the remainder, "
        f"{display.usd(totals.remainder_list_usd, 4)}, re-read prompts and answers."
    )
