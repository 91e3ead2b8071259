"""From a table to the waterfall: tells the trace viewer what to open, in the browser."""

import secrets
from dataclasses import asdict, dataclass

import streamlit as st

from pages.ui import tables

_JUMP = "timeline_jump"
_JS = """
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
_bridge = st.components.v2.component("timeline_jump", js=_JS)


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the waterfall.

    Attributes:
        exchange: Id of an exchange.
        part: Id of a trace in it. None: the exchange itself.
    """

    exchange: str | None
    part: str | None = None


def to_row(places: list[Place | None], table_key: str) -> None:
    """Go to what the ticked row of a table stands for, from a callback.

    Args:
        places: Of every row. None: it has none.
        table_key: Key of the table.
    """
    number = tables.selected(table_key)
    place = places[number] if number is not None and number < len(places) else None
    if place:
        st.session_state[_JUMP] = {**asdict(place), "token": secrets.token_hex(8)}


def draw(view: str) -> None:
    """Draw what cannot be seen: it hands the last jump over to the viewer.

    Args:
        view: Which viewer; see `trace_viewer.ViewerPayload`.
    """
    _bridge(data={"view": view, "to": st.session_state.get(_JUMP)}, key="timeline_jump_bridge")
