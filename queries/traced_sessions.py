"""The sessions of a timeline: its head, the tree below it, and the links that lead nowhere, back up or elsewhere."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

import duckdb

from queries import errors
from queries.rows import fetch_rows
from queries.session_tree import TreeNode
from queries.traced import IN_SESSIONS, IS_DELEGATION

RUNNING_FOR = timedelta(minutes=10)  # an answer without an end that is silent for longer was killed

OK, RESUMED, MISSING, CYCLE, ELSEWHERE = "ok", "resumed", "missing", "cycle", "elsewhere"


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
        active_ms: Time from each prompt to the end of its exchange, each moment once.
        tool_calls: Delegations included.
        delegations: Calls of the tool that starts child sessions: `task`, or `subagent` since 2.0.
        errors: Answers that ended in an error, unless the user cut them short, plus tool calls that failed.
        total_tokens: Every token once.
        cost_recorded_usd: Exact. None: nothing recorded.
        unrecorded_messages: Whose cost is not recorded, so not in it.
        subtree_sessions: The session and all below it.
        is_unfinished: In the tree, a prompt waits for its answer, an answer has no end, or the next step is due.
        changed_at: Last time recorded anywhere in the tree.
        is_deleted: OpenCode deleted it: numbers stay, texts are gone.
        fork_copies: Requests in it that are copies of an older session's.
        inherited_tokens: Tokens of those copies, in no other number.
        inherited_cost_usd: Their cost, in no other number.
        forked_from: Session that it was forked from, where OpenCode names it.
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
        index: Its place in its list; the timeline's own session is 0.
        parent: Index of the session above it. None for the timeline's own.
        depth: Below the timeline's own session, which is 0.
        title: None if it was deleted, never stored or is missing.
        agent: Of the last answer.
        model: `provider/model` of the last answer.
        delegating_trace_id: The call: of a row that is `ok` the first one, None if none is recorded.
        started_at: First time recorded in it, naive UTC; of a link that of the call. So is `ended_at`.
        active_ms: Time from each prompt to the end of its exchange, each moment once. 0 for a link, as other counts.
        own_tokens: Fork copies left out; so are they in the other numbers. None for a link.
        status: answered, failed, aborted, unfinished or unanswered: that of its last exchange. None for a link, or
            without an exchange.
        link: `ok`: in the tree, with its exchanges; each session has one such row. The others are links without
            exchanges, and their numbers are in no subtree. `resumed`: a further call runs a session of the tree;
            `missing`: a call names a session that the index does not have; `cycle`: a session above its own caller;
            `elsewhere`: a session that belongs to another one, as in what a fork copied.
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
    own_tokens: int | None
    own_cost_usd: Decimal | None
    subtree_tokens: int | None
    subtree_cost_usd: Decimal | None
    status: str | None
    link: str
    is_deleted: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A call that runs a session.

    Attributes:
        session_id: Of the caller.
        child_session_id: What it runs.
    """

    trace_id: str
    exchange_id: str
    session_id: str
    child_session_id: str
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the index knows of one session by itself."""

    session_id: str
    parent_id: str | None
    title: str | None
    agent: str | None
    model: str | None
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
    is_deleted: bool


def session_head(con: duckdb.DuckDBPyConnection, nodes: Sequence[TreeNode]) -> SessionHead:
    """Describe the top of a tree.

    Args:
        con: The index, open for reading.
        nodes: The tree, as `session_tree.tree_below` lists it; not empty.
    """
    values = {"session_id": nodes[0].session_id, "sessions": [node.session_id for node in nodes]}
    (head,) = fetch_rows(con, _HEAD, values, SessionHead)
    return head


def calls_of(con: duckdb.DuckDBPyConnection, session_ids: Sequence[str]) -> list[Call]:
    """List the calls of some sessions that name the session they run, in the order they are displayed."""
    return fetch_rows(con, _CALLS, {"sessions": list(session_ids)}, Call)


def traced_sessions(
    con: duckdb.DuckDBPyConnection, nodes: Sequence[TreeNode], calls: Sequence[Call]
) -> list[TracedSession]:
    """List the sessions of a tree, and the links in it.

    Args:
        con: The index, open for reading.
        nodes: The tree, not empty.
        calls: Of all its sessions.

    Returns:
        Parents before children, and below a parent in the order of the calls; sessions that no call runs come last.
    """
    named = {node.session_id for node in nodes} | {call.child_session_id for call in calls}
    facts = {each.session_id: each for each in fetch_rows(con, _FACTS, {"sessions": sorted(named)}, _Facts)}
    below = _below(nodes, calls, facts)
    rows: list[TracedSession] = []
    waiting = [_row(facts[nodes[0].session_id], None, None, 0)]
    while waiting:  # a stack, as trees may be deeper than Python nests calls
        row = replace(waiting.pop(), index=len(rows))
        rows.append(row)
        if row.link == OK:
            waiting += reversed([replace(each, parent=row.index) for each in below.get(row.session_id, [])])
    return rows


def first_calls(nodes: Sequence[TreeNode], calls: Sequence[Call]) -> dict[str, Call]:
    """Find the call under which each session of a tree is shown: the first one that its parent made."""
    parents = {node.session_id: node.parent_id for node in nodes}
    found: dict[str, Call] = {}
    for call in calls:
        if parents.get(call.child_session_id) == call.session_id:
            found.setdefault(call.child_session_id, call)
    return found


def _below(
    nodes: Sequence[TreeNode], calls: Sequence[Call], facts: Mapping[str, _Facts]
) -> dict[str, list[TracedSession]]:
    """List what is directly below each session of a tree: child sessions and links, not yet numbered."""
    depths = {node.session_id: node.depth for node in nodes}
    first = first_calls(nodes, calls)
    below: dict[str, list[TracedSession]] = {}
    for call in calls:
        depth = depths[call.session_id] + 1
        if first.get(call.child_session_id) == call:
            row = _row(facts[call.child_session_id], call, call.session_id, depth)
        else:
            link = _link(call, nodes, facts)
            row = _link_row(call.child_session_id, facts.get(call.child_session_id), call, link, depth)
        below.setdefault(call.session_id, []).append(row)
    for node in nodes:
        if node.parent_id is not None and node.session_id not in first:
            row = _row(facts[node.session_id], None, node.parent_id, node.depth)
            below.setdefault(node.parent_id, []).append(row)
    top = facts[nodes[0].session_id]
    if top.parent_id is not None and top.parent_id in depths:  # a cycle of parents, cut at the top
        row = _link_row(top.session_id, top, None, CYCLE, depths[top.parent_id] + 1)
        below.setdefault(top.parent_id, []).append(row)
    return below


def _link(call: Call, nodes: Sequence[TreeNode], facts: Mapping[str, _Facts]) -> str:
    """Say what a call that runs no session for the first time leads to."""
    parents = {node.session_id: node.parent_id for node in nodes}
    if call.child_session_id in _with_those_above(call.session_id, parents):
        return CYCLE
    if call.child_session_id in parents:
        return RESUMED
    return ELSEWHERE if call.child_session_id in facts else MISSING


def _with_those_above(session_id: str, parents: Mapping[str, str | None]) -> Iterable[str]:
    """Yield a session of a tree and all above it."""
    above: str | None = session_id
    while above is not None:
        yield above
        above = parents[above]


def _row(facts: _Facts, call: Call | None, parent_id: str | None, depth: int) -> TracedSession:
    """Make the row of a session of the tree; its place is filled in later."""
    return TracedSession(
        index=-1,
        session_id=facts.session_id,
        parent=None if parent_id is None else -1,
        depth=depth,
        title=facts.title,
        agent=facts.agent,
        model=facts.model,
        delegating_trace_id=call.trace_id if call else None,
        started_at=facts.started_at,
        ended_at=facts.ended_at,
        active_ms=facts.active_ms,
        exchanges=facts.exchanges,
        tool_calls=facts.tool_calls,
        errors=facts.errors,
        own_tokens=facts.own_tokens,
        own_cost_usd=facts.own_cost_usd,
        subtree_tokens=facts.subtree_tokens,
        subtree_cost_usd=facts.subtree_cost_usd,
        status=facts.status,
        link=OK,
        is_deleted=facts.is_deleted,
    )


def _link_row(session_id: str, facts: _Facts | None, call: Call | None, link: str, depth: int) -> TracedSession:
    """Make the row of what leads to no session of its own in the tree; its place is filled in later."""
    return TracedSession(
        index=-1,
        session_id=session_id,
        parent=-1,
        depth=depth,
        title=facts.title if facts else None,
        agent=facts.agent if facts else None,
        model=facts.model if facts else None,
        delegating_trace_id=call.trace_id if call else None,
        started_at=call.started_at if call else None,
        ended_at=call.ended_at if call else None,
        active_ms=0,
        exchanges=0,
        tool_calls=0,
        errors=0,
        own_tokens=None,
        own_cost_usd=None,
        subtree_tokens=None,
        subtree_cost_usd=None,
        status=None,
        link=link,
        is_deleted=facts.is_deleted if facts else False,
    )


_IN = IN_SESSIONS

_CALLS = f"""
    SELECT trace_id, exchange_id, t.session_id, child_session_id, t.started_at, t.ended_at
    FROM (SELECT * FROM exchange_traces WHERE {_IN} AND child_session_id IS NOT NULL) t
         JOIN (SELECT exchange_id, number FROM exchanges WHERE {_IN}) USING (exchange_id)
    ORDER BY list_position($sessions::VARCHAR[], t.session_id), number, position
