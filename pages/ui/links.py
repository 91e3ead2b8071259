"""Ways from any table: to the Timeline of a session, or to one event in it; to another page."""

import secrets
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

import streamlit as st

from pages.ui import filters, frame, tables

_GO_TO, _GO_TO_PAGE = "timeline_go_to", "page_go_to"
# `st.switch_page` leaves an address behind that Back comes to: that of this page, without its filters but with the
# other page's parameters. One step of the browser's own history has no such trace; Streamlit follows it.
_JS = """
let done = null;
export default function ({ data }) {
  if (data.token === done) return;
  done = data.token;
  const path = window.location.pathname.replace(/[^/]*$/, "timeline");
  const kept = [...new URLSearchParams(window.location.search)].filter(([name]) => data.filters.includes(name));
  window.history.pushState({}, "", `${path}?${new URLSearchParams([...new URLSearchParams(data.search), ...kept])}`);
  window.dispatchEvent(new PopStateEvent("popstate", { state: {} }));
}
"""
_follow = st.components.v2.component("timeline_link", js=_JS)


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


def open_tool(names: Sequence[str], table_key: str) -> None:
    """Remember the tool of the ticked row of a table, from a callback: `go` then shows it on Tools."""
    number = tables.selected(table_key)
    if number is not None and number < len(names):
        open_page(frame.TOOLS, {"tool": names[number]})


def open_page(page: Path, parameters: dict[str, str]) -> None:
    """Remember another page, from a callback: `go` then goes there, and the filters come along."""
    st.session_state[_GO_TO_PAGE] = (page, parameters)


def go() -> None:
    """Go to what was ticked in the run before: a callback cannot leave the page itself. Call it first in a page."""
    match st.session_state.pop(_GO_TO_PAGE, None):
        case Path() as page, dict() as parameters:
            st.switch_page(page, query_params=parameters)
    if there := st.session_state.pop(_GO_TO, None):
        _follow(
            data={"search": f"?{urlencode(there)}", "filters": filters.KEYS, "token": secrets.token_hex(8)},
            key="timeline_link",
        )


def way(label: str, icon: str, key: str, session_id: str | None) -> None:
    """Draw the way to another session on the Timeline itself.

    Not a page link: one to the page that is shown leaves the address as it is.

    Args:
        label: What it says.
        icon: Name of its icon.
        key: Streamlit's key.
        session_id: Where it leads. None: to the list of sessions.
    """
    st.button(label, key=key, icon=f":material/{icon}:", type="tertiary", on_click=show, args=(session_id,))


def show(session_id: str | None) -> None:
    """Show another session on the page itself, or none, from a callback. The filters stay in the address.

    An empty list is in no address; to delete what is in it would be a step of Back for each.
    """
    st.query_params.update({"session": session_id or [], "exchange": [], "part": []})


def why(session_id: str | None = None) -> None:
    """Draw the way from a total to its ledger. The filters come along by themselves.

    Args:
        session_id: The session that the total is of. None: it is of what the filters leave.
    """
    st.page_link(
        frame.LEDGER,
        label="Why this number?",
        icon=":material/fact_check:",
        query_params=address(session_id) if session_id else None,
    )


def address(session_id: str, part: str | None = None) -> dict[str, str]:
    """Return the parameters of a session, or of one event in it, in the Timeline's address."""
    return {"session": session_id} if part is None else {"session": session_id, "part": part}
