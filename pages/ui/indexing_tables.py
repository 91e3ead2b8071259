"""Rows in, the tables of the Indexer page out. No styling per cell: the page ticks, and must be cheap to draw."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from pages.ui import display
from queries.indexing import DocumentProblem, PhaseEvent, SourceState

if TYPE_CHECKING:
    from streamlit.elements.lib.column_types import ColumnConfig

GENERATIONS = {
    "json_tree": "JSON tree (before 1.2)",
    "sqlite_v1": "message rows (1.2 and later)",
    "sqlite_v2": "session_message rows (2.0)",
}
STATES = {"ok": "read", "empty": "empty", "unreadable": "cannot be read", "partial": "read in part"}
_TIME = "MMM D, YYYY HH:mm:ss"
_Config = dict[str, "ColumnConfig"]


def sources(rows: Sequence[SourceState], tz: str) -> tuple[pd.DataFrame, _Config]:
    """Lay out where the indexer looked.

    Args:
        rows: What to show.
        tz: Zone of the times.

    Returns:
        The table and how to show its columns; so do the functions below.
    """
    frame = pd.DataFrame(
        {
            "Generation": [GENERATIONS.get(row.kind, row.kind) for row in rows],
            "State": [STATES.get(row.state, row.state) for row in rows],
            "Sessions": _ints(row.sessions for row in rows),
            "Messages": _ints(row.messages for row in rows),
            "Parts": _ints(row.parts for row in rows),
            "Newest": pd.Series([row.newest_at for row in rows], dtype="datetime64[us]"),
            "Path": [display.one_line(row.path, 300) for row in rows],
        }
    )
    counts = {
        name: st.column_config.NumberColumn(
            format="localized", width=85, help="In the index from here: what another source has newer counts there."
        )
        for name in ("Sessions", "Messages", "Parts")
    }
    config: _Config = {
        "Generation": st.column_config.TextColumn(width=200, help="How OpenCode stored it, and in which versions."),
        "State": st.column_config.TextColumn(width=110),
        **counts,
        "Newest": st.column_config.DatetimeColumn(
            "Newest recorded", format=_TIME, width=165, help=f"Newest time recorded in it, in {display.md(tz)}."
        ),
        "Path": st.column_config.TextColumn(width=420),
    }
    return frame, config


def problems(rows: Sequence[DocumentProblem], tz: str) -> tuple[pd.DataFrame, _Config]:
    """Lay out the documents that could not be read in full. Names and reasons are plain text, on one line."""
    frame = pd.DataFrame(
        {
            "State": [STATES.get(row.state, row.state) for row in rows],
            "Kind": [display.one_line(row.kind, 40) for row in rows],
            "Document": [display.one_line(row.key, 300) for row in rows],
            "Reason": [display.one_line(row.reason, 300) for row in rows],
            "Size": [display.size(row.size_bytes) for row in rows],
            "First seen": pd.Series([display.local(row.first_seen_at, tz) for row in rows], dtype="datetime64[us]"),
            "Last seen": pd.Series([display.local(row.last_seen_at, tz) for row in rows], dtype="datetime64[us]"),
            "Source": [display.one_line(row.source_path, 300) for row in rows],
        }
    )
    zone = f"In {display.md(tz)}."
    config: _Config = {
        "State": st.column_config.TextColumn(width=105),
        "Kind": st.column_config.TextColumn(width=80),
        "Document": st.column_config.TextColumn(width=330, help="Its path in the folder, or database:table:id."),
        "Reason": st.column_config.TextColumn(width=330, help="What is wrong, and what happens next."),
        "Size": st.column_config.TextColumn(width=75, alignment="right"),
        "First seen": st.column_config.DatetimeColumn(format=_TIME, width=165, help=zone),
        "Last seen": st.column_config.DatetimeColumn(format=_TIME, width=165, help=zone),
        "Source": st.column_config.TextColumn(width=300),
    }
    return frame, config


def history(rows: Sequence[PhaseEvent], tz: str) -> tuple[pd.DataFrame, _Config]:
    """Lay out what the indexer did."""
    frame = pd.DataFrame(
        {
            "When": pd.Series([row.occurred_at for row in rows], dtype="datetime64[us]"),
            "Phase": [display.one_line(row.phase, 40) for row in rows],
            "What": [display.one_line(row.message, 300) for row in rows],
        }
    )
    config: _Config = {
        "When": st.column_config.DatetimeColumn(format=_TIME, width=165, help=f"In {display.md(tz)}."),
        "Phase": st.column_config.TextColumn(width=110),
        "What": st.column_config.TextColumn(width=700),
    }
    return frame, config


def _ints(numbers: Iterable[int]) -> pd.Series:
    """Make a column of whole numbers."""
    return pd.Series(list(numbers), dtype="int64")
