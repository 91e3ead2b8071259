"""The pieces of the Costs page."""

import calendar
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

import plotly.graph_objects as go
import streamlit as st

from pages.ui import blocks, charts, data, display, export, filters, links, tables, time_axis
from queries import costs, exported_tables, health
from queries.costs import CostPoint, CostRow, CostTotals, UnpricedModel
from queries.period import Scope
from queries.table_files import Table

NEVER_RECORDED = (
    "OpenCode itself never records some requests, so no number here holds them: those that name a session (titles), "
    "steps that were aborted, and failed attempts before a retry."
)
NO_COST = {
    costs.RECORDED: "No cost above $0 was recorded here. Subscriptions and free models are recorded as $0: look at "
    "list prices, or at the tokens below.",
    costs.LIST: "No list price is known of the models here. You can add prices in the settings file.",
}
BASIS_WORDS = {costs.RECORDED: "Recorded cost", costs.LIST: "Cost at list prices"}
LIST_MEANING = (
    "What these tokens cost at public prices of their days: each request at the price of its model, with prices for "
    "cached tokens and for long requests. Prices come from your settings, OpenCode's configuration and list of models, "
    "and the price list that came with this program. Never added to the recorded cost."
)
PAGE_ROWS = 100
_NAMED_MODELS = 5
RANKED_GROUPS, RANKED_SESSIONS = 10, 20


@dataclass(frozen=True, slots=True)
class CostView:
    """Everything that the Costs page shows of one grouping.

    Attributes:
        rows: Rows of the table; of a session table the page that is shown.
        names: What to call a key.
        axis: Steps of the chart; empty if there is no cost with a known time.
        trends: Cost per step of a key, for the table.
        pages: Number of pages of the table.
        exported: Makes what is exported: all rows.
    """

    by: str
    basis: str
    rows: list[CostRow]
    names: dict[str, str]
    axis: list[datetime]
    trends: dict[str, list[float]]
    pages: int
    over_time: go.Figure
    series_title: str
    series_alt: str
    ranking: go.Figure
    ranking_title: str
    ranking_alt: str
    table_title: str
    table_key: str
    exported: Callable[[], Table]
    file_stem: str


@dataclass(frozen=True, slots=True)
class Course:
    """Cost over time.

    Attributes:
        points: Cost per step and key.
        axis: Steps of the chart; empty if there is no cost with a known time.
    """

    points: list[CostPoint]
    axis: list[datetime]
    figure: go.Figure
    title: str
    alt: str


def figures(totals: CostTotals, basis: str) -> None:
    """Draw the headline numbers; what a session costs is on the chosen basis."""
    with st.container(key="kpis"):
        cost, at_list, per_session, tokens, cache = st.columns(5, gap="small")
    cost.metric(
        "Cost, recorded (USD)",
        display.usd(totals.cost_recorded_usd),
        border=True,
        help="What OpenCode itself stored as cost of each message, each request once. Subscriptions and free models "
        "are recorded as 0.",
    )
    at_list.metric(
        "Cost at list prices (USD)", display.usd(totals.cost_usd(costs.LIST)), border=True, help=LIST_MEANING
    )
    per_session.metric(
        "Cost per session",
        display.usd(costs.per_session(totals.cost_usd(basis), totals.sessions), 4),
        border=True,
        help=f"{BASIS_WORDS[basis]} divided by {display.counted(totals.sessions, 'session')} with a message in this "
        "selection. Child sessions count as sessions of their own.",
    )
    tokens.metric(
        "Tokens",
        display.tokens(totals.total_tokens),
        border=True,
        help=f"{display.count(totals.total_tokens)} = input + output + reasoning + cache read + cache write, each "
        "token once: reasoning that a client counts as output is not added again.",
    )
    cache.metric(
        "Read from cache",
        display.percent(totals.cache_read_share),
        border=True,
        help="Cache reads of everything sent to models: cache read ÷ (input + cache read + cache write).",
    )


