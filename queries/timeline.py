"""What happened in a session and in the sessions it delegated to, event by event, in the order it is read.

The tree is that of `session_stats`: the session and all its child sessions, each once. Everything is there, also what
OpenCode deleted and what a fork copied (both flagged). Nothing is invented: a time that OpenCode does not record is
null, and its event keeps its place in the order.

Display order: the exchanges of a session by number; inside an exchange its events; a delegation is followed by the
exchanges of its child session. A child that no recorded call runs follows the last exchange of its parent.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

RUNNING_FOR = timedelta(minutes=10)  # an answer without an end that is silent for longer was killed
MAX_EVENTS = 100_000  # above this a timeline has no events; they are read exchange by exchange
LABEL_CHARACTERS = 120

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
        ("child", pa.int32()),  # delegations: index into `sessions` of what it runs, the row that is `ok` if there is
        #                         one; -1: nothing is recorded
        ("kind", pa.string()),  # prompt reasoning text tool delegation step retry error compaction file patch other
        ("name", pa.string()),  # tool name, error name, or the type as OpenCode names it
        ("label", pa.string()),  # one line of at most 120 characters; empty if there is nothing to say
        ("start_ms", pa.float64()),  # since `Timeline.origin_at`; null: not recorded. Steps after a restart have none
        ("end_ms", pa.float64()),  # null: not recorded, or still running. A step ends when its message does
        ("status", pa.string()),  # ok failed unfinished restarted
        ("tokens", pa.int64()),  # steps only, every token once; null elsewhere
        ("cost_usd", pa.float64()),  # steps only, for display; null: not recorded
        ("flags", pa.int32()),  # the bits above
    ]
)


@dataclass(frozen=True, slots=True)
class SessionHead:
    """The session that a timeline is about. Own numbers leave fork copies out; `subtree_` adds child sessions.

    Attributes:
        root_session_id: Top of the tree it is in; itself if it is a root.
        parent_session_id: Session that delegated to it, as OpenCode names it.
        is_parent_missing: That session is not in the index.
        model: `provider/model` of the last answer.
        project: Name given by the user, else the last part of its folder.
        started_at: First time recorded in it, naive UTC; so are the other times.
        ended_at: Last one.
        wall_ms: From the first to the last. None if no time is known.
        active_ms: Time from each prompt to the end of its exchange, added up.
        tool_calls: Delegations included.
        delegations: Calls that run a subagent.
        errors: Answers that ended in an error plus tool calls that failed.
        total_tokens: Every token once.
        cost_recorded_usd: Exact. None: nothing recorded.
        subtree_sessions: The session and all below it.
        is_unfinished: The last answer of a session of the tree has no end.
        changed_at: Last time recorded anywhere in the tree.
        is_deleted: OpenCode deleted it: numbers stay, texts are gone.
        fork_copies: Requests in it that are copies of an older session's.
        inherited_tokens: Tokens of those copies, in no other number.
        inherited_cost_usd: Their cost, in no other number.
        forked_from: Session that it was forked from, where that is known.
    """

    session_id: str
    root_session_id: str
    parent_session_id: str | None
    is_parent_missing: bool
    title: str | None
    agent: str | None
    model: str | None
    project: str | None
    directory: str | None
    client_version: str | None
    started_at: datetime | None
    ended_at: datetime | None
    wall_ms: int | None
    active_ms: int
    exchanges: int
    tool_calls: int
    failed_tool_calls: int
    delegations: int
    errors: int
    total_tokens: int
    cost_recorded_usd: Decimal | None
    unrecorded_messages: int
    subtree_sessions: int
    subtree_tokens: int
    subtree_cost_usd: Decimal | None
    is_unfinished: bool
    changed_at: datetime | None
    is_deleted: bool
    is_archived: bool
    is_placeholder: bool
    is_missing_in_newer: bool
    fork_copies: int
    inherited_tokens: int
    inherited_cost_usd: Decimal | None
    forked_from: str | None

    def is_running(self, now: datetime) -> bool:
        """Tell whether the session still works: its last answer has no end and something changed lately.

        Args:
            now: The present, naive UTC. Not read from the clock here: answers of queries are cached.
        """
        return self.is_unfinished and self.changed_at is not None and now - self.changed_at <= RUNNING_FOR


@dataclass(frozen=True, slots=True)
class TracedSession:
    """A session of the tree, or a link to one.

    Attributes:
        index: Its place in `Timeline.sessions`; the timeline's own session is 0.
        parent: Index of the session above it. None for the timeline's own.
        depth: Below the timeline's own session, which is 0.
        title: None if it was deleted, never stored or is missing.
        agent: Of the last answer; of a link, what the call asked for, where that is known.
        delegating_trace_id: The call: of a row that is `ok` the first one, None if none is recorded.
        status: answered, failed, aborted, unfinished or unanswered: that of its last exchange. None without one.
        link: `ok`: in the tree, with its exchanges; each session has one such row. The others are links without
            exchanges, and their numbers are in no subtree. `resumed`: a further call runs a session of the tree;
            `missing`: a call names a session that the index does not have; `cycle`: a session above its own caller;
            `elsewhere`: a session that belongs to another one, as in what a fork copied.
        own_tokens: Fork copies left out; so are they in the other numbers.
    """

    index: int
    session_id: str
    parent: int | None
    depth: int
    title: str | None
    agent: str | None
    model: str | None
    delegating_trace_id: str | None
    started_at: datetime | None
    ended_at: datetime | None
    active_ms: int
    exchanges: int
    tool_calls: int
    errors: int
    own_tokens: int
    own_cost_usd: Decimal | None
    subtree_tokens: int
    subtree_cost_usd: Decimal | None
    status: str | None
    link: str
    is_deleted: bool


@dataclass(frozen=True, slots=True)
class TracedExchange:
    """One exchange of a session of the tree.

    Attributes:
        index: Its place in `Timeline.exchanges`, which is in display order.
        session: Index of its session.
        number: From 1 inside its session.
        depth: 0 in the timeline's own session; in a child, one more than the delegation that it is shown under.
        parent_trace_id: The delegation that it is shown under. None in the timeline's own session and in children
            that no recorded call runs.
        first_event: Row where its events begin, or would.
        event_count: Its own events, without those of child sessions between them.
        kind: prompt, command, shell, compaction, continuation; none: no user message.
        status: answered, failed, aborted, unfinished, unanswered.
        label: The first line of what was asked, at most 120 characters. Empty if nothing was or it is gone.
        start_ms: Since `Timeline.origin_at`. None: unknown.
        model: `provider/model` of the last answer.
        tools: Tool calls without delegations.
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
        exchanges: Exchange id to (index, fingerprint of all that is shown of it, own events).
        sessions: Session id to index.
        ids: Sorted hashes of the ids of the events.
        rows: Sorted hashes of the events.
    """

    session_id: str
    origin_at: datetime | None
    exchanges: dict[str, tuple[int, int, int]]
    sessions: dict[str, int]
    ids: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """A session with everything below it.

    Attributes:
        origin_at: Where `start_ms` and `end_ms` count from: the earliest time in it, naive UTC. None: no time is known.
        sessions: The session first, then breadth first; each once.
        exchanges: In display order.
        events: See `EVENTS`. Empty if there are more than `MAX_EVENTS`: see `events_of`.
        event_count: All events, also when they are not in `events`.
        marker: Where `events_since` goes on from.
    """

    head: SessionHead
    origin_at: datetime | None
    sessions: list[TracedSession]
    exchanges: list[TracedExchange]
    events: pa.Table
    event_count: int
    marker: Marker


@dataclass(frozen=True, slots=True, eq=False)
class Growth:
    """What came since a marker. Indexes go on: what was known keeps its own, what is new comes after the last.

    Attributes:
        is_restart: Something known is gone or belongs elsewhere now: draw the timeline anew. The rest is empty then.
        sessions: All of the tree, by index; they are few.
        exchanges: Those that are new or changed. `first_event` is -1: their place follows from session, number and
            `parent_trace_id`.
        events: Those that are new or changed, in order inside each exchange. Columns of `EVENTS`, where `parent` is
            always -1, and two more: `parent_id`, the step, null if directly in its exchange; `after_id`, the event
            before it in its exchange, null if it is the first.
        marker: Where the next call goes on from.
    """

    is_restart: bool
    head: SessionHead
    sessions: list[TracedSession]
    exchanges: list[TracedExchange]
    events: pa.Table
    marker: Marker


def timeline(con: duckdb.DuckDBPyConnection, session_id: str) -> Timeline | None:
    """Read a session and everything below it, at any depth; cycles are cut.

    Args:
        con: The index, open for reading.
        session_id: Any session, root or not.

    Returns:
        The timeline. None if the index has no such session.
    """
    raise NotImplementedError


def events_since(con: duckdb.DuckDBPyConnection, known: Marker) -> Growth | None:
    """Read what came since, for a timeline that grows while it is looked at.

    Args:
        con: A newer revision of the index.
        known: Of the timeline, or of the growth before.

    Returns:
        What is new or changed. None if nothing is.
    """
    raise NotImplementedError


def events_of(con: duckdb.DuckDBPyConnection, known: Marker, exchange_ids: list[str]) -> pa.Table:
    """Read the events of some exchanges, where a timeline is too large to be read whole.

    Args:
        con: The index, open for reading.
        known: Of the timeline.
        exchange_ids: Exchanges of it.

    Returns:
        As `Growth.events`.
    """
    raise NotImplementedError
