"""What happened in a session and in the sessions it delegated to, event by event, in the order it is read.

The tree is that of `session_stats`: the session and all its child sessions, each once. Everything is there, also what
OpenCode deleted and what a fork copied (both flagged). Nothing is invented: a time that OpenCode does not record is
null, and its event keeps its place in the order.

Display order: the exchanges of a session by number; inside an exchange its events; a delegation is followed by the
exchanges of its child session. A child that no recorded call runs follows the last exchange of its parent.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from queries import traced, waste
from queries.rows import fetch_rows
from queries.session_tree import TreeNode, tree_below
from queries.traced_sessions import (
    OK,
    Call,
    SessionHead,
    TracedSession,
    calls_of,
    first_calls,
    session_head,
    traced_sessions,
)

__all__ = [
    "CLOCK_BACKWARDS",
    "DELETED",
    "EDIT_FAIL_EDIT",
    "EVENTS",
    "FORK_COPY",
    "Growth",
    "IN_FAILED_EXCHANGE",
    "LOOP",
    "MAX_EVENTS",
    "Marker",
    "Preview",
    "SessionGone",
    "SessionHead",
    "Timeline",
    "TracedExchange",
    "TracedSession",
    "UNKNOWN_TIMES",
    "events_of",
    "events_since",
    "preview",
    "timeline",
]


class SessionGone(Exception):
    """The index does not have a session that it had: it was made anew, or leaves the session's project out now."""


MAX_EVENTS = 100_000  # above this a timeline has no events; they are read exchange by exchange

FORK_COPY, DELETED, LOOP, EDIT_FAIL_EDIT, IN_FAILED_EXCHANGE, UNKNOWN_TIMES, CLOCK_BACKWARDS = (
    1 << bit for bit in range(7)
)

# Columns of `Timeline.events`, one row per event, in display order.
EVENTS = pa.schema(
    [
        ("id", pa.string()),  # exchange_traces.trace_id
        ("exchange", pa.int32()),  # index into `exchanges`
        ("session", pa.int32()),  # index into `sessions`
        ("parent", pa.int32()),  # row of the step that it is part of; -1: directly in its exchange
        ("depth", pa.int16()),  # that of its exchange + 1, inside a step + 2
        (
            "child",
            pa.int32(),
        ),  # calls: index into `sessions` of what it runs, the row that is `ok` if there is one, else
        #                         the link; -1: nothing is recorded
        ("kind", pa.string()),  # prompt reasoning text tool delegation step retry error compaction file patch other
        ("name", pa.string()),  # tool name, error name, or the type as OpenCode names it
        ("label", pa.string()),  # one line of at most 120 characters; empty if there is nothing to say
        ("start_ms", pa.float64()),  # since `Timeline.origin_at`; null: not recorded, as of steps after a restart
        ("end_ms", pa.float64()),  # null: not recorded, or still running. A step ends when its message does
        ("status", pa.string()),  # ok failed unfinished restarted unknown
        ("tokens", pa.int64()),  # of model requests, every token once; null elsewhere
        ("cost_usd", pa.float64()),  # of model requests, for display; null: not recorded
        ("flags", pa.int32()),  # the bits above
    ]
)
_GROWN = EVENTS.append(pa.field("parent_id", pa.string())).append(pa.field("after_id", pa.string()))

Numbers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class TracedExchange:
    """One exchange of a session of the tree.

    Attributes:
        index: Its place in its list; that of a timeline is in display order.
        session: Index of its session.
        number: From 1 inside its session.
        depth: 0 in the timeline's own session; in a child one more than the delegation that it is shown under, or than
            the exchanges of its parent if no recorded call runs it.
        parent_trace_id: The delegation that it is shown under. None in the timeline's own session and in children
            that no recorded call runs.
        first_event: Row where its events begin, or would. -1 where there are no rows.
        event_count: Its own events, without those of child sessions between them.
        kind: prompt, command, shell, compaction, continuation; none: no user message.
        status: answered, failed, aborted, unfinished, unanswered.
        label: The first line of what was asked, at most 120 characters. Empty if nothing was or it is gone.
        started_at: Naive UTC. None: unknown; so are `ended_at`, and the same in milliseconds since the origin.
        agent: Of the last answer.
        model: `provider/model` of the last answer.
        tools: Tool calls without delegations.
        delegations: Calls that start child sessions.
        errors: Failed calls plus answers that ended in an error.
        tokens: Every token once, fork copies left out, child sessions too.
        cost_usd: None: nothing recorded.
        loops: How often a tool was called three or more times with the same arguments; see `queries.waste`.
        edit_retries: Files that were edited again after a failure.
    """

    index: int
    exchange_id: str
    session: int
    number: int
    depth: int
    parent_trace_id: str | None
    first_event: int
    event_count: int
    kind: str
    status: str
    error_name: str | None
    label: str
    started_at: datetime | None
    ended_at: datetime | None
    start_ms: float | None
    end_ms: float | None
    user_message_id: str | None
    agent: str | None
    model: str | None
    tools: int
    delegations: int
    steps: int
    errors: int
    tokens: int
    cost_usd: Decimal | None
    is_fork_copy: bool
    loops: int
    edit_retries: int


