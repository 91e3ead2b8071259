"""The pieces of the Overview page."""

from collections.abc import Sequence
from decimal import Decimal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.ui import blocks, data, display, export, filters, frame, links, listing, spend, tables
from queries import costs, errors, exported_tables, overview, period, sessions, tools
from queries.health import IndexStatus
from queries.overview import Activity, Overview
from queries.period import Period, Scope

LAST_SESSIONS, TOP_AGENTS, SLOWEST_TOOLS, NEWEST_ERRORS = 10, 8, 8, 10
_POINT = 100  # percentage points in one


def trouble(status: IndexStatus) -> None:
    """Say what the indexer could not read, and where to see more. Nothing: no line."""
    found = []
    if status.unreadable_sources:
        found.append(f"{display.counted(status.unreadable_sources, 'source')} could not be read")
    if status.unreadable:
        found.append(f"{display.counted(status.unreadable, 'document')} could not be read in full")
    if not found:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="trouble"):
        st.markdown(f":material/warning: {' · '.join(found)}.", width="content")
        st.page_link(frame.INDEXER, label="See which on Indexer", icon=":material/arrow_forward:")


def load(scope: Scope) -> Overview:
    """Ask for the headline and the agents."""
    return data.load(overview.overview, scope, _before(scope))


def figures(found: Overview, scope: Scope) -> None:
    """Draw the headline numbers, each beside the one of the same length of time before, where there is one."""
    with st.container(key="kpis"):
        cost, tokens, sessions_, rate = st.columns(4, gap="small")
    now, then = found.now, found.before
    _figure(
        cost,
        "Cost, recorded (USD)",
        display.usd(now.cost_recorded_usd),
        _change(now.cost_recorded_usd, then.cost_recorded_usd if then else None),
        f"from {display.usd(then.cost_recorded_usd)}" if then else "",
        "What OpenCode itself stored as cost of each message, each request once. Subscriptions and free models are "
        "recorded as 0.",
    )
    _figure(
        tokens,
        "Tokens",
        display.tokens(now.total_tokens),
        _change(now.total_tokens, then.total_tokens if then else None),
        f"from {display.tokens(then.total_tokens)}" if then else "",
        f"{display.count(now.total_tokens)} = input + output + reasoning + cache read + cache write, each token once.",
    )
    _figure(
        sessions_,
        "Sessions",
        display.count(now.sessions),
        _change(now.sessions, then.sessions if then else None),
        f"from {display.count(then.sessions)}" if then else "",
        f"Sessions with an answer in this selection, {display.counted(now.child_sessions, 'child session')} among "
        "them: those that another session delegated to.",
    )
    _figure(
        rate,
        "Error rate",
        display.percent(now.error_rate),
        _points(now, then),
        f"from {display.percent(then.error_rate)}" if then and then.error_rate is not None else "",
        _rate_meaning(now),
        is_bad=True,
    )
    compared = _before(scope)
    if then and compared:
        st.caption(f"Changes are against {display.stretch(compared, scope.tz)}, the same length of time before.")


def cost_over_time(scope: Scope, found: Overview) -> None:
    """Draw the recorded cost by model."""
    course = spend.course("model", scope, found.now.first_at, found.now.last_at)
    with blocks.headed(course.title):
        blocks.link(frame.COSTS, "Costs by model", {"by": "model"})
    spend.chart(
        course.figure,
        "overview_over_time",
        course.alt,
        costs.RECORDED,
        is_empty=not course.axis,
        height="stretch",
    )


def last_sessions(scope: Scope) -> None:
    """List the sessions that were active last."""
    rows = data.load(sessions.session_rows, scope, True, "last active", LAST_SESSIONS)
    title = "Last active sessions"
    with blocks.headed(title):
        blocks.link(frame.SESSIONS, "All sessions", {"sort": "last active"})
        exported = listing.exported(scope, True, "last active")
        export.offer(exported, export.file_stem("sessions", scope), "overview_sessions_export", title)
    styled, config = tables.last_sessions(rows, scope.tz)
    places: list[tuple[str, str | None]] = [(row.session_id, None) for row in rows]
    key = tables.key("overview_sessions", scope, places)
    blocks.openable(styled, config, key, title, lambda: links.open_row(places, key))
    st.caption("Tick a row to open its timeline. A row holds its child sessions.")


def agents(found: Overview, scope: Scope) -> None:
    """List the agents that cost most."""
    rows = found.agents[:TOP_AGENTS]
    title = "Top agents" if len(rows) == len(found.agents) else f"Top {len(rows)} of {len(found.agents)} agents"
    with blocks.headed(title):
        blocks.link(frame.COSTS, "Costs by agent", {"by": "agent"})
        ask = data.source(overview.overview, scope, _before(scope))
        export.offer(
            lambda: exported_tables.agents(ask().agents),
            export.file_stem("agents", scope),
            "overview_agents_export",
            "Agents",
        )
    styled, config = tables.agents(rows)
    names = [row.agent or "" for row in rows]
    key = tables.key("overview_agents", scope, names)
    blocks.openable(styled, config, key, title, lambda: _open_agent(names, key))
    st.caption("Tick a row to see what the agent cost, by model.")


