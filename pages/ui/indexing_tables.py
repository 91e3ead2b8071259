"""Rows in, the tables of the Indexer page out.

The page ticks, so they must be cheap to draw: no styling per cell, and Arrow tables, which are sent as they are.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import TYPE_CHECKING

import pyarrow
import streamlit as st

from pages.ui import display
from pages.ui.activity import Followed
from queries.indexing import DocumentProblem, PhaseEvent, SourceState

if TYPE_CHECKING:
    from streamlit.elements.lib.column_types import ColumnConfig

GENERATIONS = {
    "json_tree": "JSON tree (before 1.2)",
    "sqlite_v1": "message rows (1.2 and later)",
    "sqlite_v2": "session_message rows (2.0)",
}
FOLLOWED = {
    "events": "at once",
    "polling": "checked all the time",
    "scanning": "scanned now and then",
}
STATES = {
    "ok": "read",
    "empty": "empty",
    "unreadable": "cannot be read",
    "partial": "read in part",
    "absent": "nothing there yet",
}
_TIME = "MMM D, YYYY HH:mm:ss"
_Config = dict[str, "ColumnConfig"]


def sources(rows: Sequence[SourceState], followed: Sequence[Followed], tz: str) -> tuple[pyarrow.Table, _Config]:
    """Lay out where the indexer looked, and what it follows besides.

    Args:
        rows: What it looked at.
        followed: What it follows. Empty: no indexer runs.
        tz: Zone of the times.

    Returns:
        The table and how to show its columns; so do the functions below.
    """
    absent = [each.path for each in followed if not any(_is_same(each, row) for row in rows)]
    rows = [*rows, *(SourceState("", path, "absent", None, 0, 0, 0, None) for path in absent)]
    frame = pyarrow.table(
        {
            "Storage": [GENERATIONS.get(row.kind, row.kind) for row in rows],
            "State": [STATES.get(row.state, row.state) for row in rows],
            "Followed": [_how(row, followed) for row in rows],
            "Sessions": _ints(row.sessions for row in rows),
            "Messages": _ints(row.messages for row in rows),
            "Parts": _ints(row.parts for row in rows),
            "Newest": _times(row.newest_at for row in rows),
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
        "Storage": st.column_config.TextColumn(width=200, help="How OpenCode stored it, and in which versions."),
        "State": st.column_config.TextColumn(width=110),
        "Followed": st.column_config.TextColumn(
            width=150,
            help="How changes are noticed. At once: the system reports each. Checked all the time: the database is "
            "asked several times a second. Scanned now and then: the reason is below the table.",
        ),
        **counts,
        "Newest": st.column_config.DatetimeColumn(
            "Newest recorded", format=_TIME, width=165, help=f"Newest time recorded in it, in {display.md(tz)}."
        ),
        "Path": st.column_config.TextColumn(width=420),
    }
    return frame, config


def problems(rows: Sequence[DocumentProblem], tz: str) -> tuple[pyarrow.Table, _Config]:
    """Lay out the documents that could not be read in full. Names and reasons are plain text, on one line."""
    frame = pyarrow.table(
        {
            "State": [STATES.get(row.state, row.state) for row in rows],
            "Kind": [display.one_line(row.kind, 40) for row in rows],
            "Document": [display.one_line(row.key, 300) for row in rows],
            "Reason": [display.one_line(row.reason, 300) for row in rows],
            "Size": [display.size(row.size_bytes) for row in rows],
            "First seen": _times(display.local(row.first_seen_at, tz) for row in rows),
            "Last seen": _times(display.local(row.last_seen_at, tz) for row in rows),
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


def history(rows: Sequence[PhaseEvent], tz: str) -> tuple[pyarrow.Table, _Config]:
    """Lay out what the indexer did."""
    frame = pyarrow.table(
        {
            "When": _times(row.occurred_at for row in rows),
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


def _how(row: SourceState, followed: Sequence[Followed]) -> str:
    """Say how a source is followed."""
    how = next((each.how for each in followed if _is_same(each, row)), "no")
    return FOLLOWED.get(how, display.one_line(how, 40))


def _is_same(followed: Followed, row: SourceState) -> bool:
    """Tell whether a source is what is followed, or inside it."""
    return PurePath(row.path).is_relative_to(followed.path)


def _ints(numbers: Iterable[int]) -> pyarrow.Array:
    """Make a column of whole numbers."""
    return pyarrow.array(numbers, pyarrow.int64())


def _times(moments: Iterable[datetime | None]) -> pyarrow.Array:
    """Make a column of naive times."""
    return pyarrow.array(moments, pyarrow.timestamp("us"))
