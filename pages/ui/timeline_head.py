"""The head of a session's timeline: what it is, what it did, where time and money went."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.ui import (
    activity,
    charts,
    data,
    display,
    links,
    states,
    tables,
    thin_bars,
    timeline_live,
    timeline_take,
)
from queries import costs, health, session_figures, tree_costs
from queries.session_figures import TimeSplit
from queries.traced_sessions import SessionHead
from queries.tree_costs import AgentCost

_TICK_S = 2.0


@dataclass(frozen=True, slots=True)
class _Shares:
    """Where time and money went."""

    time: TimeSplit | None
    agents: list[AgentCost]


def draw(head: SessionHead) -> None:
    """Draw the head and keep it up to date.

    Args:
        head: As the page was opened; what is kept up to date is newer.
    """
    interval = timeline_live.tick_s(timeline_live.look(), _TICK_S)
    with st.container(
        horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", key="timeline_top"
    ):
        with st.container(horizontal=True, vertical_alignment="center", gap="medium", width="content"):
            _ways(head)
        with st.container(width="content"):
            timeline_take.draw(head)
    with st.container(gap="xsmall", key="timeline_name"):
        st.fragment(run_every=interval)(_name)(interval)
    st.fragment(run_every=interval)(_numbers)(interval)


def title(head: SessionHead) -> str:
    """Name the session."""
    return tables.session_title(head.title, head.is_deleted)


def facts(head: SessionHead, tz: str) -> str:
    """Say where and when it was, and how much of that time it worked."""
    said = [f"Project {display.one_line(head.project, 60)}"] if head.project else []
    if head.started_at is None:
        return " · ".join([*said, "no time is recorded"])
    began = display.local(head.started_at, tz)
    if head.ended_at is None or head.wall_ms is None:
        return " · ".join([*said, f"{display.moment(began)} ({tz})"])
    ended = display.local(head.ended_at, tz)
    until = f"{ended:%H:%M}" if ended.date() == began.date() else display.moment(ended)
    said.append(f"{display.moment(began)} to {until} ({tz})")
    said.append(f"active {display.active(head.active_ms)} of {display.duration(head.wall_ms)}")
    return " · ".join(said)


def time_bar(split: TimeSplit | None) -> thin_bars.Bar:
    """Make the bar of where the time went while something was asked. Waiting for a prompt is no part of it."""
    parts = (
        (
            ("Model", split.model_ms, 4),
            ("Tools", split.tools_ms - split.delegated_ms, 2),
            ("Delegated", split.delegated_ms, 5),
            ("Unknown", split.unknown_ms, 0),
        )
        if split
        else ()
    )
    return {
        "title": "Time",
        "shares": [
            {"name": name, "size": float(ms), "text": display.duration(ms), "colour": colour}
            for name, ms, colour in parts
        ],
        "empty": "not recorded",
    }


def cost_bar(agents: Sequence[AgentCost], slots: Mapping[str, int]) -> thin_bars.Bar:
    """Make the bar of what each agent cost, in the colours that agents have everywhere.

    Args:
        agents: Dearest first.
        slots: Colour of each agent that has one; the others are drawn last, alike.
    """
    return {
        "title": "Cost",
        "shares": [
            {
                "name": display.one_line(row.agent, 40),
                "size": float(row.cost_recorded_usd or 0),
                "text": display.usd(row.cost_recorded_usd),
                "colour": slots.get(row.agent, charts.SLOTS + 1),
            }
            for row in sorted(agents, key=lambda row: row.agent not in slots)
        ],
        "empty": "nothing was recorded" if all(row.cost_recorded_usd is None for row in agents) else "$0",
    }


def _name(interval: float) -> None:
    """Name the session, at the newest revision.

    Args:
        interval: Seconds between two calls; once another one is right, the page starts over with that.
    """
    live = timeline_live.look()
    if timeline_live.tick_s(live, _TICK_S) != interval:
        st.rerun(scope="app")
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.title(display.md(title(live.head)), anchor=False, width="content")
        st.caption(_as_of(), width="content")
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="timeline_chips"):
        _chips(live.head, live.is_running)
        st.caption(display.md(facts(live.head, data.zone())), width="content")


def _numbers(interval: float) -> None:
    """Draw what it did, at the newest revision.

    Args:
        interval: As for `_name`, which looks after it.
    """
    live = timeline_live.look()
    if (newest := data.latest(health.status)).is_partial:
        states.partial(newest, data.doing(newest), is_of_spend=False)
    shares = timeline_live.read("shares", live, lambda: _shares(live.session_id))
    numbers, bars = st.columns([7, 4], gap="medium", vertical_alignment="center")
    with numbers, st.container(key="timeline_kpis"):
        _figures(live.head)
    with bars:
        thin_bars.draw([time_bar(shares.time), cost_bar(shares.agents, _slots())], key="timeline_bars")


def _ways(head: SessionHead) -> None:
    """Draw the ways to all sessions, and to those that this one comes from."""
    links.way("All sessions", "arrow_back", "timeline_all", None)
    for label, session_id, icon in _related(head):
        links.way(label, icon, f"timeline_{icon}", session_id)
    links.why(head.session_id)


def _related(head: SessionHead) -> list[tuple[str, str, str]]:
    """List the sessions that this one comes from: label, id, icon."""
    found = []
    if head.root_session_id not in (head.session_id, head.parent_session_id):
        found.append(("Top session", head.root_session_id, "vertical_align_top"))
    if head.parent_session_id:
        label = "Parent session (not indexed)" if head.is_parent_missing else "Parent session"
        found.append((label, head.parent_session_id, "arrow_upward"))
    if head.forked_from:
        found.append(("Forked from", head.forked_from, "call_split"))
    return found


def _chips(head: SessionHead, is_running: bool) -> None:
    """Say by whom it was answered, and what is special about it."""
    if is_running:
        st.badge("running", icon=":material/sensors:", color="blue")
    for name in (head.agent, head.model):
        if name:
            st.badge(display.md(display.one_line(name, 60)), color="gray")
    marks: tuple[tuple[object, str, Literal["blue", "violet", "gray", "orange"]], ...] = (
        (head.parent_session_id, "child session", "blue"),
        (head.fork_copies, display.counted(head.fork_copies, "fork copy", "fork copies"), "violet"),
        (head.is_deleted, "deleted in OpenCode", "gray"),
        (head.is_archived, "archived", "gray"),
        (head.is_missing_in_newer, "only in older storage", "orange"),
        (head.is_placeholder, "no session record", "orange"),
    )
    for is_set, words, color in marks:
        if is_set:
            st.badge(words, color=color)


def _as_of() -> str:
    """Say how fresh the page is: it follows by itself."""
    newest, said = data.latest(health.status), data.activity()
    does = activity.condition(newest.phase, newest.updated_at, said, data.now())
    until = said.current_until() if said and activity.is_at_work(does) else None
    return states.as_of(newest, data.zone(), until, does)


def _figures(head: SessionHead) -> None:
    """Draw the numbers of the session itself, each beside what it delegated."""
    cost, tokens, exchanges, tools, delegated, errors = st.columns(6, gap="small")
    has_below = head.subtree_sessions > 1
    with_below = "with delegated" if has_below else None
    _figure(
        cost,
        "Cost",
        display.usd(head.cost_recorded_usd),
        f"{display.usd(head.subtree_cost_usd)} {with_below}" if with_below else _unrecorded(head),
        "USD as OpenCode recorded it, of the session itself; below it, with the sessions that it delegated to. A dash: "
        "none was recorded.",
    )
    _figure(
        tokens,
        "Tokens",
        display.tokens(head.total_tokens),
        f"{display.tokens(head.subtree_tokens)} {with_below}" if with_below else None,
        f"{display.count(head.total_tokens)} = input + output + reasoning + cache read + cache write, each token once.",
    )
    _figure(exchanges, "Exchanges", display.count(head.exchanges), None, "A user message and what answers it.")
    _figure(
        tools,
        "Tools",
        display.count(head.tool_calls),
        f"{display.count(head.failed_tool_calls)} failed" if head.failed_tool_calls else None,
        "Tool calls of the session itself, delegations among them.",
    )
    _figure(
        delegated,
        "Delegated",
        display.count(head.delegations),
        display.counted(head.subtree_sessions - 1, "session") + " below" if has_below else None,
        "Calls that run a subagent; below it, the sessions that hang below this one, at any depth.",
    )
    _figure(
        errors,
        "Errors",
        display.count(head.errors),
        None,
        f"{tables.ERRORS} Those of the session itself.",
    )


def _unrecorded(head: SessionHead) -> str | None:
    """Say how many messages have no recorded cost."""
    return f"{display.count(head.unrecorded_messages)} unrecorded" if head.unrecorded_messages else None


def _figure(place: DeltaGenerator, label: str, value: str, beside: str | None, meaning: str) -> None:
    """Draw one number with what belongs to it."""
    place.metric(label, value, beside, delta_color="off", delta_arrow="off", help=meaning)


def _shares(session_id: str) -> _Shares:
    """Read where time and money went."""
    time = data.share(session_figures.time_split, session_id)
    return _Shares(time if time.wall_ms else None, data.share(tree_costs.agent_costs, session_id))


def _slots() -> dict[str, int]:
    """Return the colours of the agents that have one."""
    return {entry.key: entry.rank for entry in data.load(costs.cost_ranks, "agent") if entry.rank <= charts.SLOTS}