def left_out(totals: CostTotals, unpriced: Sequence[UnpricedModel]) -> None:
    """Name what the numbers do not hold, and what subscriptions would have cost. Nothing to name: no line.

    Args:
        totals: What the filters leave.
        unpriced: Models whose price is not known.
    """
    parts = []
    if totals.fork_copies:
        copies = display.counted(totals.fork_copies, "fork copy", "fork copies")
        parts.append(
            f"{copies} ({display.tokens(totals.fork_copy_tokens)} tokens), counted once in the session they came from"
        )
    if totals.unrecorded_messages:
        messages = display.counted(totals.unrecorded_messages, "message")
        used = f" ({display.tokens(totals.unrecorded_tokens)} tokens)" if totals.unrecorded_tokens else ""
        parts.append(f"the cost of {messages}{used} that OpenCode did not record")
    if totals.missing_usage_messages:
        messages = display.counted(totals.missing_usage_messages, "message")
        parts.append(f"the usage of {messages} whose provider sent none")
    if totals.unknown_time_messages:
        messages = display.counted(totals.unknown_time_messages, "message")
        parts.append(f"{messages} of unknown time (in range all)")
    if parts:
        st.caption(f"Not in these numbers: {' · '.join(parts)}.")
    if unpriced:
        names = ", ".join(display.md(model.model) for model in unpriced[:_NAMED_MODELS])
        more = f" and {display.count(len(unpriced) - _NAMED_MODELS)} more" if len(unpriced) > _NAMED_MODELS else ""
        st.caption(
            f"Not in list prices: {display.tokens(totals.unpriced_tokens)} tokens of "
            f"{display.counted(len(unpriced), 'unpriced model')} ({names}{more})."
        )
    if totals.free_list_usd:
        worth = display.md(display.usd(totals.free_list_usd))
        st.caption(f"Recorded as $0, by subscriptions and free models: tokens worth {worth} at list prices.")


def chosen() -> tuple[str, str]:
    """Return what the costs are broken down by, and their basis, as `choices` will say."""
    by, basis = (st.session_state.get(key) or st.query_params.get(key) for key in ("by", "basis"))
    return by if by in costs.GROUPINGS else costs.GROUPINGS[0], basis if basis in costs.BASES else costs.RECORDED


