"""Rows of one session in, tables ready to show out; see `tables`."""

from collections.abc import Callable, Sequence

import streamlit as st
from pandas.io.formats.style import Styler

from pages.ui import display, tables, timeline_payload
from queries import waste
from queries.session_figures import ExchangeCost, FileTouched, SessionFigures, TimeSplit, ToolTime
from queries.traced_sessions import TracedSession
from queries.waste import Waste

_INDENT = "\u2003"
_LINKS = {
    "ok": "",
    "resumed": "resumed by a further call",
    "missing": "not in the index",
    "cycle": "cycle: it is above its own caller",
    "elsewhere": "belongs to another session",
}
_CATEGORIES = {
    waste.LOOP: ("loop", "loops"),
    waste.EDIT_FAIL_EDIT: ("edit, fail, edit", "times edit, fail, edit"),
    waste.FAILED: ("failed exchange", "failed exchanges"),
    waste.ABORTED: ("exchange cut short", "exchanges cut short"),
}
_SESSION_COUNTS = {
    "Active": "active_ms",
    "Exchanges": "exchanges",
    "Tools": "tool_calls",
    "Errors": "errors",
    "Own tokens": "own_tokens",
    "Total tokens": "subtree_tokens",
}
_FILE_COUNTS = {"Edits": "edits", "Failed": "failed_edits", "Reads": "reads", "Snapshots": "snapshots"}
_Table = tuple[Styler, tables.Config]


def sessions(rows: Sequence[TracedSession], tz: str, is_running: bool) -> _Table:
    """Lay out the tree of sessions: what each used itself, and with all below it.

    Args:
        rows: Parents before children.
        tz: Zone of the times.
        is_running: Whether the tree still works.
    """
    cells: tables.Columns = {"Session": [tree_title(row) for row in rows]}
    cells["Status"] = [standing(row, is_running) for row in rows]
    cells["Link"] = [link(row) for row in rows]
    cells["Agent"] = [display.one_line(row.agent) or display.MISSING for row in rows]
    cells["Model"] = [display.one_line(row.model) or display.MISSING for row in rows]
    cells["Started"] = tables.times((row.started_at for row in rows), tz)
    for label, counter in _SESSION_COUNTS.items():
        cells[label] = tables.floats(getattr(row, counter) if row.link == "ok" else None for row in rows)
    cells["Own cost"] = tables.money(row.own_cost_usd for row in rows)
    cells["Total cost"] = tables.money(row.subtree_cost_usd for row in rows)
    if not any(cells["Link"]):
        del cells["Link"]
    config: tables.Config = {
        "Session": st.column_config.TextColumn(width=290),
        "Status": st.column_config.TextColumn(width=80, help="How its last exchange ended."),
        "Link": st.column_config.TextColumn(width=150, help="Where the call and the session do not fit together."),
        "Started": st.column_config.DatetimeColumn(format="MMM D, HH:mm:ss", width=125, help=f"In {display.md(tz)}."),
        "Active": tables.number(
            "Active", "From each prompt to the end of its answer. A dash: no answer has both times."
        ),
        "Exchanges": tables.number("Exchanges", "A user message and what answers it."),
        "Tools": tables.number("Tools", "Tool calls."),
        "Errors": tables.number("Errors", "Answers that ended in an error, plus tool calls that failed."),
        "Own tokens": tables.number("Own tokens", "Every token once, without the sessions below."),
        "Total tokens": tables.number("Total tokens", "With all sessions below."),
        "Own cost": tables.number("Own cost", "USD as recorded, without the sessions below."),
        "Total cost": tables.number("Total cost", "With all sessions below."),
    }
    formats: dict[str, Callable[..., str]] = {
        "Started": display.moment,
        "Active": display.active,
        **dict.fromkeys(("Exchanges", "Tools", "Errors"), display.count),
        **dict.fromkeys(("Own tokens", "Total tokens"), display.tokens),
        **dict.fromkeys(("Own cost", "Total cost"), tables.usd4),
    }
    return tables.styled(cells, formats), config


def tree_title(row: TracedSession) -> str:
    """Name a session of a tree, further to the right the deeper it is."""
    name = tables.session_title(row.title, row.is_deleted) if row.link != "missing" else row.session_id
    return f"{_INDENT * row.depth}{'└ ' if row.depth else ''}{name}"