"""

_FACTS = f"""
    WITH spans AS (
        SELECT session_id, min(started_at) AS started_at, max(ended_at) AS ended_at, arg_max(status, number) AS status
        FROM exchanges WHERE {_IN} GROUP BY session_id
    )
    SELECT s.session_id, s.parent_id, s.title, last_agent AS agent, last_provider_id || '/' || last_model_id AS model,
           coalesce(spans.started_at, s.created_at) AS started_at, spans.ended_at,
           coalesce(active_ms, 0) AS active_ms, coalesce(exchange_count, 0) AS exchanges,
           coalesce(tool_calls, 0) AS tool_calls, coalesce(errors, 0) AS errors,
           coalesce(total_tokens, 0) AS own_tokens, cost_recorded_usd AS own_cost_usd,
           coalesce(subtree_total_tokens, 0) AS subtree_tokens, subtree_cost_recorded_usd AS subtree_cost_usd,
           spans.status, s.deleted_at IS NOT NULL AS is_deleted
    FROM sessions s LEFT JOIN session_stats USING (session_id) LEFT JOIN spans USING (session_id)
         LEFT JOIN ({errors.of_sessions(_IN)}) USING (session_id)
    WHERE list_contains($sessions::VARCHAR[], s.session_id)
"""

_HEAD = f"""
    WITH last_messages AS (
        SELECT session_id, role, completed_at, finish, error_name FROM messages WHERE {_IN}
        QUALIFY row_number() OVER (
            PARTITION BY session_id ORDER BY created_at DESC NULLS LAST, seq DESC NULLS LAST, message_id DESC
        ) = 1
    ),
    state AS (
        SELECT (SELECT coalesce(bool_or(
                    role = 'user' OR (role = 'assistant' AND error_name IS NULL
                                      AND (completed_at IS NULL OR finish = 'tool-calls'))
                ), FALSE) FROM last_messages) AS is_unfinished,
               (SELECT max(recorded_until) FROM messages WHERE {_IN}) AS changed_at,
               (SELECT min(root_session_id) FROM session_traces WHERE session_id = $session_id) AS root_session_id,
               (SELECT count(*) FROM exchange_traces
                WHERE session_id = $session_id AND {IS_DELEGATION}) AS delegations,
               (SELECT min(started_at) FROM exchanges WHERE session_id = $session_id) AS first_at,
               (SELECT max(ended_at) FROM exchanges WHERE session_id = $session_id) AS ended_at
    )
    SELECT s.session_id, coalesce(root_session_id, s.session_id) AS root_session_id,
           s.parent_id AS parent_session_id,
           s.parent_id IS NOT NULL AND s.parent_id NOT IN (SELECT session_id FROM sessions) AS is_parent_missing,
           s.title, last_agent AS agent, last_provider_id || '/' || last_model_id AS model,
           coalesce(nullif(project.name, ''), nullif(parse_filename(project.worktree), '')) AS project,
           s.directory, s.client_version,
           coalesce(first_at, s.created_at) AS started_at, ended_at,
           if(ended_at >= first_at, date_diff('millisecond', first_at, ended_at), NULL) AS wall_ms,
           coalesce(active_ms, 0) AS active_ms, coalesce(exchange_count, 0) AS exchanges,
           coalesce(tool_calls, 0) AS tool_calls, coalesce(failed_tool_calls, 0) AS failed_tool_calls, delegations,
           coalesce(errors, 0) AS errors,
           coalesce(total_tokens, 0) AS total_tokens, cost_recorded_usd,
           coalesce(unrecorded_messages, 0) AS unrecorded_messages,
           coalesce(subtree_sessions, 1) AS subtree_sessions,
           coalesce(subtree_total_tokens, 0) AS subtree_tokens, subtree_cost_recorded_usd AS subtree_cost_usd,
           is_unfinished, changed_at,
           s.deleted_at IS NOT NULL AS is_deleted, s.archived_at IS NOT NULL AS is_archived,
           s.is_placeholder, s.is_missing_in_newer,
           coalesce(fork_copies, 0) AS fork_copies, coalesce(inherited_total_tokens, 0) AS inherited_tokens,
           inherited_cost_recorded_usd AS inherited_cost_usd, s.fork_session_id AS forked_from
    FROM sessions s
         CROSS JOIN state
         LEFT JOIN session_stats USING (session_id)
         LEFT JOIN ({errors.of_sessions("session_id = $session_id")}) USING (session_id)
         LEFT JOIN projects project ON project.project_id = s.project_id
    WHERE s.session_id = $session_id
"""