def slowest_tools(scope: Scope) -> None:
    """List the tools whose calls take longest."""
    rows = data.load(tools.slowest_tools, scope, SLOWEST_TOOLS)
    ask = data.source(tools.slowest_tools, scope)
    with blocks.headed("Slowest tools", tables.P95_MEANING):
        blocks.link(frame.TOOLS, "All tools")
        export.offer(
            lambda: exported_tables.tools(ask()),
            export.file_stem("tools", scope),
            "overview_tools_export",
            "Slowest tools",
        )
    if not rows:
        st.text("No tool was called here.")
        return
    styled, config = tables.tools(rows)
    names = [row.tool_name for row in rows]
    key = tables.key("overview_tools", scope, names)
    blocks.openable(styled, config, key, "Slowest tools", lambda: links.open_tool(names, key))
    rare = f" ~ fewer than {tools.FEW_CALLS} timed calls: a single slow one decides."
    st.caption(f"Tick a row to see its calls.{rare if any(row.is_rare for row in rows) else ''}")


def newest_errors(scope: Scope) -> None:
    """List what failed last."""
    rows = data.load(errors.newest_errors, scope, NEWEST_ERRORS)
    ask = data.source(errors.newest_errors, scope)
    with blocks.headed("Newest errors"):
        blocks.link(frame.ERRORS, "All errors")
        export.offer(
            lambda: exported_tables.errors(ask(), scope.tz),
            export.file_stem("errors", scope),
            "overview_errors_export",
            "Newest errors",
        )
    if not rows:
        st.text("No answer and no tool call failed here.")
        return
    styled, config = tables.errors(rows, scope.tz)
    # The error of an answer is an event of its own, beside the message that it ended.
    places = [(row.session_id, row.error_id if row.is_call else f"{row.error_id}:error") for row in rows]
    key = tables.key("overview_errors", scope, places)
    blocks.openable(styled, config, key, "Newest errors", lambda: links.open_row(places, key))
    st.caption("Tick a row to see it in its timeline. Answers that you cut short are not listed.")


def _before(scope: Scope) -> Period | None:
    """Return what the scope is compared with: as far as the index reaches, so that the answer can be kept.

    None during the first pass: newest sessions come first, so what came before is not there yet.
    """
    status = data.status()
    return None if status.is_partial else period.before(scope.period, scope.tz, status.updated_at)


def _figure(
    place: DeltaGenerator,
    label: str,
    value: str,
    change: str | None,
    origin: str,
    meaning: str,
    is_bad: bool = False,
) -> None:
    """Draw one headline number.

    Args:
        place: Where.
        label: What it is.
        value: As text.
        change: Since the stretch before; begins with a minus sign if it fell. None: not known.
        origin: What it was.
        meaning: For the help.
        is_bad: Whether a rise is an error: only then it is red.
    """
    is_same = change is not None and not change.strip("+-0.%pts ")
    place.metric(
        label,
        value,
        change,
        delta_color="inverse" if is_bad and not is_same else "off",
        delta_arrow="off" if is_same else "auto",
        delta_description=origin if change else None,
        border=True,
        help=meaning,
        height="stretch",
    )


def _change(now: Decimal | int | None, before: Decimal | int | None) -> str | None:
    """Write how much a number changed. None where there is nothing to compare with, or it was nothing."""
    if now is None or not before:
        return None
    ratio = float(now) / float(before)
    return f"×{ratio:,.0f}" if ratio >= 10 else f"{ratio - 1:+.0%}"


def _points(now: Activity, then: Activity | None) -> str | None:
    """Write how many percentage points the error rate changed. None where one of the two is not known."""
    if then is None or then.error_rate is None or now.error_rate is None:
        return None
    return f"{(now.error_rate - then.error_rate) * _POINT:+.1f} pts"


def _rate_meaning(now: Activity) -> str:
    """Say what the error rate is made of."""
    aborted = f" ({display.count(now.aborted_answers)})" if now.aborted_answers else ""
    unfinished = f" ({display.count(now.unfinished_answers)})" if now.unfinished_answers else ""
    return (
        f"Of everything that was tried, what failed: {display.counted(now.failed_calls, 'tool call')} and "
        f"{display.counted(now.failed_answers, 'answer')} that ended in an error, of "
        f"{display.counted(now.calls, 'finished tool call')} and {display.counted(now.answers, 'answer')}. "
        "A shell command that ends with an exit code other than 0 has failed. "
        f"Answers that you cut short{aborted}, answers that never ended{unfinished} and calls that never finished are "
        "on neither side."
    )


def _open_agent(names: Sequence[str], table_key: str) -> None:
    """Show what the agent of a row cost, by model, from a callback."""
    number = tables.selected(table_key)
    if number is not None and number < len(names):
        filters.choose("agent", [names[number]])
        links.open_page(frame.COSTS, {"by": "model"})
