"""The pieces of the Tools page."""

from collections.abc import Sequence

import streamlit as st

from pages.ui import blocks, call_charts, call_tables, data, display, export, links, tables, time_axis
from queries import tool_reports
from queries.period import Scope
from queries.tool_reports import CallReport, CallTotals
from queries.tools import FEW_CALLS
from queries.waste import COMMANDS

SLOWEST, FILES, PROGRAMS, RANGES = 20, 50, 50, 16
_SHARES = ("success_share",)
_LEFT_OUT = "What forks copied counts once, with the call it was copied from."


def load(scope: Scope) -> CallTotals:
    """Ask for the headline."""
    return data.load(tool_reports.call_totals, scope)


def figures(totals: CallTotals) -> None:
    """Draw the headline numbers."""
    with st.container(key="kpis"):
        calls, success, spent, given = st.columns(4, gap="small")
    calls.metric(
        "Tool calls",
        display.count(totals.calls),
        border=True,
        height="stretch",
        help=f"Calls that ended, of {display.counted(totals.tools, 'tool')}. {_LEFT_OUT}",
    )
    success.metric(
        "Success rate",
        display.percent(totals.success_share),
        border=True,
        height="stretch",
        help=f"Of the calls that ended; {display.counted(totals.failed_calls, 'call')} failed. A shell command that "
        "ends with an exit code other than 0 has failed.",
    )
    spent.metric(
        "Time in tools",
        display.duration(totals.total_ms),
        border=True,
        height="stretch",
        help="All calls whose start and end are known, added up: calls that ran beside each other count each. Waiting "
        "for your approval is inside.",
    )
    given.metric(
        "Output",
        display.size(totals.output_bytes),
        border=True,
        height="stretch",
        help="What the calls gave back to the model, added up.",
    )
    if totals.unfinished_calls:
        unfinished = display.counted(totals.unfinished_calls, "call")
        st.caption(f"Not in these numbers: {unfinished} that never ended, as after a crash. Neither ok nor failed.")


def tools(scope: Scope) -> None:
    """List the tools, beside how long their calls take. A ticked row chooses its tool."""
    rows = data.load(tool_reports.call_reports, "tool", scope)
    ask = data.source(tool_reports.call_reports, "tool", scope)
    with blocks.headed("All tools"):
        export.offer_rows(ask, scope, "tools", "tools_all_export", "All tools", _SHARES)
    drawn = [row for row in rows if row.timed_calls][:RANGES]
    if drawn:
        more = f" The {RANGES} called most." if len(drawn) < sum(bool(row.timed_calls) for row in rows) else ""
        blocks.chart(
            call_charts.ranges(drawn),
            "tools_ranges",
            "Bars from the median to the 95th percentile of each tool's calls, with a mark at the 99th; the table "
            "below has the numbers.",
        )
        st.caption(f"Bar: from the median to the 95th percentile. Mark: the 99th. Logarithmic.{more}")
    key = tables.key("tools_rows", scope, [row.key for row in rows])
    styled, config = call_tables.reports(rows, "Tool", scope.tz)
    blocks.openable(styled, config, key, "All tools", lambda: _choose([row.key for row in rows], key))
    st.caption(f"Tick a row to see the calls of one tool.{_rare(rows)}")


def choose(scope: Scope) -> str | None:
    """Let the user choose a tool. None: all of them."""
    known = [row.key for row in data.load(tool_reports.call_reports, "tool", scope)]
    asked = st.query_params.get_all("tool")
    chosen: str | None = st.selectbox(
        "Tool",
        list(dict.fromkeys([*known, *asked])),
        index=None,
        key="tool",
        bind="query-params",
        placeholder="All tools; choose one to see how long its calls take",
        format_func=lambda tool: display.one_line(tool, 60),
        width=420,
    )
    return chosen


def calls(scope: Scope, name: str | None) -> None:
    """Draw everything about the calls of a tool, or list those of all."""
    if name is not None:
        totals = data.load(tool_reports.call_totals, scope, name)
        if not totals.calls + totals.unfinished_calls:
            st.text(f"{display.one_line(name, 60)} was not called in this selection.")
            return
        left, right = st.columns(2, gap="medium")
        with left.container(border=True, height="stretch", key="tools_bins"):
            _durations(scope, name)
        with right.container(border=True, height="stretch", key="tools_course"):
            _course(scope, name, totals)
    with st.container(border=True, key="tools_agents"):
        _broken_down("agent", "By agent", scope, name)
    with st.container(border=True, key="tools_models"):
        _broken_down("model", "By model", scope, name)
    if name is None or name in COMMANDS:
        with st.container(border=True, key="tools_programs"):
            _broken_down("program", "Shell commands, by program", scope, name)
    with st.container(border=True, key="tools_slowest"):
        _slowest(scope, name)


