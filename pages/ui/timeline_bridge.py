"""From Python to the browser: what the trace viewer is to open, and what the address bar says."""

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from urllib.parse import urlencode

import streamlit as st

from pages.ui import tables

_JUMP = "timeline_jump"
# A jump is told once: this runs again with every rerun.
_JUMP_JS = """
let done = null;
export default function ({ data }) {
  if (!data.to || data.to.token === done) return;
  done = data.to.token;
  const { exchange, part } = data.to;
  const detail = { type: "select", from: "page", view: data.view, exchange, part, isAsked: true };
  window.dispatchEvent(new CustomEvent("opencode-trace", { detail }));
  document.querySelector(".st-key-trace_panes")?.scrollIntoView({ block: "start" });
}
"""
# Replaced, not pushed: Back leaves the session rather than going through everything that was opened in it. What else
# the address holds are the filters.
_ADDRESS_JS = """
export default function ({ data }) {
  const { pathname, search } = window.location;
  const said = new URLSearchParams(search);
  if (!pathname.endsWith("/timeline") || said.get("session") !== data.session) return;
  const kept = [...said].filter(([name]) => !["session", "exchange", "part"].includes(name));
  const next = `?${new URLSearchParams([...new URLSearchParams(data.search), ...kept])}`;
  if (next !== search) window.history.replaceState(window.history.state, "", pathname + next);
}
"""
_jump = st.components.v2.component("timeline_jump", js=_JUMP_JS)
_address = st.components.v2.component("timeline_address", js=_ADDRESS_JS)


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the waterfall.

    Attributes:
        exchange: Id of an exchange. None: that of the part.
        part: Id of a trace. None: the exchange itself.
    """

    exchange: str | None
    part: str | None = None


def to_row(places: Sequence[Place | None], table_key: str) -> None:
    """Go to what the ticked row of a table stands for, from a callback.

    Args:
        places: Of every row. None: it has none.
        table_key: Key of the table.
    """
    number = tables.selected(table_key)
    place = places[number] if number is not None and number < len(places) else None
    if place:
        st.session_state[_JUMP] = {**asdict(place), "token": secrets.token_hex(8)}


def jump(view: str) -> None:
    """Hand the last jump over to the viewer.

    Args:
        view: Which viewer; see `trace_viewer.ViewerPayload`.
    """
    _jump(data={"view": view, "to": st.session_state.get(_JUMP)}, key="timeline_jump_bridge")


def address(session_id: str, number: int | None, part: str | None) -> None:
    """Let the address bar name what is open, so that a reload and a shared link come back to it.

    Args:
        session_id: The session.
        number: Of the open exchange. None: it needs no naming, or has no number of its own.
        part: Id of the selected trace. None: none is.
    """
    named = {"session": session_id, "exchange": number, "part": part}
    search = urlencode({name: value for name, value in named.items() if value is not None})
    _address(data={"session": session_id, "search": f"?{search}"}, key="timeline_address_bridge")
