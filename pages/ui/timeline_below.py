"""Below the waterfall: the session's figures, its tree of sessions, and what it spent for nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import plotly.graph_objects as go
import streamlit as st
from pandas.io.formats.style import Styler

from pages.ui import (
    charts,
    data,
    display,
    export,
    later,
    links,
    tables,
    timeline_bridge,
    timeline_charts,
    timeline_live,
    timeline_tables,
)
from pages.ui.timeline_bridge import Place
from pages.ui.timeline_live import Live
from queries import exported_tables, session_figures, sessions
from queries.session_figures import SessionFigures
from queries.sessions import SessionDetail, SessionModel
from queries.table_files import Table

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_TICK_S = 15.0
MOST_AT_ONCE = 2_000  # events; the figures of more come after the page
_SKELETON_PX = 1_500  # of all figures
_FIGURES, _SESSIONS, _WASTE = "Figures", "Sessions", "Loops and waste"
_Table = tuple[Styler, tables.Config]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Charts and tables of a session's figures, kept as long as it does not change: a whole rerun draws them again."""

    context: go.Figure
    costs: go.Figure
    numbers: _Table
    time: _Table
    models: _Table
    exchanges: _Table
    tools: _Table
    files: _Table


@dataclass(frozen=True, slots=True)
class _Figures:
    """What was read of a session's figures, and what is drawn of that."""

    found: SessionFigures
    detail: SessionDetail
    models: list[SessionModel]
    drawn: _Drawn


def draw() -> None:
    """Draw the tabs and keep the open one up to date while the session runs."""
    live = timeline_live.look()
    st.fragment(run_every=_TICK_S if live.is_running else None)(_tick)()


def _tick() -> None:
    """Draw the open tab at the newest revision."""
    links.go()
    live = timeline_live.look()
    with st.container(key="timeline_below"):
        figures, tree, wasted = st.tabs([_FIGURES, _SESSIONS, _WASTE], key="timeline_tabs", on_change="rerun")
        if figures.open:
            with figures:
                _figures(live)
        if tree.open:
            with tree:
                _tree(live)
        if wasted.open:
            with wasted:
                _wasted(live)
    timeline_bridge.jump(live.session_id)


def _figures(live: Live) -> None:
    """Draw charts and tables of the session itself. Of a large one they take longer than all else on the page."""
    is_large = live.drawn.event_count > MOST_AT_ONCE
    if is_large and not later.is_due("timeline_figures", live.session_id, _SKELETON_PX):
        return
    tz = data.zone()
    read = timeline_live.read(f"figures {tz}", live, lambda: _read(live.session_id, tz))
    if read is None:  # it was deleted from the index meanwhile
        st.text("There are no figures of this session.")
        return
    found, detail, models, drawn = read.found, read.detail, read.models, read.drawn
    copied = None if models else _copied(detail)
    left, right = st.columns(2, gap="medium")
    with left.container(border=True, height="stretch", key="timeline_context"):
        _context(found, drawn.context)
    with right.container(border=True, height="stretch", key="timeline_costs"):
        _costs(found, drawn.costs, copied)
    left, middle, right = st.columns([4, 3, 5], gap="medium")
    with left.container(border=True, height="stretch"):
        _tokens(found, detail, drawn.numbers)
    with middle.container(border=True, height="stretch"):
        _time(found, drawn.time)
    with right.container(border=True, height="stretch"):
        _models(live.session_id, models, drawn.models, copied)
    with st.container(border=True):
        _exchanges(found, drawn.exchanges)
    left, right = st.columns(2, gap="medium")
    with left.container(border=True, height="stretch"):
        _tools(found, drawn.tools)
    with right.container(border=True, height="stretch"):
        _files(found, drawn.files)