def link(row: TracedSession) -> str:
    """Say where a call and the session that it runs do not fit together. Empty where they do."""
    if row.link == "ok" and row.depth and row.delegating_trace_id is None:
        return "no recorded call runs it"
    return _LINKS.get(row.link, row.link)


def standing(row: TracedSession, is_running: bool) -> str:
    """Say how a session stands."""
    if row.link != "ok":
        return display.MISSING
    return "running" if row.status == "unfinished" and is_running else row.status or "empty"


def findings(rows: Sequence[Waste], titles: dict[str, str]) -> _Table:
    """Lay out what was spent for nothing.

    Args:
        rows: What was found.
        titles: Names of the sessions by id.
    """
    cells: tables.Columns = {"Kind": [category(row.finding.category)[0] for row in rows]}
    cells["What"] = [timeline_payload.sentence(row.finding) for row in rows]
    cells["Where"] = [display.one_line(row.finding.label, 200) for row in rows]
    cells["Exchange"] = tables.ints(row.finding.exchange for row in rows)
    if len({row.finding.session_id for row in rows}) > 1:
        cells["Session"] = [titles.get(row.finding.session_id, row.finding.session_id) for row in rows]
    cells["Tokens"] = tables.ints(row.tokens for row in rows)
    cells["Cost"] = tables.money(row.cost_usd for row in rows)
    config: tables.Config = {
        "Kind": st.column_config.TextColumn(width=140),
        "What": st.column_config.TextColumn(width=330),
        "Where": st.column_config.TextColumn(width=420),
        "Exchange": tables.number("Exchange", "Number in its session.", 80),
        "Session": st.column_config.TextColumn(width=220),
        "Tokens": tables.number("Tokens", "Of the model requests concerned, each whole."),
        "Cost": tables.number("Cost, recorded", "Of the model requests concerned, each whole. USD."),
    }
    return tables.styled(cells, {"Exchange": display.count, "Tokens": display.tokens, "Cost": tables.usd4}), config


def category(name: str | None) -> tuple[str, str]:
    """Name one finding of a kind, and several."""
    return _CATEGORIES.get(name or "", (name or "", name or ""))


def exchanges(rows: Sequence[ExchangeCost], tz: str) -> _Table:
    """Lay out what each exchange cost."""
    cells: tables.Columns = {"Number": tables.ints(row.number for row in rows)}
    cells["Asked"] = [display.one_line(row.label, 200) or f"({row.kind})" for row in rows]
    cells["Started"] = tables.times((row.started_at for row in rows), tz)
    cells["Status"] = [row.status for row in rows]
    cells["Tokens"] = tables.ints(row.tokens for row in rows)
    cells["Cost"] = tables.money(row.cost_usd for row in rows)
    if any(row.delegated_tokens or row.delegated_cost_usd for row in rows):
        cells["Delegated tokens"] = tables.ints(row.delegated_tokens for row in rows)
        cells["Delegated cost"] = tables.money(row.delegated_cost_usd for row in rows)
    config: tables.Config = {
        "Number": tables.number("#", "Number of the exchange.", 50),
        "Asked": st.column_config.TextColumn(width=420, help="The first line of the prompt."),
        "Started": st.column_config.DatetimeColumn(format="MMM D, HH:mm:ss", width=125, help=f"In {display.md(tz)}."),
        "Status": st.column_config.TextColumn(width=90),
        "Tokens": tables.number("Tokens", "Every token once."),
        "Cost": tables.number("Cost, recorded", "USD as OpenCode recorded it. A dash: none was recorded."),
        "Delegated tokens": tables.number("Delegated tokens", "Of the sessions that its calls ran first."),
        "Delegated cost": tables.number("Delegated cost", "Of the sessions that its calls ran first, USD."),
    }
    formats: dict[str, Callable[..., str]] = {
        "Number": display.count,
        "Started": display.moment,
        **dict.fromkeys(("Tokens", "Delegated tokens"), display.tokens),
        **dict.fromkeys(("Cost", "Delegated cost"), tables.usd4),
    }
    return tables.styled(cells, formats), config