def choices() -> None:
    """Let the user choose what the costs are broken down by, and on which basis."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="grouping"):
        st.markdown("**Costs by**", width="content")
        blocks.choice("Costs by", costs.GROUPINGS, "by", wrap=True)
        blocks.choice(
            "Basis",
            costs.BASES,
            "basis",
            meaning="recorded: what OpenCode stored. list: what the tokens cost at public prices.",
        )


def view(by: str, basis: str, scope: Scope, totals: CostTotals) -> CostView:
    """Ask for everything the page shows of one grouping.

    Args:
        by: One of `costs.GROUPINGS`.
        basis: One of `costs.BASES`.
        scope: The filters.
        totals: What they leave.
    """
    dimension = by if by in costs.DIMENSIONS else "model"
    ranked_by = dimension if by in costs.TIME_GROUPINGS else by
    pages = -(-totals.sessions // PAGE_ROWS) if by == "session" else 1
    page = _page(scope, pages)
    limit = PAGE_ROWS if by == "session" else None
    rows = data.load(costs.cost_rows, by, scope, limit, (page - 1) * PAGE_ROWS if limit else 0, basis)
    top = rows if ranked_by == by and page == 1 else data.load(costs.cost_rows, ranked_by, scope, limit, 0, basis)
    names = _names()
    ranks = data.load(costs.cost_ranks, dimension)
    finest = by if by in costs.TIME_GROUPINGS else None
    over_time = course(dimension, scope, totals.first_at, totals.last_at, finest, basis)
    most = RANKED_SESSIONS if by == "session" else RANKED_GROUPS
    dearest = [row for row in top if row.cost_usd(basis)][:most]
    ranking = [(row.key or "", _name(row, names), float(row.cost_usd(basis) or 0), row.share) for row in dearest]
    return CostView(
        by=by,
        basis=basis,
        rows=rows,
        names=names,
        axis=over_time.axis,
        trends=_trends(over_time.points, over_time.axis) if by == dimension and len(over_time.axis) > 1 else {},
        pages=pages,
        over_time=over_time.figure,
        series_title=over_time.title,
        series_alt=over_time.alt,
        ranking=charts.cost_ranking(ranking, ranks if ranked_by in costs.DIMENSIONS else None),
        ranking_title=f"Dearest {ranked_by}s" if len(top) <= most else f"The {most} dearest {ranked_by}s",
        ranking_alt=f"Bars of the {BASIS_WORDS[basis].lower()} of the dearest {ranked_by}s, with their share.",
        table_title=_table_title(by, totals, len(rows), page, pages),
        table_key=tables.key("costs_rows", by, basis, scope, page, [row.key for row in rows]),
        exported=_exported(by, basis, scope),
        file_stem=export.file_stem(f"costs_by-{by}", scope, totals.first_at, totals.last_at),
    )


def course(
    dimension: str,
    scope: Scope,
    first_at: datetime | None,
    last_at: datetime | None,
    finest: str | None = None,
    basis: str = costs.RECORDED,
) -> Course:
    """Follow the cost over time.

    Args:
        dimension: One of `costs.DIMENSIONS`.
        scope: The filters.
        first_at: First time that the filters leave, naive UTC: the axis begins there where they name none.
        last_at: Last time, alike.
        finest: The finest step wanted. None: hours for a day or two, else days.
        basis: One of `costs.BASES`.
    """
    ranks = data.load(costs.cost_ranks, dimension)
    step, points, axis = time_axis.follow(
        lambda step: data.load(costs.cost_series, dimension, step, scope, basis),
        lambda points: charts.fits(points, ranks),
        scope,
        (first_at, last_at),
        finest,
    )
    return Course(
        points=points,
        axis=axis,
        figure=charts.cost_over_time(points, axis, step, ranks, _names(), time_axis.today(scope.tz)),
        title=f"{BASIS_WORDS[basis]} per {step}, USD, by {dimension}",
        alt=f"Stacked bars of the {BASIS_WORDS[basis].lower()} per {step}, by {dimension}. "
        "The table below has the numbers.",
    )


def chart(
    figure: go.Figure, key: str, alt: str, basis: str, is_empty: bool, height: Literal["content", "stretch"]
) -> None:
    """Draw a chart, or say why there is none."""
    if is_empty:
        st.text(NO_COST[basis])
        return
    st.plotly_chart(figure, key=key, config=charts.CONFIG, alt=alt, theme="streamlit", height=height)


def table(shown: CostView) -> None:
    """Draw the table. Selecting a row sets its filter; a session opens its timeline."""
    links.go()
    styled, config = tables.costs(shown.rows, shown.by, shown.basis, shown.names, shown.trends)
    st.dataframe(
        styled,
        key=shown.table_key,
        hide_index=True,
        column_config=config,
        placeholder=display.MISSING,
        height="content" if len(shown.rows) <= 20 else 640,
        on_select=lambda: _pick(shown.by, [row.key for row in shown.rows], shown.table_key),
        selection_mode="single-row",
        alt=shown.table_title,
    )
    if shown.pages > 1:
        st.pagination(shown.pages, key="costs_page", bind="query-params")


def _pick(by: str, keys: list[str | None], table_key: str) -> None:
    """Narrow the page to a row, from a callback."""
    number = tables.selected(table_key)
    key = keys[number] if number is not None and number < len(keys) else None
    if key is None:
        return
    match by:
        case "day":
            filters.choose_days(date.fromisoformat(key), date.fromisoformat(key))
        case "week":
            first = date.fromisoformat(key)
            filters.choose_days(first, first + timedelta(days=6))
        case "month":
            year, month = int(key[:4]), int(key[5:])
            filters.choose_days(date(year, month, 1), date(year, month, calendar.monthrange(year, month)[1]))
        case "provider":
            names = data.load(health.names)
            filters.choose("model", [model for model in names.models if model.startswith(f"{key}/")])
        case "project":
            labels = {project.project_id: display.project(project) for project in data.load(health.names).projects}
            filters.choose("project", [labels.get(key, key)])
        case "session":
            links.open_session(key)
        case _:
            filters.choose(by, [key])


def _exported(by: str, basis: str, scope: Scope) -> Callable[[], Table]:
    """Prepare the export of all rows."""
    ask = data.source(costs.cost_rows, by, scope, basis=basis)
    names = _names()
    return lambda: exported_tables.costs(ask(), by, basis, scope.tz, names)


def _trends(points: list[CostPoint], axis: list[datetime]) -> dict[str, list[float]]:
    """Return the course of each key, short enough for a table cell."""
    return {key: charts.condensed(values) for key, values in charts.spread(points, axis).items()}


def _page(scope: Scope, pages: int) -> int:
    """Return the page of the table that is asked for; the first one again when the filters change."""
    if st.session_state.get("costs_page_of") != scope:
        if "costs_page_of" in st.session_state:
            st.session_state["costs_page"] = 1
        st.session_state["costs_page_of"] = scope
    asked = st.session_state.get("costs_page") or st.query_params.get("costs_page") or 1
    # The widget shows the first page for one that does not exist; so does the table.
    return int(asked) if str(asked).isdecimal() and 1 <= int(asked) <= pages else 1


def _names() -> dict[str, str]:
    """Return what to call each project."""
    return {project.project_id: project.name or project.project_id[:8] for project in data.load(health.names).projects}


def _name(row: CostRow, names: dict[str, str]) -> str:
    """Name a group in a chart."""
    return names.get(row.key or "") or display.one_line(row.label) or row.key or tables.UNKNOWN_TIME


def _table_title(by: str, totals: CostTotals, rows: int, page: int, pages: int) -> str:
    """Head the table."""
    if by != "session":
        return display.counted(rows, by)
    first = (page - 1) * PAGE_ROWS + 1
    shown = f", {display.count(first)} to {display.count(first + rows - 1)}" if pages > 1 else ""
    return f"{display.counted(totals.sessions, 'session')}{shown}"
