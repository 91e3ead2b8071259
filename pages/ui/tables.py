"""Rows in, a table ready to show out: numbers stay numbers, so that a click on a heading sorts them."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st
from pandas.io.formats.style import Styler

from pages.ui import cell_texts, display
from queries.costs import LIST, TIME_GROUPINGS, CostRow, per_session
from queries.errors import ErrorEvent
from queries.overview import Activity
from queries.period import Scope
from queries.sessions import SessionDetail, SessionModel, SessionRow
from queries.tools import ToolSpeed

if TYPE_CHECKING:
    from streamlit.elements.lib.column_types import ColumnConfig

P95_MEANING = "19 of 20 calls were this fast or faster. The tool `task` lasts as long as the session it delegates to."
UNKNOWN_TIME = "unknown time"
CHIPS = ("fork copies", "deleted", "archived", "only in older storage", "no session record", "child")

# Of a cell with chips, in pixels: its own margins, those of a chip, a letter, and what one gets at most.
_CELL_PX, _CHIP_PX, _LETTER_PX, _MOST_CHIPS_PX = 16, 16, 6, 200

_TOKENS = {
    "Input": "Tokens sent to the model, without cached ones.",
    "Output": "Tokens the model answered with, as recorded. Some clients count reasoning in here.",
    "Reasoning": "Tokens of reasoning, as recorded.",
    "Cache read": "Tokens the provider read from its cache.",
    "Cache write": "Tokens the provider wrote to its cache.",
    "Total tokens": "Input, output, reasoning, cache read and cache write together, each token once.",
}
_ACTIVE = "From each prompt to the end of its answer; waiting in between is left out. A dash: no answer has both times."
_FOUND = "Where the text was found first: title, prompt or answer."
# Columns of the picker that count something, and where the number is in a row.
ERRORS = "Answers that ended in an error, plus tool calls that failed. What you cut short is no error."
_DEEDS = {"Exchanges": "exchanges", "Tools": "tool_calls", "Children": "children", "Errors": "errors"}
Config = dict[str, "ColumnConfig"]
Columns = dict[str, "np.ndarray | Sequence[object]"]


def key(name: str, *parts: object) -> str:
    """Make the key of a table: another one for other rows, so that a selected row number never meets another row.

    Not for another revision: a table whose rows are the same keeps its tick and its place.
    """
    return f"{name}_{hashlib.sha256(repr(parts).encode('utf-8', 'replace')).hexdigest()[:12]}"


def selected(table_key: str) -> int | None:
    """Return the number of the row that was selected, from a callback. None if a selection was taken back."""
    rows = st.session_state[table_key]["selection"]["rows"]
    return int(rows[0]) if rows else None


def costs(
    rows: Sequence[CostRow], by: str, basis: str, names: Mapping[str, str], trends: Mapping[str, Sequence[float]]
) -> tuple[Styler, Config]:
    """Lay out the Costs table.

    Args:
        rows: What to show.
        by: The grouping; heads the first column.
        basis: What shares, trends and costs per session go by.
        names: What to call a key.
        trends: Cost per step of a key; without any there is no such column.

    Returns:
        The table and how to show its columns.
    """
    heading = by.capitalize()
    cells: Columns = {heading: [group(row, by, names) for row in rows]}
    cells["Cost"] = money(row.cost_recorded_usd for row in rows)
    cells["List"] = money(row.cost_usd(LIST) for row in rows)
    cells["Share"] = floats(None if row.share is None else row.share * 100 for row in rows)
    if trends:
        cells["Trend"] = [list(trends.get(row.key or "", ())) for row in rows]
    cells["Sessions"] = ints(row.sessions for row in rows)
    cells["Per session"] = money(per_session(row.cost_usd(basis), row.sessions) for row in rows)
    for label, counter in _counters(rows).items():
        cells[label] = counter
    cells["Errors"] = ints(row.errors for row in rows)
    if by == "session":
        del cells["Sessions"], cells["Per session"]
    formats = {
        "Cost": _usd2,
        "List": _usd2,
        "Per session": usd4,
        **dict.fromkeys(_TOKENS, display.tokens),
        "Sessions": display.count,
        "Errors": display.count,
    }
    wide = by in ("model", "session", "project")
    words = "list price" if basis == LIST else "recorded cost"
    config: Config = {
        heading: st.column_config.TextColumn(width=320 if by == "session" else 200 if wide else 130),
        "Cost": number("Cost, recorded", "USD as OpenCode recorded it. A dash: none was recorded."),
        "List": number("Cost at list prices", "USD at public prices of the days. A dash: no price is known."),
        "Share": st.column_config.ProgressColumn(
            "Share of cost",
            min_value=0,
            max_value=100,
            format="%.1f%%",
            width=110,
            help=f"Part of the {words} of everything that the filters leave.",
        ),
        "Trend": st.column_config.BarChartColumn(
            y_min=0, width="small", help=f"Course of the {words} over the range, each row to its own scale."
        ),
        "Sessions": number("Sessions", "Sessions with a message in this group. A session can be in several groups."),
        "Per session": number("Cost per session", f"The {words} divided by sessions, USD."),
        **{label: number(label, meaning) for label, meaning in _TOKENS.items()},
        "Errors": number("Errors", ERRORS),
    }
    return styled(cells, formats), config


def group(row: CostRow, by: str, names: Mapping[str, str]) -> str:
    """Name a group in one line."""
    if row.key is None:
        return UNKNOWN_TIME
    if by == "week":
        year, week, weekday = datetime.fromisoformat(row.key).isocalendar()
        return f"{row.key} (W{week:02d})" if weekday == 1 else row.key  # numbers are of weeks that begin on Monday
    if by in TIME_GROUPINGS:
        return row.key
    return display.one_line(names.get(row.key)) or display.one_line(row.label) or display.one_line(row.key)


def sessions(rows: Sequence[SessionRow], scope: Scope, fold: bool) -> tuple[Styler, Config]:
    """Lay out the Sessions table.

    Args:
        rows: What to show.
        scope: The filters: where they may pick some of a session's messages, the session's own totals stand beside.
        fold: Whether child sessions are part of their root's row.

    Returns:
        The table and how to show its columns.
    """
    cells: Columns = {"Title": [session_title(row.title, row.is_deleted) for row in rows]}
    if scope.text:
        cells["Found"] = [f"{row.hit_place}: {display.one_line(row.hit, 200)}" if row.hit else "" for row in rows]
    cells["Cost"] = money(row.cost_recorded_usd for row in rows)
    cells["Tokens"] = ints(row.total_tokens for row in rows)
    if scope.is_by_message:
        cells["Session cost"] = money(row.session_cost_usd for row in rows)
        cells["Session tokens"] = ints(row.session_tokens for row in rows)
    cells["Started"] = np.array([row.started_at for row in rows], dtype="datetime64[us]")
    notes = [chips(row) for row in rows]
    if any(notes):
        cells["Notes"] = notes
    cells["Agent"] = [display.one_line(row.agent) or display.MISSING for row in rows]
    cells["Model"] = [display.one_line(row.model) or display.MISSING for row in rows]
    cells["Project"] = [
        display.one_line(row.project_name or (row.project_id or "")[:8]) or display.MISSING for row in rows
    ]
    cells["Active"] = ints(row.active_ms for row in rows)
    cells["Prompts"] = ints(row.exchanges for row in rows)
    cells["Tools"] = ints(row.tool_calls for row in rows)
    cells["Errors"] = ints(row.errors for row in rows)
    cells["Children"] = ints(row.children for row in rows)
    formats: dict[str, Callable[..., str]] = {
        "Started": display.moment,
        "Cost": _usd2,
        "Session cost": _usd2,
        "Tokens": display.tokens,
        "Session tokens": display.tokens,
        "Active": display.active,
        **dict.fromkeys(("Prompts", "Tools", "Errors", "Children"), display.count),
    }
    with_children = ", with those of its child sessions" if fold else ""
    folded = " With those of its child sessions." if fold else ""
    matching = "of the messages that match" if scope.is_by_message else "of all its messages"
    config: Config = {
        "Title": st.column_config.TextColumn(width=220),
        "Found": st.column_config.TextColumn(width=330, help=_FOUND),
        "Started": st.column_config.DatetimeColumn(
            format="MMM D, YYYY HH:mm", width=132, help=f"In {display.md(scope.tz)}."
        ),
        "Cost": number(
            "Cost, recorded", f"USD as OpenCode recorded it, {matching}{with_children}. A dash: none was recorded."
        ),
        "Tokens": number("Tokens", f"Every token once, {matching}{with_children}."),
        "Session cost": number("Session cost", f"USD as recorded, of all its messages{with_children}."),
        "Session tokens": number("Session tokens", f"Every token once, of all its messages{with_children}."),
        "Agent": st.column_config.TextColumn(help="Of the newest message."),
        "Model": st.column_config.TextColumn(help="Of the newest message."),
        "Project": st.column_config.TextColumn(),
        "Active": number("Active time", _ACTIVE),
        "Prompts": number("Exchanges", "A user message and what answers it."),
        "Tools": number("Tool calls", f"All calls{with_children}."),
        "Errors": number("Errors", f"{ERRORS}{folded}"),
        "Children": _children(scope, fold),
        "Notes": _chips_column(notes),
    }
    return styled(cells, formats), config


def picker(rows: Sequence[SessionRow], scope: Scope, fold: bool) -> tuple[Styler, Config]:
    """Lay out the sessions that one can look at on the Timeline: what tells them apart.

    Args:
        rows: What to show.
        scope: The filters.
        fold: Whether child sessions are part of their root's row.
    """
    cells: Columns = {"Title": [session_title(row.title, row.is_deleted) for row in rows]}
    if scope.text:
        cells["Found"] = [f"{row.hit_place}: {display.one_line(row.hit, 200)}" if row.hit else "" for row in rows]
    cells["Last active"] = times((row.last_active_utc for row in rows), scope.tz)
    notes = [chips(row) for row in rows]
    if any(notes):
        cells["Notes"] = notes
    cells["Agent"] = [display.one_line(row.agent) or display.MISSING for row in rows]
    cells["Model"] = [display.one_line(row.model) or display.MISSING for row in rows]
    cells["Project"] = [
        display.one_line(row.project_name or (row.project_id or "")[:8]) or display.MISSING for row in rows
    ]
    cells["Active"] = ints(row.active_ms for row in rows)
    for label, counter in _DEEDS.items():
        cells[label] = ints(getattr(row, counter) for row in rows)
    cells["Cost"] = money(row.session_cost_usd for row in rows)
    formats: dict[str, Callable[..., str]] = {
        "Last active": display.moment,
        "Active": display.active,
        "Cost": _usd2,
        **dict.fromkeys(_DEEDS, display.count),
    }
    config: Config = {
        "Title": st.column_config.TextColumn(width=220),
        "Found": st.column_config.TextColumn(width=330, help=_FOUND),
        "Last active": st.column_config.DatetimeColumn(
            format="MMM D, YYYY HH:mm", width=132, help=f"Last message, in {display.md(scope.tz)}."
        ),
        "Notes": _chips_column(notes),
        "Agent": st.column_config.TextColumn(help="Of the newest message."),
        "Model": st.column_config.TextColumn(help="Of the newest message."),
        "Active": number("Active time", _ACTIVE),
        "Exchanges": number("Exchanges", "A user message and what answers it."),
        "Tools": number("Tools", "Tool calls."),
        "Children": _children(scope, fold),
        "Errors": number("Errors", ERRORS),
        "Cost": number("Cost, recorded", "USD as OpenCode recorded it. A dash: none was recorded."),
    }
    return styled(cells, formats), config


def chips(row: SessionRow) -> list[str]:
    """Name what is special about a session."""
    marks = (
        row.fork_copies > 0,
        row.is_deleted,
        row.is_archived,
        row.is_missing_in_newer,
        row.is_placeholder,
        row.is_child,
    )
    return [chip for chip, is_set in zip(CHIPS, marks, strict=True) if is_set]


def last_sessions(rows: Sequence[SessionRow], tz: str) -> tuple[Styler, Config]:
    """Lay out the sessions that were active last, for half a page.

    Args:
        rows: What to show.
        tz: Zone of the times.
    """
    cells: Columns = {"Title": [session_title(row.title, row.is_deleted) for row in rows]}
    cells["Active"] = times((row.last_active_utc for row in rows), tz)
    cells["Cost"] = money(row.cost_recorded_usd for row in rows)
    cells["Errors"] = ints(row.errors for row in rows)
    cells["Agent"] = [display.one_line(row.agent) or display.MISSING for row in rows]
    config: Config = {
        "Title": st.column_config.TextColumn(width=160),
        "Active": st.column_config.DatetimeColumn(
            "Last active", format="MMM D, HH:mm", width=95, help=f"Last message, in {display.md(tz)}."
        ),
        "Cost": number("Cost", "USD as recorded, of the messages that match, with child sessions.", 60),
        "Errors": number("Errors", ERRORS, 55),
        "Agent": st.column_config.TextColumn(help="Of the newest message.", width=75),
    }
    return styled(cells, {"Cost": _usd2, "Errors": display.count, "Active": display.moment}), config


def agents(rows: Sequence[Activity]) -> tuple[Styler, Config]:
    """Lay out what each agent did."""
    cells: Columns = {"Agent": [display.one_line(row.agent) for row in rows]}
    cells["Cost"] = money(row.cost_recorded_usd for row in rows)
    cells["Tokens"] = ints(row.total_tokens for row in rows)
    cells["Sessions"] = ints(row.sessions for row in rows)
    cells["Errors"] = ints(row.errors for row in rows)
    cells["Rate"] = floats(row.error_rate for row in rows)
    config: Config = {
        "Agent": st.column_config.TextColumn(width=150),
        "Cost": number("Cost, recorded", "USD as OpenCode recorded it. A dash: none was recorded."),
        "Tokens": number("Tokens", "Every token once."),
        "Sessions": number("Sessions", "Sessions in which it answered."),
        "Errors": number("Errors", "Its answers that ended in an error, plus its tool calls that failed."),
        "Rate": number("Error rate", "Errors of all its answers and finished tool calls."),
    }
    formats: dict[str, Callable[..., str]] = {
        "Cost": _usd2,
        "Tokens": display.tokens,
        "Sessions": display.count,
        "Errors": display.count,
        "Rate": display.percent,
    }
    return styled(cells, formats), config


def tools(rows: Sequence[ToolSpeed]) -> tuple[Styler, Config]:
    """Lay out how fast tools are. What is known from a few calls only is marked."""
    rare = [row.is_rare for row in rows]
    cells: Columns = {"Tool": [display.one_line(row.tool_name) for row in rows]}
    cells["Calls"] = ints(row.calls for row in rows)
    cells["p95"] = floats(row.p95_ms for row in rows)
    cells["Failed"] = ints(row.failed_calls for row in rows)
    cells["Share"] = floats(row.failed_share for row in rows)
    config: Config = {
        "Tool": st.column_config.TextColumn(width=150),
        "Calls": number("Calls", "Calls that ended, well or not."),
        "p95": number("p95", P95_MEANING),
        "Failed": number("Failed", "Calls that failed."),
        "Share": number("Failed, %", "Failed calls of all calls that ended."),
    }
    formats: dict[str, Callable[..., str]] = {
        "Calls": display.count,
        "Failed": display.count,
        "Share": display.percent,
        "p95": display.duration,
    }
    laid_out = styled(cells, formats)
    few = [number for number, is_rare in enumerate(rare) if is_rare]
    return laid_out.format(_about, subset=(few, ["p95"]), na_rep=display.MISSING), config


def errors(rows: Sequence[ErrorEvent], tz: str) -> tuple[Styler, Config]:
    """Lay out what failed. Every text is plain, on one line.

    Args:
        rows: What to show.
        tz: Zone of the times.
    """
    cells: Columns = {"When": times((row.occurred_at for row in rows), tz)}
    cells["What"] = [display.one_line(row.name, 60) for row in rows]
    cells["Message"] = [error_text(row) for row in rows]
    cells["Session"] = [session_title(row.session_title, False) for row in rows]
    cells["Kind"] = ["tool call" if row.is_call else "answer" for row in rows]
    config: Config = {
        "When": st.column_config.DatetimeColumn(format="MMM D, HH:mm", width=100, help=f"In {display.md(tz)}."),
        "Kind": st.column_config.TextColumn(width=75),
        "What": st.column_config.TextColumn("Name", width=140, help="The tool, or the name of the error."),
        "Message": st.column_config.TextColumn(
            "First line", width=520, help="Of what was reported; of a program's output the last line."
        ),
        "Session": st.column_config.TextColumn(width=220),
    }
    return styled(cells, {"When": display.moment}), config


def error_text(row: ErrorEvent) -> str:
    """Write one line about what failed."""
    line = display.one_line(row.message, 200)
    if row.exit_code is None:
        return line
    code = "no exit code" if row.exit_code == "none" else f"exit {display.one_line(row.exit_code, 10)}"
    return f"{code}: {line}" if line else code


def session_title(title: str | None, is_deleted: bool) -> str:
    """Name a session on one line, also where its title is gone."""
    return display.one_line(title) or ("(deleted in OpenCode)" if is_deleted else "(no title)")


def session_numbers(detail: SessionDetail) -> tuple[Styler, Config]:
    """Lay out what a session used: own, copied from the session it was forked from, with child sessions."""
    columns = {
        "Own": ("", detail.cost_recorded_usd),
        "Inherited": ("inherited_", detail.inherited_cost_recorded_usd),
        "With children": ("subtree_", detail.subtree_cost_recorded_usd),
    }
    if not detail.fork_copies:
        columns.pop("Inherited")
    if detail.subtree_sessions <= 1:
        columns.pop("With children")
    counters = {
        "Input": "input",
        "Output": "output",
        "Reasoning": "reasoning",
        "Cache read": "cache_read",
        "Cache write": "cache_write",
        "Total tokens": "total",
    }
    cells: Columns = {"": ["Cost, recorded", *counters]}
    for heading, (prefix, cost) in columns.items():
        cells[heading] = [
            display.usd(cost, 4),
            *(f"{getattr(detail, f'{prefix}{counter}_tokens'):,}" for counter in counters.values()),
        ]
    config: Config = {
        "Own": _text("Own", "Of this session's own requests."),
        "Inherited": _text(
            "Inherited by fork", "Of the messages copied from another session; counted there, not here."
        ),
        "With children": _text("With child sessions", "Own plus all sessions it delegated to, at any depth."),
    }
    return styled(cells, {}), config


def session_models(rows: Sequence[SessionModel]) -> tuple[Styler, Config]:
    """Lay out what a session used by agent and model."""
    cells: Columns = {
        "Agent": [display.one_line(row.agent) for row in rows],
        "Model": [display.one_line(row.model) for row in rows],
    }
    cells["Cost"] = money(row.cost_recorded_usd for row in rows)
    cells["Messages"] = ints(row.messages for row in rows)
    for label, counter in _counters(rows).items():
        cells[label] = counter
    formats = {"Cost": usd4, "Messages": display.count, **dict.fromkeys(_TOKENS, display.tokens)}
    config: Config = {
        "Cost": number("Cost, recorded", "USD as OpenCode recorded it. A dash: none was recorded."),
        "Messages": number("Messages", "Answers, each request once."),
        **{label: number(label, meaning) for label, meaning in _TOKENS.items()},
    }
    return styled(cells, formats), config


def _counters(rows: Sequence[CostRow] | Sequence[SessionModel]) -> dict[str, np.ndarray]:
    """Return the token columns."""
    return {
        "Input": ints(row.input_tokens for row in rows),
        "Output": ints(row.output_tokens for row in rows),
        "Reasoning": ints(row.reasoning_tokens for row in rows),
        "Cache read": ints(row.cache_read_tokens for row in rows),
        "Cache write": ints(row.cache_write_tokens for row in rows),
        "Total tokens": ints(row.total_tokens for row in rows),
    }


def styled(cells: Columns, formats: Mapping[str, Callable[..., str]]) -> Styler:
    """Lay columns out, and give numbers their text; what is sorted is the number.

    Args:
        cells: All columns: to add one after the other to a frame takes seven times as long.
        formats: Of columns, of which some may not be there.
    """
    frame = pd.DataFrame(cells)
    known = {column: how for column, how in formats.items() if column in frame}
    return cell_texts.shortcut(frame.style.format(known, na_rep=display.MISSING))


def money(costs: Iterable[Decimal | None]) -> np.ndarray:
    """Make a column of costs. Only for showing: sums are made in SQL, as decimals."""
    return np.array([None if cost is None else float(cost) for cost in costs], dtype="float64")


def ints(numbers: Iterable[int]) -> np.ndarray:
    """Make a column of whole numbers."""
    return np.array(list(numbers), dtype="int64")


def _usd2(cost: float | None) -> str:
    """Write a total."""
    return display.usd(cost)


def usd4(cost: float | None) -> str:
    """Write the cost of one thing."""
    return display.usd(cost, 4)


def times(moments: Iterable[datetime | None], tz: str) -> np.ndarray:
    """Make a column of local times from naive UTC."""
    return np.array([display.local(at, tz) if at else None for at in moments], dtype="datetime64[us]")


def _about(ms: float | None) -> str:
    """Write a duration that a few calls decide."""
    return f"~ {display.duration(ms)}"


def floats(numbers: Iterable[float | None]) -> np.ndarray:
    """Make a column of numbers."""
    return np.array(list(numbers), dtype="float64")


def _children(scope: Scope, fold: bool) -> "ColumnConfig":
    """Describe the column that counts child sessions: filters do not change how many there are."""
    which = "All sessions below this one, at any depth" if fold else "Sessions that this one delegated to itself"
    return number("Children", f"{which}; also those that do not match the filters." if scope.is_narrow else f"{which}.")


def _chips_column(notes: Sequence[Sequence[str]]) -> "ColumnConfig":
    """Describe the column of what is special about a session, no wider than what is in it: for most that is nothing."""
    longest = max((sum(_CHIP_PX + _LETTER_PX * len(chip) for chip in row) for row in notes), default=0)
    return st.column_config.MultiselectColumn(
        width=min(_MOST_CHIPS_PX, _CELL_PX + longest),
        options=CHIPS,
        color=["violet", "gray", "gray", "orange", "orange", "blue"],
        help="Fork copies: it repeats messages of an older session, counted there.",
    )


def number(label: str, meaning: str, width: int | None = None) -> "ColumnConfig":
    """Describe a column of numbers."""
    return st.column_config.NumberColumn(label, help=meaning, alignment="right", width=width)


def _text(label: str, meaning: str) -> "ColumnConfig":
    """Describe a column of numbers that are text already."""
    return st.column_config.TextColumn(label, help=meaning, alignment="right")