def _read(session_id: str, tz: str) -> _Figures | None:
    """Read the figures and make what is drawn of them. None: the index does not have the session any more."""
    found = data.share(session_figures.session_figures, session_id)
    detail = data.share(sessions.session_detail, session_id, tz)
    models = data.share(sessions.session_models, session_id)
    if found is None or detail is None:
        return None
    drawn = _Drawn(
        context=timeline_charts.context(found.context),
        costs=timeline_charts.costs(found.exchanges),
        numbers=tables.session_numbers(detail),
        time=timeline_tables.time_split(found.time),
        models=tables.session_models(models),
        exchanges=timeline_tables.exchanges(found.exchanges, tz),
        tools=timeline_tables.tools(found.tools),
        files=timeline_tables.files(found.files),
    )
    return _Figures(found, detail, models, drawn)


def _context(found: SessionFigures, chart: go.Figure) -> None:
    """Draw how the context grew."""
    _headed("Context per model request, tokens", "What each request sent: input, cache read and cache write together.")
    if not any(point.context_tokens for point in found.context):
        st.text("No usage is recorded.")
        return
    _chart(chart, "context", "Stacked bars of what each model request was sent.")
    size = timeline_charts.bar_size(found.context)
    shared = f" Each bar is the largest of {size} requests." if size > 1 else ""
    st.caption(f"{timeline_tables.context(found)}{shared}")


def _copied(detail: SessionDetail) -> str | None:
    """Say what a session holds that asked no model itself: copies, if there are any."""
    if not detail.fork_copies:
        return None
    cost = detail.inherited_cost_recorded_usd
    amounts = f"{display.tokens(detail.inherited_total_tokens)} tokens, " + (
        "no recorded cost" if cost is None else f"{display.usd(cost, 4)} recorded"
    )
    return (
        f"Nothing but {display.counted(detail.fork_copies, 'copied answer')} of an older session ({amounts}), "
        "counted there, not here."
    )


def _costs(found: SessionFigures, chart: go.Figure, copied: str | None) -> None:
    """Draw what each exchange cost.

    Args:
        found: The figures.
        chart: Of them.
        copied: Of `_copied`, where the session asked no model itself.
    """
    size = timeline_charts.bar_size(found.exchanges)
    _headed(f"Recorded cost per {'exchange' if size == 1 else f'{size} exchanges'}, USD")
    if not any(row.cost_usd or row.delegated_cost_usd for row in found.exchanges):
        st.text(copied or "No cost is recorded here: subscriptions and free models are recorded as 0.")
        return
    _chart(chart, "costs", "Stacked bars of the cost per exchange; the table has them.")


def _tokens(found: SessionFigures, detail: SessionDetail, table: _Table) -> None:
    """Draw tokens by kind, own, inherited and with child sessions."""
    exported = _Exported(
        lambda: exported_tables.session_numbers(detail), "numbers", detail.session_id, "Tokens and cost"
    )
    _headed("Tokens and cost", exported=exported)
    _table(table, "timeline_numbers", "Tokens and cost")
    share = found.tokens.cache_read_share
    notes = [] if share is None else [f"{display.percent(share)} of what was sent came from the cache"]
    if found.unrecorded_messages:
        notes.append(f"{display.counted(found.unrecorded_messages, 'message')} without a recorded cost")
    if detail.missing_usage_messages:
        notes.append(f"{display.counted(detail.missing_usage_messages, 'message')} whose provider sent no usage")
    if notes:
        st.caption(f"{' · '.join(notes)}.")


def _time(found: SessionFigures, table: _Table) -> None:
    """Draw where the time went."""
    exported = _rows([found.time] if found.time.wall_ms else [], "time", found.session_id, "Time")
    _headed("Time", "From the first to the last recorded moment. What OpenCode does not record is unknown.", exported)
    if not found.time.wall_ms:
        st.text("No time is recorded.")
        return
    _table(table, "timeline_time", "Time")
    if found.time.open_ended:
        st.caption(f"{display.counted(found.time.open_ended, 'answer or call', 'answers and calls')} without an end.")