@dataclass(frozen=True, slots=True, eq=False)
class Marker:
    """What somebody has seen of a timeline, small enough to be kept with a page: 16 bytes an event.

    Attributes:
        origin_at: Of the timeline: times of later events count from it, too.
        exchanges: Exchange id to a fingerprint of what it holds, and its number of events.
        session_ids: The sessions of the tree.
        sessions_hash: Of all that is shown of them.
        ids: Sorted hashes of the ids of the events.
        rows: Sorted hashes of the events.
        has_events: Whether events were shown at all: there were not too many.
    """

    session_id: str
    origin_at: datetime | None
    exchanges: Mapping[str, tuple[int, int]]
    session_ids: frozenset[str]
    sessions_hash: int
    ids: Hashes
    rows: Hashes
    has_events: bool

    @property
    def event_count(self) -> int:
        """Return how many events its exchanges have, shown or not."""
        return sum(count for _, count in self.exchanges.values())


@dataclass(frozen=True, slots=True)
class Preview:
    """What is known of a session before it is read.

    Attributes:
        event_count: Events of the session and of everything below it.
    """

    head: SessionHead
    event_count: int


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """A session with everything below it.

    Attributes:
        origin_at: Where `start_ms` and `end_ms` count from: the earliest time in it, naive UTC. None: no time is known.
        sessions: The session first, then all below it, parents first, in the order of the calls.
        exchanges: In display order.
        events: See `EVENTS`. Empty if there are more than `MAX_EVENTS`: see `events_of`.
        event_count: All events, also when they are not in `events`.
        report: What was spent for nothing in it, as `waste.waste` tells.
        marker: Where `events_since` goes on from.
    """

    head: SessionHead
    origin_at: datetime | None
    sessions: list[TracedSession]
    exchanges: list[TracedExchange]
    events: pa.Table
    event_count: int
    report: waste.WasteReport
    marker: Marker


@dataclass(frozen=True, slots=True, eq=False)
class Growth:
    """What is new or changed since a marker.

    Attributes:
        is_restart: Something known is gone or belongs elsewhere now: draw the timeline anew. Only `head` is filled.
        sessions: All of the tree, with indexes of their own; they are few.
        exchanges: Those that are new or changed, by session and number, with indexes of their own. Their `depth` is 0
            and their `first_event` -1: both follow from `session`, `number` and `parent_trace_id`.
        events: Those that are new or changed, in order inside each exchange. Columns of `EVENTS`, where `exchange` and
            `session` are indexes into the two lists here, `parent` is -1 and `depth` 0, and there are two more:
            `parent_id`, the step, null if directly in its exchange; `after_id`, the event before it in its exchange,
            null if it is first.
        marker: To see only what comes later than this.
    """

    is_restart: bool
    head: SessionHead
    sessions: list[TracedSession]
    exchanges: list[TracedExchange]
    events: pa.Table
    marker: Marker


@dataclass(frozen=True, slots=True)
class _Exchange:
    """An exchange as it is stored, with counts of its events."""

    exchange_id: str
    session_id: str
    number: int
    kind: str
    status: str
    error_name: str | None
    started_at: datetime | None
    ended_at: datetime | None
    user_message_id: str | None
    agent: str | None
    model: str | None
    event_count: int
    tools: int
    delegations: int
    steps: int
    errors: int
    tokens: int
    cost_usd: Decimal | None
    is_fork_copy: bool
    fingerprint: int


