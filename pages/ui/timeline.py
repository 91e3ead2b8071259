"""The pieces of the Timeline page."""

import pyarrow.compute as pc
import streamlit as st

from pages.ui import (
    data,
    frame,
    later,
    links,
    timeline_below,
    timeline_bridge,
    timeline_head,
    timeline_live,
    timeline_payload,
    timeline_picker,
    trace_viewer,
)
from pages.ui.timeline_live import Live
from pages.ui.trace_viewer import Opened
from queries import health, session_stamp, timeline, transcript
from queries.timeline import Preview, Timeline

_VIEWER, _DETAIL = "trace_viewer", "trace_detail"
_PIECES, _EVENTS = "timeline_pieces", "timeline_events"
MOST_AT_ONCE = 2_000  # events; of more the head is drawn first, then the rest
_SKELETON_PX = 1_200  # of what is below the head


def chosen() -> str | None:
    """Return the session that the address names, if any."""
    return st.query_params.get("session", "").strip() or None


def pick() -> None:
    """Let the user choose a session."""
    timeline_live.leave()
    frame.heading("Timeline", "What happened in a session, step by step", follows=True)
    frame.tell_partial()
    timeline_picker.draw()


def preview(session_id: str) -> Preview | None:
    """Look at a session. None: there is none, also not in the newest revision, which the tab then reads."""
    timeline_picker.keep()
    found = data.load(timeline.preview, session_id)
    if found is None and data.follow(0):
        found = data.load(timeline.preview, session_id)
    return found


def unknown(session_id: str) -> None:
    """Say that the index has no such session; if it comes, the page shows it."""
    timeline_live.leave()
    frame.heading("Timeline", "No such session", follows=True)
    with st.container(border=True, key="timeline_unknown"):
        st.subheader("No such session", anchor=False)
        st.text("The index has no session with this id:")
        st.code(session_id, language=None)
        st.text(
            "It may not be indexed yet: then it appears here by itself. Or OpenCode deleted it before it was indexed, "
            "or it belongs to another machine."
        )
        links.way("Choose a session", "arrow_back", "timeline_all", None)


def draw(found: Preview) -> None:
    """Draw a session. Of a large one the head comes first: to read all of its events takes longer."""
    is_large = found.event_count > MOST_AT_ONCE
    if is_large:
        timeline_live.expect(found.head)
    else:
        _enter(found.head.session_id)
    timeline_head.draw(found.head)
    st.fragment(_body)(found.head.session_id, is_large)


def _body(session_id: str, is_large: bool) -> None:
    """Draw what is below the head.

    Args:
        session_id: The session.
        is_large: Whether the head is to be seen first. Not where the session was seen before: what is open in the
            waterfall stays so.
    """
    if is_large and not later.is_due("timeline_body", session_id, _SKELETON_PX):
        return
    found, live = _enter(session_id)
    if not found.exchanges:
        st.info(_nothing_said(live))
    _panes(found, live)
    timeline_below.draw()


def _nothing_said(live: Live) -> str:
    """Say that there is no exchange, as far as is known."""
    if data.latest(health.status).is_partial:
        return "Nothing of this session was read so far."
    return "Nothing was said in this session yet." if live.is_running else "Nothing was said in this session."


def _enter(session_id: str) -> tuple[Timeline, Live]:
    """Read a session that is there, and begin to follow it."""
    state = data.load(session_stamp.session_stamp, session_id)
    found = data.hold(timeline.timeline, state, session_id)
    if found is None:  # the tab reads another revision by now, and the session is gone
        st.rerun(scope="app")
    return found, timeline_live.enter(found, state or data.version())


def _panes(found: Timeline, live: Live) -> None:
    """Draw the waterfall, and beside it what the open exchange says."""
    asked = _asked(found, live)
    left, right = trace_viewer.panes()
    with left:
        trace_viewer.trace_viewer(
            timeline_payload.viewer(found, live.report, live.version, asked, data.zone(), live.is_running),
            key=f"{_VIEWER}_{found.head.session_id}",
        )
    with right:
        interval = timeline_live.tick_s(live)
        st.fragment(run_every=interval)(_detail)(asked, interval)