def _models(session_id: str, rows: Sequence[SessionModel], table: _Table, copied: str | None) -> None:
    """Draw what each agent used on each model.

    Args:
        session_id: The session.
        rows: What was used.
        table: Of them.
        copied: Of `_copied`, where that is nothing.
    """
    ask = data.source(sessions.session_models, session_id)
    exported = _Exported(
        lambda: exported_tables.session_models(ask(), session_id), "models", session_id, "By agent and model"
    )
    _headed("By agent and model", exported=exported if rows else None)
    if not rows:
        st.text(copied or "No model was asked.")
        return
    _table(table, "timeline_models", "By agent and model")


def _exchanges(found: SessionFigures, table: _Table) -> None:
    """List the exchanges."""
    rows = found.exchanges
    _headed(display.counted(len(rows), "exchange"), exported=_rows(rows, "exchanges", found.session_id, "Exchanges"))
    if not rows:
        st.text("There is none.")
        return
    places: list[Place | None] = [Place(row.exchange_id) for row in rows]
    _jumping(table, "timeline_exchanges", "Exchanges", [row.exchange_id for row in rows], places, most=12)


def _tools(found: SessionFigures, table: _Table) -> None:
    """List the tools, the one that took longest first."""
    rows = found.tools
    _headed("Slowest tools", exported=_rows(rows, "tools", found.session_id, "Slowest tools"))
    if not rows:
        st.text("No tool was called.")
        return
    places = [Place(None, row.slowest_trace_id) if row.slowest_trace_id else None for row in rows]
    _jumping(table, "timeline_tools", "Slowest tools", [row.name for row in rows], places, most=10)


def _files(found: SessionFigures, table: _Table) -> None:
    """List the files that were touched."""
    rows = found.files
    _headed("Files touched", exported=_rows(rows, "files", found.session_id, "Files touched"))
    if found.recorded_files is not None:
        st.caption(
            f"OpenCode's own count: {display.counted(found.recorded_files, 'file')} changed, "
            f"+{display.count(found.recorded_additions)} −{display.count(found.recorded_deletions)} lines."
        )
    if not rows:
        st.text("No call read or edited a file.")
        return
    places: list[Place | None] = [Place(None, row.first_trace_id) for row in rows]
    _jumping(table, "timeline_files", "Files touched", [row.path for row in rows], places, most=10)


def _tree(live: Live) -> None:
    """List the session and all below it, and the ways to them."""
    rows = live.sessions
    title = f"{display.counted(live.head.subtree_sessions - 1, 'session')} below this one"
    _headed(title, exported=_rows(rows, "tree", live.session_id, "Sessions"))
    if len(rows) == 1:
        st.text("This session did not delegate.")
        return
    table = timeline_tables.sessions(rows, data.zone(), live.is_running)
    places = [Place(None, row.delegating_trace_id) if row.delegating_trace_id else None for row in rows]
    ids = [row.session_id for row in rows]
    number = _jumping(table, "timeline_tree", title, ids, places, most=14)
    if number is None:
        st.caption("Tick a row to see its call in the waterfall, and to open the session on its own.")
    elif number and rows[number].link != "missing":
        st.button(
            "Open this session on its own",
            key="timeline_open_child",
            icon=":material/open_in_full:",
            on_click=links.open_session,
            args=(ids[number],),
        )


