"""What a tab knows of the session it shows, and what has come since: a running session grows while one looks at it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import streamlit as st

from pages.ui import activity, data
from queries import health, session_stamp, timeline, waste
from queries.timeline import Growth, Marker, Timeline, TracedExchange
from queries.traced_sessions import SessionHead, TracedSession
from queries.waste import WasteReport

Answer = TypeVar("Answer")

TICK_RUNNING_S, TICK_FOLLOWED_S, TICK_AT_REST_S = 0.5, 5.0, 30.0
MOST_GROWTH = 500  # events; more, and the viewer is drawn anew: all that came is sent with every change
_REPORT_S = 3.0  # between two searches for waste
_FIGURES_S = 15.0  # between two readings of figures: bars must not wait for charts
_LIVE, _FIGURES = "timeline_live", "timeline_read"


@dataclass(frozen=True, slots=True)
class Live:
    """What a tab knows.

    Attributes:
        session_id: What it shows.
        version: Revision that the viewer was drawn at.
        marker: What the viewer got then. None: it is not drawn yet.
        head: The newest known head of the session.
        sessions: The newest known sessions of its tree.
        numbers: Number of each of its own exchanges, by id.
        seen: Newest revision that was looked at.
        state: Stands for all that is in the session: its stamp. The revision that was looked at where that was not
            asked, as of a session that runs and changes anyway.
        growth: Everything since the viewer was drawn. None: nothing.
        serial: Counts the growths.
        report: Newest known waste.
        reported: State of the session that the report is of. None: not known.
        reported_at: When it was made, in seconds of a monotonic clock.
    """

    session_id: str
    version: str
    marker: Marker | None
    head: SessionHead
    sessions: list[TracedSession]
    numbers: dict[str, int]
    seen: str
    state: int | str
    growth: Growth | None
    serial: int
    report: WasteReport
    reported: int | str | None
    reported_at: float

    @property
    def drawn(self) -> Marker:
        """Return what the viewer got, once it is drawn."""
        assert self.marker is not None, "the viewer is not drawn yet"
        return self.marker

    @property
    def is_running(self) -> bool:
        """Tell whether the session still works."""
        return self.head.is_running(data.now())


def expect(head: SessionHead) -> None:
    """Begin with a session of which only the head is known yet, unless it is followed already."""
    if not _is_followed(head.session_id):
        st.session_state[_LIVE] = _begun(head, None, data.version(), [], [], waste.NOTHING)


def enter(found: Timeline, state: int | str) -> Live:
    """Begin to follow a session at the pinned revision, unless that was done before.

    Args:
        found: The session.
        state: Stands for all that is in it; see `Live`.
    """
    known = current()
    if known and _is_followed(found.head.session_id):
        return known
    begun = _begun(found.head, found.marker, state, found.sessions, found.exchanges, found.report)
    st.session_state[_LIVE] = begun
    return begun


def current() -> Live | None:
    """Return what the tab knows. None: it shows no session."""
    return st.session_state.get(_LIVE)


def leave() -> None:
    """Forget the session: none is shown."""
    st.session_state.pop(_LIVE, None)


def look() -> Live:
    """Look whether something came, from a fragment. Where it is too much to append, the page starts over."""
    known = current()
    if known is None:  # the page was left while this was on its way
        st.stop()
    data.version()  # it is still looked at
    newest = data.newest_version()
    found = known if newest == known.seen else _looked(known, newest)
    found = _reported(found)
    st.session_state[_LIVE] = found
    return found


def read(name: str, live: Live, ask: Callable[[], Answer]) -> Answer:
    """Return what is worked out from the whole session: once it changed, and now and then while it runs.

    Args:
        name: What it is.
        live: What is known.
        ask: Asks for it.
    """
    read: dict[str, tuple[str, int | str | None, float, Answer]] = st.session_state.setdefault(_FIGURES, {})
    clock = time.monotonic()
    if known := read.get(name):
        session_id, state, at, found = known
        if session_id == live.session_id and (state == live.state or (live.is_running and clock - at < _FIGURES_S)):
            return found
    found = ask()
    read[name] = (live.session_id, state_read(live), clock, found)
    return found


def state_read(live: Live) -> int | str | None:
    """Return the state that something is of which was read just now. None: a newer revision may have come before."""
    return live.state if data.newest_version() == live.seen else None


def tick_s(live: Live, slowest: float = TICK_RUNNING_S) -> float:
    """Return the seconds between two looks.

    Args:
        live: What is known.
        slowest: Seconds that are enough while the session runs.
    """
    does = data.doing(data.latest(health.status))
    if not activity.is_at_work(does):
        return TICK_AT_REST_S
    return slowest if live.is_running else TICK_FOLLOWED_S


def _is_followed(session_id: str) -> bool:
    """Tell whether the viewer shows a session at the pinned revision."""
    known, version = current(), data.version()
    return known is not None and known.marker is not None and (known.session_id, known.version) == (session_id, version)


def _begun(
    head: SessionHead,
    marker: Marker | None,
    state: int | str,
    sessions: list[TracedSession],
    exchanges: Sequence[TracedExchange],
    report: WasteReport,
) -> Live:
    """Make what a tab knows at first."""
    version = data.version()
    return Live(
        session_id=head.session_id,
        version=version,
        marker=marker,
        head=head,
        sessions=sessions,
        numbers=_numbers(exchanges),
        seen=version,
        state=state,
        growth=None,
        serial=0,
        report=report,
        reported=state,
        reported_at=time.monotonic(),
    )


def _looked(known: Live, newest: str) -> Live:
    """Look at a newer revision: mostly it is other sessions that changed. One that runs is read all the same."""
    stamp = None if known.is_running else data.ask(session_stamp.session_stamp, known.session_id)
    if stamp is not None and stamp == known.state:
        return replace(known, seen=newest)
    found = _grown(known, newest)
    if stamp is None or data.newest_version() != newest:  # what was read may be newer than what was asked about
        return replace(found, state=newest)
    return replace(found, state=stamp)


def _grown(known: Live, newest: str) -> Live:
    """Read what came since the viewer was drawn."""
    if known.marker is None:
        return replace(known, seen=newest)
    try:
        growth = data.ask(timeline.events_since, known.marker)
    except timeline.SessionGone:  # the page says that there is no such session
        data.follow(0)
        st.rerun(scope="app")
    if growth is None:
        return replace(known, seen=newest)
    if growth.is_restart or growth.events.num_rows > MOST_GROWTH:
        data.follow(0)
        st.rerun(scope="app")
    return replace(
        known,
        seen=newest,
        growth=growth,
        head=growth.head,
        sessions=growth.sessions,
        numbers={**known.numbers, **_numbers(growth.exchanges)},
        serial=known.serial + 1,
    )


def _numbers(rows: Sequence[TracedExchange]) -> dict[str, int]:
    """Return the number of each exchange of the session itself, which is the first of its tree."""
    return {row.exchange_id: row.number for row in rows if row.session == 0}


def _reported(known: Live) -> Live:
    """Look for waste again once something came, but not all the time: it reads what was said."""
    clock = time.monotonic()
    if known.growth is None or known.reported == known.state or clock - known.reported_at < _REPORT_S:
        return known
    report = data.ask(waste.waste, known.session_id)
    serial = known.serial + (report != known.report)
    return replace(known, report=report, reported=state_read(known), reported_at=clock, serial=serial)
