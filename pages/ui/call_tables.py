"""Rows in, the tables of the Tools page out. Every text is plain, on one line."""

from collections.abc import Callable, Sequence

import streamlit as st
from pandas.io.formats.style import Styler

from pages.ui import display, tables
from pages.ui.tables import Config
from queries.tool_reports import CallReport, FileUse, SlowCall

_TIME = "MMM D, YYYY HH:mm"
_PERCENTILES = {"p50": "p50_ms", "p90": "p90_ms", "p95": "p95_ms", "p99": "p99_ms"}
_FASTER = {
    "p50": "Half of the timed calls were this fast or faster.",
    "p90": "9 of 10 timed calls were this fast or faster.",
    "p95": "19 of 20 timed calls were this fast or faster.",
    "p99": "99 of 100 timed calls were this fast or faster.",
}


def reports(rows: Sequence[CallReport], heading: str, tz: str) -> tuple[Styler, Config]:
    """Lay out how calls went. Percentiles of a few calls are marked, with the number of these calls.

    Args:
        rows: What to show.
        heading: Of the first column.
        tz: Zone of the times.

    Returns:
        The table and how to show its columns; so do the functions below.
    """
    cells: tables.Columns = {heading: [display.one_line(row.key, 60) for row in rows]}
    cells["Calls"] = tables.ints(row.calls for row in rows)
    cells["Success"] = tables.floats(row.success_share for row in rows)
    cells["Failed"] = tables.ints(row.failed_calls for row in rows)
    cells["Unfinished"] = tables.ints(row.unfinished_calls for row in rows)
    for label, field in _PERCENTILES.items():
        cells[label] = tables.floats(getattr(row, field) for row in rows)
    cells["Max"] = tables.floats(row.max_ms for row in rows)
    cells["Total"] = tables.floats(row.total_ms for row in rows)
    cells["Output"] = tables.ints(row.output_bytes for row in rows)
    cells["Last"] = tables.times((row.last_at for row in rows), tz)
    if not any(cells["Unfinished"]):
        del cells["Unfinished"]
    config: Config = {
        heading: st.column_config.TextColumn(width=170),
        "Calls": tables.number("Calls", "Calls that ended, well or not."),
        "Success": tables.number("Success", "Of the calls that ended, those that did not fail."),
        "Failed": tables.number("Failed", "Calls that failed."),
        "Unfinished": tables.number("Unfinished", "Calls that never ended: neither ok nor failed."),
        **{label: tables.number(label, meaning) for label, meaning in _FASTER.items()},
        "Max": tables.number("Slowest", "The slowest timed call."),
        "Total": tables.number("Total time", "Timed calls added up, approval included."),
        "Output": tables.number("Output", "What the calls gave back, added up."),
        "Last": st.column_config.DatetimeColumn("Last called", format=_TIME, width=135, help=f"In {display.md(tz)}."),
    }
    formats: dict[str, Callable[..., str]] = {
        **dict.fromkeys(("Calls", "Failed", "Unfinished"), display.count),
        **dict.fromkeys((*_PERCENTILES, "Max", "Total"), display.duration),
        "Success": display.percent,
        "Output": display.size,
        "Last": display.moment,
    }
    return _marked(tables.styled(cells, formats), rows), config


def _marked(styled: Styler, rows: Sequence[CallReport]) -> Styler:
    """Mark percentiles of few calls: `~ 1.2 s (n 7)`, in grey."""
    for number, row in enumerate(rows):
        if row.is_rare and row.timed_calls:
            places = ([number], list(_PERCENTILES))
            note = f" (n {row.timed_calls})"
            styled = styled.format(lambda ms, note=note: f"~ {display.duration(ms)}{note}", subset=places)
            styled = styled.set_properties(subset=places, color="grey")
    return styled


def slowest(rows: Sequence[SlowCall], tz: str, *, with_tool: bool) -> tuple[Styler, Config]:
    """Lay out single calls.

    Args:
        rows: What to show.
        tz: Zone of the times.
        with_tool: Whether they are of several tools.
    """
    cells: tables.Columns = {"Duration": tables.floats(row.duration_ms for row in rows)}
    cells["Started"] = tables.times((row.started_at for row in rows), tz)
    if with_tool:
        cells["Tool"] = [display.one_line(row.tool_name, 60) for row in rows]
    cells["Works on"] = [display.one_line(row.target, 120) or None for row in rows]
    cells["Failed"] = ["failed" if row.is_failed else "" for row in rows]
    cells["Session"] = [tables.session_title(row.session_title, False) for row in rows]
    cells["Agent"] = [display.one_line(row.agent, 40) or display.MISSING for row in rows]
    cells["Model"] = [display.one_line(row.model, 60) for row in rows]
    cells["Output"] = tables.floats(row.output_bytes for row in rows)
    if not any(cells["Failed"]):
        del cells["Failed"]
    config: Config = {
        "Duration": tables.number("Duration", "From the start of the call to its end, approval included."),
        "Started": st.column_config.DatetimeColumn(format=_TIME, width=135, help=f"In {display.md(tz)}."),
        "Tool": st.column_config.TextColumn(width=110),
        "Works on": st.column_config.TextColumn(
            width=240, help="The program of a command; the files of a read or edit."
        ),
        "Failed": st.column_config.TextColumn("Outcome", width=75),
        "Session": st.column_config.TextColumn(width=300),
        "Output": tables.number("Output", "What the call gave back."),
    }
    formats: dict[str, Callable[..., str]] = {
        "Duration": display.duration,
        "Started": display.moment,
        "Output": display.size,
    }
    return tables.styled(cells, formats), config


def files(rows: Sequence[FileUse], tz: str) -> tuple[Styler, Config]:
    """Lay out the files that calls named."""
    cells: tables.Columns = {"File": [display.one_line(row.path, 200) for row in rows]}
    cells["Calls"] = tables.ints(row.calls for row in rows)
    cells["Reads"] = tables.ints(row.reads for row in rows)
    cells["Edits"] = tables.ints(row.edits for row in rows)
    cells["Failed"] = tables.ints(row.failed_calls for row in rows)
    cells["Last"] = tables.times((row.last_at for row in rows), tz)
    counts = ("Calls", "Reads", "Edits", "Failed")
    config: Config = {
        "File": st.column_config.TextColumn(width=520),
        "Calls": tables.number("Calls", "Calls that named it."),
        "Reads": tables.number("Reads", "Calls that read it."),
        "Edits": tables.number("Edits", "Calls that wrote it, or tried to."),
        "Failed": tables.number("Failed", "Calls that failed."),
        "Last": st.column_config.DatetimeColumn("Last used", format=_TIME, width=135, help=f"In {display.md(tz)}."),
    }
    return tables.styled(cells, {**dict.fromkeys(counts, display.count), "Last": display.moment}), config