def _wasted(live: Live) -> None:
    """List what was spent for nothing, and what that cost."""
    report = live.report
    _headed(_sum(live), exported=_rows(report.findings, "waste", live.session_id, "Loops and waste"))
    st.caption(
        "A loop: one tool with the same arguments three times or more in one exchange. Edit, fail, edit: a file that "
        "was edited again after the edit, or a call after it, failed. The cost is that of the model requests "
        "concerned, each whole; of an exchange that failed or was cut short, all of it."
    )
    if not report.findings:
        return
    titles = {row.session_id: tables.session_title(row.title, row.is_deleted) for row in live.sessions}
    table = timeline_tables.findings(report.findings, titles)
    places: list[Place | None] = [
        Place(row.finding.exchange_id, next(iter(row.finding.trace_ids), None)) for row in report.findings
    ]
    ids = [(row.finding.category, row.finding.exchange_id, row.finding.trace_ids) for row in report.findings]
    _jumping(table, "timeline_waste", "Loops and waste", ids, places, most=14)
    if report.overlap_tokens:
        st.caption(
            f"Some requests are in several findings: {display.tokens(report.overlap_tokens)} tokens and "
            f"{display.usd(report.overlap_cost_usd, 4)} are counted once in the sum above."
        )


def _sum(live: Live) -> str:
    """Say what all findings cost together."""
    report = live.report
    if not report.findings:
        return "No loop, no repeated edit, no exchange that failed"
    kinds = "; ".join(
        display.counted(total.findings, *timeline_tables.category(total.category)) for total in report.totals
    )
    together = report.together
    return (
        f"{display.counted(together.findings, 'finding')} ({kinds}): {display.usd(together.cost_usd, 4)} recorded, "
        f"{display.tokens(together.tokens)} tokens"
    )


@dataclass(frozen=True, slots=True)
class _Exported:
    """What is exported of a block.

    Attributes:
        make: Makes the table.
        table: What it holds, for the file's name.
        what: Its name, the same however the block is headed while the session runs.
    """

    make: Callable[[], Table]
    table: str
    session_id: str
    what: str


def _rows(rows: Sequence["DataclassInstance"], table: str, session_id: str, what: str) -> _Exported | None:
    """Prepare the export of rows as they are: their fields are the columns. None if there is no row."""
    tz = data.zone()
    return _Exported(lambda: export.rows_table(rows, tz), table, session_id, what) if rows else None


def _headed(title: str, meaning: str | None = None, exported: _Exported | None = None) -> None:
    """Head a block: its title, and its export at the other end of the line."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**{display.md(title)}**", width="content", help=meaning)
        if exported:
            export.offer(
                exported.make,
                export.plain_stem(f"opencode-session_{exported.session_id}_{exported.table}"),
                f"timeline_{exported.table}_export",
                exported.what,
            )


def _chart(figure: object, key: str, alt: str) -> None:
    """Draw a chart."""
    st.plotly_chart(
        figure, key=f"timeline_{key}_chart", config=charts.CONFIG, alt=alt, theme="streamlit", height="content"
    )


def _table(table: _Table, key: str, alt: str) -> None:
    """Draw a table that is only read."""
    styled, config = table
    st.dataframe(
        styled,
        key=key,
        hide_index=True,
        column_config=config,
        placeholder=display.MISSING,
        height="content",
        alt=alt,
    )


def _jumping(
    table: _Table,
    key: str,
    alt: str,
    ids: Sequence[object],
    places: list[Place | None],
    most: int,
) -> int | None:
    """Draw a table whose rows are places in the waterfall: ticking one goes there.

    Args:
        table: The table, and how to show its columns.
        key: Begins the key of the table.
        alt: What it is.
        ids: What names the rows: the same rows keep their tick.
        places: Of every row.
        most: Rows that are shown without scrolling.

    Returns:
        The ticked row. None: none is.
    """
    styled, config = table
    table_key = tables.key(key, ids)
    shown = st.dataframe(
        styled,
        key=table_key,
        hide_index=True,
        column_config=config,
        placeholder=display.MISSING,
        height="content" if len(ids) <= most else 35 * (most + 1),
        alt=alt,
        selection_mode="single-row",
        on_select=lambda: timeline_bridge.to_row(places, table_key),
    )
    ticked = shown["selection"]["rows"]
    return int(ticked[0]) if ticked and ticked[0] < len(ids) else None