@dataclass(frozen=True, slots=True, eq=False)
class _Tree:
    """The sessions of a timeline and what links them.

    Attributes:
        shown_under: Session id to the call that its exchanges are shown under.
        targets: Id of a call to the index of the session that it runs.
    """

    nodes: list[TreeNode]
    sessions: list[TracedSession]
    calls: list[Call]
    shown_under: dict[str, Call]
    targets: dict[str, int]

    @property
    def session_ids(self) -> list[str]:
        """Return the ids of its sessions, links left out, in the order of `nodes`."""
        return [node.session_id for node in self.nodes]

    @property
    def indexes(self) -> dict[str, int]:
        """Map the ids of its sessions to their places in `sessions`."""
        return {each.session_id: each.index for each in self.sessions if each.link == OK}

    @property
    def sessions_hash(self) -> int:
        """Return a hash of all that is shown of the sessions."""
        return hash(tuple(self.sessions))


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Events as they are stored: by session, exchange and position, before they are put into display order.

    Attributes:
        table: The columns of `EVENTS` that do not depend on the display order.
        parents: Row of the step that each is part of, or -1.
        ids: Hash of each id.
        hashes: Hash of all that is shown of each.
    """

    table: pa.Table
    parents: Numbers
    ids: Hashes
    hashes: Hashes


def preview(con: duckdb.DuckDBPyConnection, session_id: str) -> Preview | None:
    """Read what can be said of a session at once, however large it is.

    Args:
        con: The index, open for reading.
        session_id: Any session, root or not.

    Returns:
        Its head, and how much there is to read. None if the index has no such session.
    """
    nodes = tree_below(con, session_id)
    if not nodes:
        return None
    sql = f"SELECT count(*) FROM exchange_traces WHERE {traced.IN_SESSIONS}"
    ((event_count,),) = con.execute(sql, {"sessions": [node.session_id for node in nodes]}).fetchall()
    return Preview(session_head(con, nodes), event_count)


def timeline(con: duckdb.DuckDBPyConnection, session_id: str) -> Timeline | None:
    """Read a session and everything below it, at any depth; cycles are cut.

    Args:
        con: The index, open for reading.
        session_id: Any session, root or not.

    Returns:
        The timeline. None if the index has no such session.
    """
    tree = _tree(con, session_id)
    if tree is None:
        return None
    origin_at = _origin(con, tree.session_ids)
    stored = _exchanges(con, tree.session_ids)
    found = waste.findings(con, tree.session_ids)
    event_count = sum(each.event_count for each in stored)
    has_events = event_count <= MAX_EVENTS
    rows = _read(con, tree, origin_at, found, None) if has_events else _no_rows()
    make = _Exchanges(tree, origin_at, found, traced.exchange_labels(con, tree.session_ids))
    exchanges, events = _displayed(tree, stored, rows, make, has_events)
    marker = Marker(
        session_id=session_id,
        origin_at=origin_at,
        exchanges={each.exchange_id: (each.fingerprint, each.event_count) for each in stored},
        session_ids=frozenset(tree.session_ids),
        sessions_hash=tree.sessions_hash,
        ids=np.sort(rows.ids),
        rows=np.sort(rows.hashes),
        has_events=has_events,
    )
    return Timeline(
        head=session_head(con, tree.nodes),
        origin_at=origin_at,
        sessions=tree.sessions,
        exchanges=exchanges,
        events=events,
        event_count=event_count,
        report=waste.charged(con, tree.session_ids, found),
        marker=marker,
    )


def events_since(con: duckdb.DuckDBPyConnection, known: Marker) -> Growth | None:
    """Read what came since, for a timeline that grows while it is looked at.

    Args:
        con: A newer revision of the index.
        known: Of the timeline, or of the growth before.

    Returns:
        What is new or changed. None if nothing is.

    Raises:
        SessionGone: The index does not have it any more.
    """
    tree = _tree(con, known.session_id)
    if tree is None:
        raise SessionGone(known.session_id)
    stored = _exchanges(con, tree.session_ids)
    changed = [each for each in stored if known.exchanges.get(each.exchange_id, (None, 0))[0] != each.fingerprint]
    if not changed and tree.sessions_hash == known.sessions_hash and len(stored) == len(known.exchanges):
        return None
    is_gone = not known.exchanges.keys() <= {each.exchange_id for each in stored}
    if is_gone or not known.session_ids <= set(tree.session_ids):
        return _restart(session_head(con, tree.nodes), known)
    return _grown(con, tree, stored, changed, known)


def events_of(con: duckdb.DuckDBPyConnection, session_id: str, exchange_ids: Sequence[str]) -> pa.Table:
    """Read the events of some exchanges, where a timeline is too large to be read whole.

    Args:
        con: The index, open for reading.
        session_id: Of the timeline.
        exchange_ids: Exchanges of it.

    Returns:
        As `Growth.events`; `exchange` counts the exchanges as they are given, `session` is that of the timeline.
    """
    tree = _tree(con, session_id)
    if tree is None:
        return _GROWN.empty_table()
    chosen = [each for each in _exchanges(con, tree.session_ids) if each.exchange_id in set(exchange_ids)]
    found = waste.findings(con, tree.session_ids, exchange_ids)
    rows = _read(con, tree, _origin(con, tree.session_ids), found, exchange_ids)
    places = {exchange_id: place for place, exchange_id in enumerate(exchange_ids)}
    return _appended(rows, chosen, [places[each.exchange_id] for each in chosen])


def _restart(head: SessionHead, known: Marker) -> Growth:
    """Say that a timeline has to be drawn anew."""
    return Growth(True, head, [], [], _GROWN.empty_table(), known)


def _grown(
    con: duckdb.DuckDBPyConnection,
    tree: _Tree,
    stored: Sequence[_Exchange],
    changed: Sequence[_Exchange],
    known: Marker,
) -> Growth:
    """Read the changed exchanges and tell which of their events are new."""
    head, changed_ids = session_head(con, tree.nodes), [each.exchange_id for each in changed]
    found = waste.findings(con, tree.session_ids, changed_ids)
    has_events = known.has_events
    rows = _read(con, tree, known.origin_at, found, changed_ids) if has_events else _no_rows()
    if has_events and _has_lost(rows, changed, known):
        return _restart(head, known)
    make = _Exchanges(tree, known.origin_at, found, traced.exchange_labels(con, tree.session_ids))
    exchanges = [make.traced(each, index, 0, _call_id(tree, each), -1) for index, each in enumerate(changed)]
    appended = _appended(rows, changed if has_events else [], range(len(changed)))
    is_new = ~np.isin(rows.hashes, known.rows)
    marker = replace(
        known,
        exchanges={each.exchange_id: (each.fingerprint, each.event_count) for each in stored},
        session_ids=frozenset(tree.session_ids),
        sessions_hash=tree.sessions_hash,
        ids=np.union1d(known.ids, rows.ids),
        rows=np.union1d(known.rows, rows.hashes),
    )
    return Growth(False, head, tree.sessions, exchanges, appended.filter(pa.array(is_new)), marker)


def _has_lost(rows: _Rows, changed: Sequence[_Exchange], known: Marker) -> bool:
    """Tell whether an exchange holds fewer of the known events than before."""
    is_known, start = np.isin(rows.ids, known.ids), 0
    for each in changed:
        stop = start + each.event_count
        if int(is_known[start:stop].sum()) < known.exchanges.get(each.exchange_id, (0, 0))[1]:
            return True
        start = stop
    return False


# --- the tree


def _tree(con: duckdb.DuckDBPyConnection, session_id: str) -> _Tree | None:
    """Read the sessions of a timeline. None if there is no such session."""
    nodes = tree_below(con, session_id)
    if not nodes:
        return None
    calls = calls_of(con, [node.session_id for node in nodes])
    sessions = traced_sessions(con, nodes, calls)
    links = {each.delegating_trace_id: each.index for each in sessions if each.delegating_trace_id is not None}
    indexes = {each.session_id: each.index for each in sessions if each.link == OK}
    targets = {call.trace_id: indexes.get(call.child_session_id, links[call.trace_id]) for call in calls}
    return _Tree(nodes, sessions, calls, first_calls(nodes, calls), targets)


def _call_id(tree: _Tree, exchange: _Exchange) -> str | None:
    """Name the call that an exchange is displayed under."""
    call = tree.shown_under.get(exchange.session_id)
    return call.trace_id if call else None


def _origin(con: duckdb.DuckDBPyConnection, session_ids: Sequence[str]) -> datetime | None:
    """Find the earliest time of some sessions, that of parts included: their clock may have been behind."""
    found = con.execute(_ORIGIN, {"sessions": list(session_ids)}).fetchone()
    return found[0] if found else None


def _exchanges(con: duckdb.DuckDBPyConnection, session_ids: Sequence[str]) -> list[_Exchange]:
    """Read the exchanges of some sessions, in the order of the sessions, by number."""
    return fetch_rows(con, _EXCHANGES, {"sessions": list(session_ids)}, _Exchange)


# --- reading events


def _read(
    con: duckdb.DuckDBPyConnection,
    tree: _Tree,
    origin_at: datetime | None,
    found: Sequence[waste.Finding],
    exchange_ids: Sequence[str] | None,
) -> _Rows:
    """Read events in the order they are stored.

    Args:
        con: The index, open for reading.
        tree: The sessions.
        origin_at: Where times count from.
        found: Waste in them.
        exchange_ids: Only of these exchanges. None: all.
    """
    values: dict[str, object] = {"sessions": tree.session_ids, "origin": origin_at}
    if exchange_ids is not None:
        values["exchanges"] = list(exchange_ids)
        values["messages"] = traced.message_ids(con, tree.session_ids, exchange_ids)
    read = con.sql(_ALL_ROWS if exchange_ids is None else _SOME_ROWS, params=values).to_arrow_table()
    flags = _numbers(read["flags"]) | _waste_flags(read["id"], found)
    indexes, children = tree.indexes, _places(read["id"], list(tree.targets))
    targets = np.array([*tree.targets.values(), -1], dtype=np.int64)
    sessions = np.array([indexes[session_id] for session_id in tree.session_ids], dtype=np.int64)
    child = targets[children]
    table = pa.table(
        {
            "id": read["id"],
            "session": pa.array(sessions[_numbers(read["session"])], pa.int32()),
            "child": pa.array(child, pa.int32()),
            **{name: read[name] for name in ("kind", "name", "label", "start_ms", "end_ms", "status")},
            **{name: read[name] for name in ("tokens", "cost_usd")},
            "flags": pa.array(flags, pa.int32()),
        }
    )
    return _Rows(
        table=table,
        parents=_steps(_numbers(read["is_step"]) > 0, _numbers(read["is_first_of_message"]) > 0),
        ids=read["id_hash"].to_numpy(),
        hashes=read["row_hash"].to_numpy() ^ (flags.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)),
    )


def _no_rows() -> _Rows:
    """Return no events."""
    hashes = np.array([], dtype=np.uint64)
    return _Rows(EVENTS.empty_table(), np.array([], dtype=np.int64), hashes, hashes)


def _steps(is_step: npt.NDArray[np.bool_], is_first_of_message: npt.NDArray[np.bool_]) -> Numbers:
    """Find the step that each event is part of: the last one before it in its message. -1 for steps, or without one."""
    rows = np.arange(len(is_step))
    last_step = np.maximum.accumulate(np.where(is_step, rows, -1)) if len(rows) else rows
    message_start = np.maximum.accumulate(np.where(is_first_of_message, rows, 0)) if len(rows) else rows
    return np.where(~is_step & (last_step >= message_start), last_step, -1)


def _waste_flags(ids: pa.ChunkedArray, found: Sequence[waste.Finding]) -> Numbers:
    """Make the flags of events that are part of a loop or of repeated edits."""
    flags = np.zeros(len(ids), dtype=np.int64)
    for category, flag in ((waste.LOOP, LOOP), (waste.EDIT_FAIL_EDIT, EDIT_FAIL_EDIT)):
        marked = [trace_id for each in found if each.category == category for trace_id in each.trace_ids]
        flags[_places(ids, marked) >= 0] |= flag
    return flags


def _places(ids: pa.ChunkedArray, wanted: Sequence[str]) -> Numbers:
    """Find each id in a list; -1 where it is not there."""
    found = pc.index_in(ids, value_set=pa.array(wanted, pa.string()))
    return _numbers(pc.fill_null(found, -1))


def _numbers(column: pa.ChunkedArray) -> Numbers:
    """Return a column without nulls as numbers."""
    return np.asarray(column.to_numpy()).astype(np.int64)


# --- putting them into order


class _Display:
    """Puts exchanges and events into display order. Used once.

    Attributes:
        order: Stored exchanges by display order: place among the stored ones, depth, id of the call, first event.
        stretches: Stored rows that are displayed without a break: first, one after the last, exchange, depth of that.
    """

    def __init__(self, tree: _Tree, stored: Sequence[_Exchange], rows: _Rows, has_events: bool) -> None:
        """Find where everything is stored.

        Args:
            tree: The sessions.
            stored: All exchanges.
            rows: All events, or none.
            has_events: Whether the events are there.
        """
        self.order: list[tuple[int, int, str | None, int]] = []
        self.stretches: list[tuple[int, int, int, int]] = []
        self._stored, self._parents, self._has_events = stored, rows.parents, has_events
        self._first_rows = np.cumsum([0, *(each.event_count for each in stored)]).tolist()
        self._shown = 0
        self._of_session: dict[str, list[int]] = {}
        for place, each in enumerate(stored):
            self._of_session.setdefault(each.session_id, []).append(place)
        self._under: dict[str, list[tuple[Call, int]]] = {}  # exchange id to its calls that show a session, with rows
        shown = sorted(tree.shown_under.values(), key=tree.calls.index)
        places = _places(rows.table["id"], [call.trace_id for call in shown])
        call_rows = {int(place): row for row, place in enumerate(places) if place >= 0} if has_events else {}
        for place, call in enumerate(shown):
            self._under.setdefault(call.exchange_id, []).append((call, call_rows.get(place, 0)))
        self._uncalled: dict[str | None, list[str]] = {}
        for node in tree.nodes[1:]:
            if node.session_id not in tree.shown_under:
                self._uncalled.setdefault(node.parent_id, []).append(node.session_id)
        self._run(tree.nodes[0].session_id)

    def _run(self, top: str) -> None:
        """Visit all sessions. By a stack: trees may be deeper than Python nests calls."""
        visits = [self._visit(top, 0, None)]
        while visits:
            below = next(visits[-1], None)
            if below is None:
                visits.pop()
            else:
                visits.append(self._visit(*below))

    def _visit(self, session_id: str, depth: int, call_id: str | None) -> Iterator[tuple[str, int, str | None]]:
        """Display a session; yields each session at the place where it is to be displayed inside this one."""
        for place in self._of_session.get(session_id, []):
            exchange, row = len(self.order), self._first_rows[place]
            self.order.append((place, depth, call_id, self._shown))
            for call, call_row in self._under.get(self._stored[place].exchange_id, []):
                below = depth + 2
                if self._has_events:
                    self._show(row, call_row + 1, exchange, depth)
                    row = call_row + 1
                    below += int(self._parents[call_row] >= 0)
                yield call.child_session_id, below, call.trace_id
            if self._has_events:
                self._show(row, self._first_rows[place + 1], exchange, depth)
        for child in self._uncalled.get(session_id, []):
            yield child, depth + 1, None

    def _show(self, start: int, stop: int, exchange: int, depth: int) -> None:
        """Display some rows of an exchange."""
        self.stretches.append((start, stop, exchange, depth))
        self._shown += stop - start


def _displayed(
    tree: _Tree,
    stored: Sequence[_Exchange],
    rows: _Rows,
    make: "_Exchanges",
    has_events: bool,
) -> tuple[list[TracedExchange], pa.Table]:
    """Put exchanges and events into display order.

    Args:
        tree: The sessions.
        stored: All exchanges.
        rows: All events, or none.
        make: Makes the exchanges.
        has_events: Whether the events are there.
    """
    display = _Display(tree, stored, rows, has_events)
    exchanges = [
        make.traced(stored[place], index, depth, call_id, first_event if has_events else -1)
        for index, (place, depth, call_id, first_event) in enumerate(display.order)
    ]
    return exchanges, _ordered(rows, display.stretches) if has_events else EVENTS.empty_table()


def _ordered(rows: _Rows, stretches: Sequence[tuple[int, int, int, int]]) -> pa.Table:
    """Put events into display order, stretch by stretch."""
    filled = [each for each in stretches if each[0] < each[1]]
    sizes = [stop - start for start, stop, _, _ in filled]
    order = np.concatenate([np.arange(start, stop) for start, stop, _, _ in filled] or [np.array([], dtype=np.int64)])
    shown_at = np.empty(len(order) + 1, dtype=np.int64)
    shown_at[order], shown_at[-1] = np.arange(len(order)), -1
    parents = rows.parents[order]
    depths = np.repeat([depth for _, _, _, depth in filled], sizes) + 1 + (parents >= 0)
    table = rows.table.take(pa.array(order))
    made = {
        "exchange": pa.array(np.repeat([exchange for _, _, exchange, _ in filled], sizes), pa.int32()),
        "parent": pa.array(shown_at[parents], pa.int32()),
        "depth": pa.array(np.minimum(depths, np.iinfo(np.int16).max), pa.int16()),
    }
    columns = [made[name] if name in made else table[name] for name in EVENTS.names]
    return pa.table(columns, schema=EVENTS).combine_chunks()


def _appended(rows: _Rows, exchanges: Sequence[_Exchange], indexes: Sequence[int]) -> pa.Table:
    """Describe events by ids instead of rows, as `Growth.events` does.

    Args:
        rows: All events of some exchanges.
        exchanges: Those, in the order they are stored.
        indexes: What to call each of them.
    """
    counts = [each.event_count for each in exchanges]
    starts = np.cumsum([0, *counts])[:-1]
    before = np.arange(len(rows.ids)) - 1
    before[starts[np.array(counts, dtype=np.int64) > 0]] = -1
    ids = rows.table["id"]
    made = {
        "exchange": pa.array(np.repeat(np.array(indexes, dtype=np.int64), counts), pa.int32()),
        "parent": pa.array(np.full(len(rows.ids), -1), pa.int32()),
        "depth": pa.array(np.zeros(len(rows.ids)), pa.int16()),
        "parent_id": ids.take(pa.array(rows.parents, mask=rows.parents < 0)),
        "after_id": ids.take(pa.array(before, mask=before < 0)),
    }
    columns = [made[name] if name in made else rows.table[name] for name in _GROWN.names]
    return pa.table(columns, schema=_GROWN).combine_chunks()


class _Exchanges:
    """Makes exchanges as they are displayed from those that are stored."""

    def __init__(
        self, tree: _Tree, origin_at: datetime | None, found: Sequence[waste.Finding], labels: Mapping[str, str]
    ) -> None:
        """Take what all of them share.

        Args:
            tree: The sessions.
            origin_at: Where times count from.
            found: Waste in them.
            labels: What was asked, by exchange.
        """
        self._indexes, self._origin_at, self._labels = tree.indexes, origin_at, labels
        self._found = Counter((each.exchange_id, each.category) for each in found)

    def traced(
        self, stored: _Exchange, index: int, depth: int, parent_trace_id: str | None, first_event: int
    ) -> TracedExchange:
        """Make one exchange."""
        return TracedExchange(
            index=index,
            exchange_id=stored.exchange_id,
            session=self._indexes[stored.session_id],
            number=stored.number,
            depth=depth,
            parent_trace_id=parent_trace_id,
            first_event=first_event,
            event_count=stored.event_count,
            kind=stored.kind,
            status=stored.status,
            error_name=stored.error_name,
            label=self._labels.get(stored.exchange_id, ""),
            started_at=stored.started_at,
            ended_at=stored.ended_at,
            start_ms=self._ms(stored.started_at),
            end_ms=self._ms(stored.ended_at),
            user_message_id=stored.user_message_id,
            agent=stored.agent,
            model=stored.model,
            tools=stored.tools,
            delegations=stored.delegations,
            steps=stored.steps,
            errors=stored.errors,
            tokens=stored.tokens,
            cost_usd=stored.cost_usd,
            is_fork_copy=stored.is_fork_copy,
            loops=self._found[stored.exchange_id, waste.LOOP],
            edit_retries=self._found[stored.exchange_id, waste.EDIT_FAIL_EDIT],
        )

    def _ms(self, at: datetime | None) -> float | None:
        """Count from the origin."""
        return None if at is None or self._origin_at is None else (at - self._origin_at) / timedelta(milliseconds=1)


_IN = traced.IN_SESSIONS

_NODES = """
    nodes AS (
        SELECT unnest($sessions::VARCHAR[]) AS session_id, generate_subscripts($sessions::VARCHAR[], 1) - 1 AS session
    )