def time_split(split: TimeSplit) -> _Table:
    """Lay out where the time went."""
    parts = (
        ("Model", split.model_ms),
        ("Tools, approval included", split.tools_ms),
        ("of that, delegated sessions", split.delegated_ms),
        ("Between prompts", split.between_ms),
        ("Unknown", split.unknown_ms),
        ("Together", split.wall_ms),
    )
    cells: tables.Columns = {"Time": [name for name, _ in parts]}
    cells["Spent"] = tables.ints(ms for _, ms in parts)
    cells["Share"] = tables.floats(ms / split.wall_ms if split.wall_ms else None for _, ms in parts)
    config: tables.Config = {
        "Spent": tables.number(
            "Duration", "From the first to the last recorded time. Tools that ran at once count once."
        ),
        "Share": tables.number("Share", "Of the time from the first to the last event."),
    }
    return tables.styled(cells, {"Spent": display.duration, "Share": display.percent}), config


def tools(rows: Sequence[ToolTime]) -> _Table:
    """Lay out how long tools took."""
    cells: tables.Columns = {"Tool": [display.one_line(row.name, 60) for row in rows]}
    for label, counter in (("Calls", "calls"), ("Failed", "failed_calls"), ("Unfinished", "unfinished_calls")):
        cells[label] = tables.ints(getattr(row, counter) for row in rows)
    cells["Total"] = tables.floats(row.total_ms for row in rows)
    cells["Slowest"] = tables.floats(row.slowest_ms for row in rows)
    cells["Call"] = [display.one_line(row.slowest_label, 120) for row in rows]
    if not any(cells["Unfinished"]):
        del cells["Unfinished"]
    config: tables.Config = {
        "Tool": st.column_config.TextColumn(width=120),
        "Calls": tables.number("Calls", "All calls."),
        "Failed": tables.number("Failed", "Calls that failed."),
        "Unfinished": tables.number("Unfinished", "Calls that never ended: neither ok nor failed."),
        "Total": tables.number("Total time", "Of the calls whose start and end are known, approval included."),
        "Slowest": tables.number("Slowest", "The slowest call; tick the row to see it."),
        "Call": st.column_config.TextColumn("Slowest call", width=260),
    }
    formats: dict[str, Callable[..., str]] = {
        **dict.fromkeys(("Calls", "Failed", "Unfinished"), display.count),
        **dict.fromkeys(("Total", "Slowest"), display.duration),
    }
    return tables.styled(cells, formats), config


def files(rows: Sequence[FileTouched]) -> _Table:
    """Lay out what files were touched."""
    cells: tables.Columns = {"File": [display.one_line(row.path, 200) for row in rows]}
    for label, counter in _FILE_COUNTS.items():
        cells[label] = tables.ints(getattr(row, counter) for row in rows)
    cells["Added"] = tables.floats(row.additions for row in rows)
    cells["Deleted"] = tables.floats(row.deletions for row in rows)
    cells["More"] = ["and more" if row.uncounted_edits else "" for row in rows]
    for label in ("Failed", "Snapshots", "More"):
        if not any(cells[label]):
            del cells[label]
    config: tables.Config = {
        "File": st.column_config.TextColumn(width=330),
        "Edits": tables.number("Edits", "Calls that changed it, or tried to."),
        "Failed": tables.number("Failed", "Edits that failed."),
        "Reads": tables.number("Reads", "Calls that read it."),
        "Snapshots": tables.number("Seen changed", "Steps after which OpenCode saw it changed, by whatever means."),
        "Added": tables.number("Lines added", "That calls asked to add. A dash: no call tells."),
        "Deleted": tables.number("Lines deleted", "That calls asked to delete. A dash: no call tells."),
        "More": st.column_config.TextColumn(
            "", width=80, help="Some edits do not tell: what a write replaced, how often a text occurred."
        ),
    }
    formats = dict.fromkeys((*_FILE_COUNTS, "Added", "Deleted"), display.count)
    return tables.styled(cells, formats), config


def context(found: SessionFigures) -> str:
    """Say in words what the chart of the context shows."""
    if not found.context:
        return ""
    largest = max(point.context_tokens for point in found.context)
    compacted = f", summarised {display.counted(found.compactions, 'time')}" if found.compactions else ""
    last = found.context[-1].context_tokens
    return f"Largest: {display.tokens(largest)} tokens, last: {display.tokens(last)}{compacted}."