def files(scope: Scope, name: str | None) -> None:
    """List the files that calls read and edit most, of the chosen tool or of all."""
    rows = data.load(tool_reports.file_uses, scope, name, FILES)
    if name and not rows:  # it names no files
        name = None
        rows = data.load(tool_reports.file_uses, scope, None, FILES)
    title = f"Files used most by {display.one_line(name, 40)}" if name else "Files used most"
    meaning = "As the calls name them: one file may be there with a full path and with a short one."
    ask = data.source(tool_reports.file_uses, scope, name)
    with blocks.headed(display.md(title), meaning):
        export.offer_rows(ask, scope, "files", "tools_files_export", title, ("edits",))
    if not rows:
        st.text("No call named a file.")
        return
    styled, config = call_tables.files(rows, scope.tz)
    blocks.table(styled, config, tables.key("tools_files_rows", scope, name, rows), title)
    if len(rows) == FILES:
        st.caption(f"The first {FILES}; all are in the export.")


def _durations(scope: Scope, name: str) -> None:
    """Draw how many calls took how long."""
    rows = data.load(tool_reports.latency_bins, name, scope)
    ask = data.source(tool_reports.latency_bins, name, scope)
    with blocks.headed("How long calls take"):
        export.offer_rows(ask, scope, "durations", "tools_bins_export", "How long calls take", ("from_ms",))
    if not rows:
        st.text("No duration is known.")
        return
    blocks.chart(call_charts.durations(rows), "tools_bins_chart", "Bars: how many calls took how long.")


def _course(scope: Scope, name: str, totals: CallTotals) -> None:
    """Draw how long calls took over time."""
    step, points, axis = time_axis.follow(
        lambda step: data.load(tool_reports.latency_series, name, step, scope),
        lambda points: True,
        scope,
        (totals.first_at, totals.last_at),
    )
    ask = data.source(tool_reports.latency_series, name, step, scope)
    title = f"Median and p95 per {step}"
    with blocks.headed(title):
        export.offer(
            lambda: export.course_table(ask(), step, scope.tz),
            export.file_stem("durations-over-time", scope),
            "tools_course_export",
            title,
        )
    if not axis:
        st.text("No duration is known.")
        return
    figure = call_charts.course(points, axis, step, time_axis.today(scope.tz))
    blocks.chart(figure, "tools_course_chart", f"Lines: the median and the 95th percentile of the calls per {step}.")


def _broken_down(by: str, title: str, scope: Scope, name: str | None) -> None:
    """List the calls of a tool, or of all, by agent, model or program."""
    rows = data.load(tool_reports.call_reports, by, scope, name)
    ask = data.source(tool_reports.call_reports, by, scope, name)
    with blocks.headed(title):
        export.offer_rows(ask, scope, f"tool-calls_by-{by}", f"tools_{by}_export", title, _SHARES)
    if not rows:
        st.text("No call here.")
        return
    styled, config = call_tables.reports(rows, by.capitalize(), scope.tz)
    blocks.table(styled, config, tables.key(f"tools_{by}_rows", scope, name, [row.key for row in rows]), title)
    if note := _rare(rows).strip():
        st.caption(note)


def _slowest(scope: Scope, name: str | None) -> None:
    """List the calls that took longest; a ticked row opens its event."""
    rows = data.load(tool_reports.slowest_calls, scope, name, SLOWEST)
    ask = data.source(tool_reports.slowest_calls, scope, name)
    with blocks.headed("Slowest calls"):
        export.offer_rows(ask, scope, "slowest-calls", "tools_slowest_export", "Slowest calls")
    if not rows:
        st.text("No duration is known.")
        return
    places: list[tuple[str, str | None]] = [(row.session_id, row.part_id) for row in rows]
    key = tables.key("tools_slowest_rows", scope, name, places)
    styled, config = call_tables.slowest(rows, scope.tz, with_tool=name is None)
    blocks.openable(styled, config, key, "Slowest calls", lambda: links.open_row(places, key))
    st.caption("Tick a row to see it in its timeline.")


def _rare(rows: Sequence[CallReport]) -> str:
    """Explain the mark of rows that say little. Empty where there is none."""
    if not any(row.is_rare and row.timed_calls for row in rows):
        return ""
    return f" ~ fewer than {FEW_CALLS} timed calls: a single slow one decides; how many is beside it."


def _choose(names: Sequence[str], table_key: str) -> None:
    """Choose the tool of the ticked row, from a callback."""
    number = tables.selected(table_key)
    if number is not None and number < len(names):
        st.session_state["tool"] = names[number]