"""

_ORIGIN = f"""
    SELECT least(
        (SELECT min(started_at) FROM exchanges WHERE {_IN}), (SELECT min(started_at) FROM exchange_traces WHERE {_IN})
    )
"""

# The fingerprint of an exchange changes with its row, and with the documents of its messages.
_EXCHANGES = f"""
    WITH {_NODES},
    per_message AS (
        SELECT exchange_id, message_id, count(*) AS events,
               count(*) FILTER (kind = 'tool') AS tools,
               count(*) FILTER ({traced.IS_DELEGATION}) AS delegations,
               count(*) FILTER (kind = 'step') AS steps,
               count(*) FILTER (is_failed) AS errors
        FROM exchange_traces WHERE {_IN} GROUP BY exchange_id, message_id
    ),
    per_exchange AS (
        SELECT exchange_id, sum(events)::BIGINT AS event_count, sum(tools)::BIGINT AS tools,
               sum(delegations)::BIGINT AS delegations, sum(steps)::BIGINT AS steps, sum(errors)::BIGINT AS errors,
               bit_xor(hash(message_id, content_hash, is_fork_copy, deleted_at, events)) AS documents
        FROM per_message
        LEFT JOIN (SELECT message_id, content_hash, is_fork_copy, deleted_at FROM messages WHERE {_IN})
            USING (message_id)
        GROUP BY exchange_id
    ),
    own AS (SELECT * FROM exchanges WHERE {_IN})
    SELECT exchange_id, session_id, number, kind, status, error_name, started_at, ended_at,
           user_message_id, agent, provider_id || '/' || model_id AS model,
           coalesce(event_count, 0) AS event_count, coalesce(tools, 0) AS tools,
           coalesce(delegations, 0) AS delegations, coalesce(steps, 0) AS steps, coalesce(errors, 0) AS errors,
           total_tokens AS tokens, cost_recorded_usd AS cost_usd, is_fork_copy,
           xor(hash(own), coalesce(documents, 0)) AS fingerprint
    FROM own JOIN nodes USING (session_id) LEFT JOIN per_exchange USING (exchange_id)
    ORDER BY session, number