def _asked(found: Timeline, live: Live) -> Opened:
    """Return what the address asks for: an event by `part`, else an exchange by its number, else the first or last."""
    part, number = st.query_params.get("part"), st.query_params.get("exchange", "")
    row = pc.index(found.events["id"], part).as_py() if part else -1
    if row >= 0:
        return {
            "exchange": found.exchanges[found.events["exchange"][row].as_py()].exchange_id,
            "part": part,
            "show_all": [],
        }
    if part and timeline_payload.is_partial(found.marker) and (piece := data.load(transcript.piece, part)):
        return {"exchange": piece.exchange_id, "part": part, "show_all": []}
    own = [each for each in found.exchanges if each.session == 0]
    named = [each for each in own if number.isdecimal() and each.number == int(number)]
    begin = named or (own[-1:] if live.is_running else own[:1]) or found.exchanges[:1]
    return {"exchange": begin[0].exchange_id if begin else None, "part": None, "show_all": []}


def _detail(asked: Opened, interval: float) -> None:
    """Draw what the open exchange says, and hand over to the waterfall what came.

    Args:
        asked: What the address asks for.
        interval: Seconds between two calls; once another one is right, the page starts over with that.
    """
    live = timeline_live.look()
    if timeline_live.tick_s(live) != interval:
        st.rerun(scope="app")
    key = f"{_DETAIL}_{live.session_id}"
    opened = trace_viewer.opened(key, asked)
    _address(live, asked, opened)
    trace_viewer.trace_detail(
        {
            "view": live.session_id,
            "exchange_id": opened["exchange"],
            "pieces": _pieces(live, opened),
            "shown": opened["show_all"],
            "opened": opened,
            "growth": _growth(live, opened["exchange"]),
        },
        key=key,
    )


def _address(live: Live, asked: Opened, opened: Opened) -> None:
    """Let the address bar name what is open; of what it asked for itself, as little as it did."""
    number, part = live.numbers.get(opened["exchange"] or ""), opened["part"]
    if opened == asked and not part and not st.query_params.get("exchange"):
        number = None
    timeline_bridge.address(live.session_id, number, part)


def _growth(live: Live, exchange_id: str | None) -> trace_viewer.Growth | None:
    """Return what the waterfall lacks: what came since it was drawn; of a very large session, what is open, too."""
    grown = (
        timeline_payload.growth(live.growth, live.version, live.serial, live.report, live.is_running)
        if live.growth
        else None
    )
    if exchange_id is None or not timeline_payload.is_partial(live.drawn):
        return grown
    of = (live.state, live.serial, exchange_id)
    known, serial, events = st.session_state.get(_EVENTS, (None, 0, None))
    if known != of:
        serial, events = serial + 1, data.ask(timeline.events_of, live.session_id, [exchange_id])
        st.session_state[_EVENTS] = ((timeline_live.state_read(live), live.serial, exchange_id), serial, events)
    return timeline_payload.opened_events(grown, events, exchange_id, live.version, serial, live.is_running)


def _pieces(live: Live, opened: Opened) -> list[trace_viewer.PieceRow]:
    """Return the transcript of the open exchange, read once the session changed."""
    if opened["exchange"] is None:
        return []
    of = (live.state, opened["exchange"], tuple(opened["show_all"]))
    known, pieces = st.session_state.get(_PIECES, (None, []))
    if known != of:
        rows = data.ask(transcript.transcript, opened["exchange"])
        whole = {trace_id: data.ask(transcript.piece, trace_id) for trace_id in opened["show_all"]}
        rows = [whole.get(row.trace_id) or row for row in rows]
        pieces = timeline_payload.pieces(rows, live.drawn.origin_at)
        st.session_state[_PIECES] = ((timeline_live.state_read(live), *of[1:]), pieces)
    return pieces
