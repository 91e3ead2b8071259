"""Ways to the Timeline: a session, or one event in it, from any table."""

from collections.abc import Sequence

import streamlit as st

from pages.ui import frame, tables

_GO_TO = "timeline_go_to"


def open_row(places: Sequence[tuple[str, str | None]], table_key: str) -> None:
    """Remember what the ticked row of a table stands for, from a callback: `go` then goes there.

    Args:
        places: Session and event (a trace id; None: the whole session) of every row.
        table_key: Key of the table.
    """
    number = tables.selected(table_key)
    if number is not None and number < len(places):
        open_session(*places[number])


def open_session(session_id: str, part: str | None = None) -> None:
    """Remember a session, or one event in it, from a callback: `go` then goes there."""
    st.session_state[_GO_TO] = address(session_id, part)


def go() -> None:
    """Go to what was ticked in the run before: a callback cannot leave the page itself. Call it first in a page."""
    if parameters := st.session_state.pop(_GO_TO, None):
        st.switch_page(frame.TIMELINE, query_params=parameters)


def address(session_id: str, part: str | None = None) -> dict[str, str]:
    """Return the parameters of a session, or of one event in it, in the Timeline's address."""
    return {"session": session_id} if part is None else {"session": session_id, "part": part}