"""


def _rows_sql(labelled: str) -> str:
    """Write the query of events in the order they are stored.

    Args:
        labelled: Tables that end in `labelled`.
    """
    return f"""
        WITH {_NODES}, {labelled},
        of_exchange AS (
            SELECT exchange_id, number, status AS exchange_status, is_fork_copy AS is_exchange_copy
            FROM exchanges WHERE {_IN}
        ),
        flagged AS (
            SELECT *,
                   if(is_exchange_copy OR coalesce(is_fork_copy, FALSE), {FORK_COPY}, 0)
                   | if(is_deleted, {DELETED}, 0)
                   | if(exchange_status IN ('failed', 'aborted'), {IN_FAILED_EXCHANGE}, 0)
                   | if(started_at IS NULL, {UNKNOWN_TIMES}, 0)
                   | if(is_clock_backwards, {CLOCK_BACKWARDS}, 0) AS flags
            FROM labelled JOIN nodes USING (session_id) JOIN of_exchange USING (exchange_id)
        )
        SELECT trace_id AS id, session, kind, name, label,
               (epoch_us(started_at) - epoch_us($origin::TIMESTAMP)) / 1000 AS start_ms,
               (epoch_us(ended_at) - epoch_us($origin::TIMESTAMP)) / 1000 AS end_ms,
               status, tokens::BIGINT AS tokens, cost_usd::DOUBLE AS cost_usd, flags::BIGINT AS flags,
               (kind = 'step')::TINYINT AS is_step, is_first_of_message::TINYINT AS is_first_of_message,
               hash(trace_id) AS id_hash,
               hash(trace_id, kind, name, label, started_at, ended_at, status, tokens, cost_usd, flags,
                    child_session_id) AS row_hash
        FROM flagged
        ORDER BY session, number, position
    """


_ALL_ROWS = _rows_sql(traced.LABELLED)
_SOME_ROWS = _rows_sql(traced.SOME_LABELLED)
