"""What follows from rows: dimension tables, fork copies, exchanges and session totals, for the sessions that changed.

This module reads the rows of these sessions, and writes what differs. How it follows from them is told by pure
functions (`exchanges.py`, `session_numbers.py`), the same for a first index, a live change and a backfill.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple, TypeVar

import duckdb

from indexer import session_trees, sql
from indexer.arrow_tables import select_list, tuple_table
from indexer.exchanges import Exchange, Message, Part, Trace
from indexer.hot_sessions import (
    MOST_TREES,
    Difference,
    Held,
    HotSessions,
    RowChanges,
    SessionState,
    SliceChanges,
    Trees,
)
from indexer.report_rows import Failure, ToolCall, UsageSlice
from indexer.request_chain import ChainLink
from indexer.rows import MessageRow, PartRow
from indexer.session_numbers import SessionNumbers, with_subtree

_SessionRow = TypeVar("_SessionRow", Message, Part, Trace, Exchange, ToolCall, Failure, ChainLink, UsageSlice)
_Row = TypeVar("_Row", Message, Part, Trace, Exchange, ToolCall, Failure, ChainLink, UsageSlice, SessionNumbers)
_KeyedRow = TypeVar("_KeyedRow", Trace, Exchange, ToolCall, Failure, ChainLink, SessionNumbers)
_EventRow = TypeVar("_EventRow", Trace, Exchange, ToolCall, Failure, ChainLink)
_FEW_KEYS = 50  # that are found sooner as constants

_message_of = attrgetter(*(name for name in Message._fields if name != "deleted_at"))
_part_of = attrgetter(*(name for name in Part._fields if name != "deleted_at"))


class Written(NamedTuple):
    """Messages that were just written for the first time, with all their parts: to read them again takes longer."""

    messages: list[Message]
    parts: list[Part]

    @classmethod
    def of(cls, messages: Iterable[MessageRow], parts: Iterable[PartRow]) -> "Written":
        """Take what is derived from out of the rows. Of rows with one id the last counts, as when they are written."""
        last_messages, last_parts = {row.message_id: row for row in messages}, {row.part_id: row for row in parts}
        return cls(
            [Message._make((*_message_of(row), None)) for row in last_messages.values()],
            [Part._make((*_part_of(row), None)) for row in last_parts.values()],
        )


def refresh(
    con: duckdb.DuckDBPyConnection,
    session_ids: Collection[str],
    *,
    message_ids: Collection[str] = (),
    part_ids: Collection[str] = (),
    fork_keys: Collection[int] = (),
    resorted: Collection[str] | None = None,
    parents: Collection[str] = (),
    hot: HotSessions | None = None,
    written: Written | None = None,
) -> None:
    """Bring everything derived up to date after rows of some sessions changed, in the same transaction.

    Args:
        con: The index, inside a transaction.
        session_ids: Sessions whose own row, messages or parts changed.
        message_ids: Messages that changed, or whose parts did; only looked at with `hot`.
        part_ids: Parts that changed, came, went or moved; only looked at with `hot`.
        fork_keys: Keys that these messages had before the change, or have now.
        resorted: Sessions that may come before or after their copies now. None: all of them.
        parents: Sessions that were parents of some of these before the change.
        hot: What is remembered of the changes before. None: all rows of the sessions are read.
        written: All that changed, where nothing of it was in the index before. None: it is read.
    """
    if not session_ids:
        return
    memory = HotSessions() if hot is None else hot
    settled = set(session_ids) & memory.trees.keys()
    settled |= _add_placeholders(con, set(session_ids) - settled, memory)
    flagged = flag_fork_copies(con, session_ids if resorted is None else resorted, fork_keys)
    touched = sorted({*session_ids, *flagged.values()})
    changed = {*message_ids, *flagged}
    if written is None:
        what = _Changed(changed, part_ids, Written([], []))
    else:  # a message that was flagged since is not as it was written
        moot = {part.part_id for part in written.parts if part.message_id in flagged}
        what = _Changed({*flagged}, moot, written)
    states, cold = _states(con, touched, what, memory)
    held = _held(con, cold)
    _write(con, [state.derive(held.get(key)) for key, state in states.items()])
    _write_numbers(con, states, _trees(con, touched, parents, settled, memory), memory)
    if hot is not None:  # the session that was written last goes on in the next batch
        last = written.messages[-1].session_id if written and written.messages else None
        hot.keep(sorted(states.values(), key=lambda state: state.session_id == last))


def underived(con: duckdb.DuckDBPyConnection) -> list[str]:
    """List the sessions that lack rows of a table which came with a newer schema. Cheap where none does."""
    rows = con.execute(
        "SELECT DISTINCT session_id FROM exchanges ANTI JOIN usage_slices USING (session_id) ORDER BY session_id"
    ).fetchall()
    return [session_id for (session_id,) in rows]


# --- reading


class _Changed(NamedTuple):
    """Which rows changed.

    Attributes:
        message_ids: Messages to be read.
        part_ids: Parts to be read, besides those that these messages had before.
        written: What else changed, and need not be read.
    """

    message_ids: Collection[str]
    part_ids: Collection[str]
    written: Written


def _states(
    con: duckdb.DuckDBPyConnection, touched: list[str], changed: _Changed, hot: HotSessions
) -> tuple[dict[str, SessionState], list[str]]:
    """Read the rows of sessions: all of those that are not remembered, else what changed; add names that are new.

    Returns:
        Session id to its rows; ids of the sessions that were read as a whole.
    """
    remembered = {session_id: state for session_id in touched if (state := hot.take(session_id))}
    cold = [session_id for session_id in touched if session_id not in remembered]
    messages, parts = _read_sessions(con, cold)
    looked_at = {*changed.message_ids, *(row.message_id for rows in changed.written for row in rows)}
    if remembered and looked_at:
        changed_messages, changed_parts = _changed_rows(con, changed, remembered.values())
        messages += [message for message in changed_messages if message.session_id in remembered]
        parts += [part for part in changed_parts if part.session_id in remembered and part.message_id in looked_at]
    parts.sort(key=attrgetter("position", "part_id"))
    _add_names(con, messages, parts, hot)
    states = remembered | {session_id: SessionState(session_id) for session_id in cold}
    messages_of, parts_of = _by_session(messages), _by_session(parts)
    for session_id, state in states.items():
        stale = looked_at if session_id in remembered else ()
        state.replace(stale, messages_of.get(session_id, ()), parts_of.get(session_id, ()))
    return states, cold


def _changed_rows(
    con: duckdb.DuckDBPyConnection, changed: _Changed, states: Iterable[SessionState]
) -> tuple[list[Message], list[Part]]:
    """Return messages and parts that changed: as they were written, else as the index has them."""
    messages = [row for row in changed.written.messages if row.message_id not in changed.message_ids]
    parts = [row for row in changed.written.parts if row.message_id not in changed.message_ids]
    if changed.message_ids:
        known = {part_id for state in states for part_id in state.part_ids(changed.message_ids)}
        read_messages, read_parts = _read_changed(con, changed.message_ids, known.union(changed.part_ids))
        messages, parts = messages + read_messages, parts + read_parts
    return messages, parts


def _read_sessions(con: duckdb.DuckDBPyConnection, session_ids: Collection[str]) -> tuple[list[Message], list[Part]]:
    """Read all messages and parts of some sessions."""
    if not session_ids:
        return [], []
    condition = f"session_id IN {sql.texts(session_ids)}"
    return _read(con, Message, "messages", condition), _read(con, Part, "parts", condition)


def _read_changed(
    con: duckdb.DuckDBPyConnection, message_ids: Collection[str], part_ids: Collection[str]
) -> tuple[list[Message], list[Part]]:
    """Read some messages and parts: by their own ids, for that is what the indexes find at once."""
    wanted, values = sql.among(message_ids)
    messages = _read(con, Message, "messages", f"message_id IN {wanted}", values)
    wanted, values = sql.among(part_ids)
    return messages, _read(con, Part, "parts", f"part_id IN {wanted}", values) if part_ids else []


def _read(
    con: duckdb.DuckDBPyConnection,
    row_type: type[_Row],
    table: str,
    condition: str,
    values: Mapping[str, object] | None = None,
) -> list[_Row]:
    """Read the rows of a table that a condition holds for."""
    rows = con.execute(f"SELECT {select_list(row_type)} FROM {table} WHERE {condition}", values or {}).fetchall()
    return list(map(row_type._make, rows))


def _by_session(rows: Iterable[_SessionRow]) -> dict[str, list[_SessionRow]]:
    """Group rows by session, in order."""
    found: dict[str, list[_SessionRow]] = {}
    for row in rows:
        found.setdefault(row.session_id, []).append(row)
    return found


def _held(con: duckdb.DuckDBPyConnection, session_ids: list[str]) -> dict[str, Held]:
    """Read what was derived of sessions before, by session id."""
    if not session_ids:
        return {}
    condition = f"session_id IN {sql.texts(session_ids)}"
    traces = _by_session(_read(con, Trace, "exchange_traces", condition))
    exchanges = _by_session(_read(con, Exchange, "exchanges", condition))
    calls = _by_session(_read(con, ToolCall, "tool_calls", condition))
    failed = _by_session(_read(con, Failure, "failures", condition))
    links = _by_session(_read(con, ChainLink, "request_chain", condition))
    slices = _by_session(_read(con, UsageSlice, "usage_slices", condition))
    return {
        session_id: Held(
            {trace.trace_id: trace for trace in traces.get(session_id, ())},
            {exchange.exchange_id: exchange for exchange in exchanges.get(session_id, ())},
            {call.part_id: call for call in calls.get(session_id, ())},
            {failure.failure_id: failure for failure in failed.get(session_id, ())},
            {link.request_id: link for link in links.get(session_id, ())},
            {each.key: each for each in slices.get(session_id, ())},
        )
        for session_id in session_ids
    }


# --- what rows name


def _add_placeholders(con: duckdb.DuckDBPyConnection, session_ids: Collection[str], hot: HotSessions) -> set[str]:
    """Give messages of unknown sessions a session row, and sessions of unknown projects a project row.

    Returns:
        Sessions that are there, not only named and not deleted.
    """
    if not session_ids:
        return set()
    rows = con.execute(
        f"""
        SELECT session_id, project_id, NOT is_placeholder AND deleted_at IS NULL
        FROM sessions WHERE session_id IN {sql.texts(session_ids)}
        """
    ).fetchall()
    if unknown := set(session_ids) - {session_id for session_id, *_ in rows}:
        hot.trees.clear()  # others may be below them
        con.execute(
            f"""
            INSERT INTO sessions BY NAME
            SELECT session_id, TRUE AS is_placeholder, FALSE AS is_missing_in_newer, 0 AS generation, 0 AS content_hash,
                   if(bool_and(deleted_at IS NOT NULL), max(deleted_at), NULL) AS deleted_at
            FROM messages WHERE session_id IN {sql.texts(unknown)} GROUP BY session_id
            """
        )
    known = _known_names(con, "projects", hot)
    if new := {(project_id,) for _, project_id, _ in rows if project_id is not None} - known:
        names = sql.texts(project_id for (project_id,) in new)
        con.execute(
            f"""
            INSERT INTO projects BY NAME
            SELECT DISTINCT project_id, 0 AS generation, 0 AS content_hash
            FROM sessions WHERE project_id IN {names} AND project_id NOT IN (SELECT project_id FROM projects)
            """
        )
        known |= new
    return {session_id for session_id, _, is_settled in rows if is_settled}


def _trees(
    con: duckdb.DuckDBPyConnection,
    session_ids: Collection[str],
    parents: Collection[str],
    settled: Collection[str],
    hot: HotSessions,
) -> Trees:
    """Bring the trees around sessions up to date, unless they are remembered."""
    if hot.trees.keys() >= {*session_ids}:
        found = [hot.trees[session_id] for session_id in session_ids]
        return Trees(
            {top: members for trees in found for top, members in trees.subtrees.items()},
            {top: count for trees in found for top, count in trees.child_counts.items()},
        )
    rebuilt = session_trees.rebuild(con, session_ids, parents)
    if len(settled) <= MOST_TREES:
        for session_id in settled:
            above = {top: members for top, members in rebuilt.subtrees.items() if session_id in members}
            hot.trees[session_id] = Trees(above, {top: rebuilt.child_counts[top] for top in above})
    return rebuilt


def _add_names(
    con: duckdb.DuckDBPyConnection, messages: Iterable[Message], parts: Iterable[Part], hot: HotSessions
) -> None:
    """Add agents, models and tools that are new."""
    named: dict[str, set[tuple[str | None, ...]]] = {
        "agents": {(message.agent,) for message in messages},
        "models": {(message.provider_id, message.model_id) for message in messages},
        "tools": {(part.tool_name,) for part in parts},
    }
    for table, keys in named.items():
        known = _known_names(con, table, hot)
        for key in keys - known:
            if None not in key:
                con.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(key))})", key)
                known.add(key)


def _known_names(con: duckdb.DuckDBPyConnection, table: str, hot: HotSessions) -> set[tuple[str | None, ...]]:
    """Return the keys of a table of names, none of which is ever removed; one that the index has may be missing."""
    if table not in hot.names:
        columns = "project_id" if table == "projects" else "*"
        hot.names[table] = set(con.execute(f"SELECT {columns} FROM {table}").fetchall())
    return hot.names[table]


def flag_fork_copies(
    con: duckdb.DuckDBPyConnection, session_ids: Collection[str], fork_keys: Collection[int]
) -> dict[str, str]:
    """Tell originals from the copies that forks made (see `fork_key`).

    A request that is still there comes before one that OpenCode deleted. The original is in the session that no other
    one of the group was forked to, as far as OpenCode names origins (2.0), then in the session created first; equal
    times: in the smaller session id.

    Args:
        con: The index, inside a transaction.
        session_ids: Sessions with messages to look at.
        fork_keys: Keys of other messages to look at.

    Returns:
        Messages whose flags changed, with their sessions.
    """
    keys = set(fork_keys)
    if session_ids:
        found = con.execute(f"SELECT fork_key FROM messages WHERE session_id IN {sql.texts(session_ids)}").fetchall()
        keys |= {key for (key,) in found if key is not None}
    if not keys:
        return {}
    few = ", ".join(map(str, keys)) if len(keys) <= _FEW_KEYS else ""
    shared = con.execute(  # most requests have no copy
        f"""
        SELECT fork_key FROM messages WHERE fork_key IN ({few or "SELECT unnest($keys::BIGINT[])"})
        GROUP BY fork_key HAVING min(session_id) <> max(session_id) OR bool_or(is_fork_copy)
        """,
        {} if few else {"keys": list(keys)},
    ).fetchall()
    if not shared:
        return {}
    changed = con.execute(
        """
        WITH keys AS (SELECT unnest($keys::BIGINT[]) AS fork_key),
        members AS MATERIALIZED (
            SELECT m.message_id, m.fork_key, m.session_id, m.is_fork_copy, m.deleted_at IS NOT NULL AS is_deleted,
                   s.created_at, s.fork_session_id
            FROM messages m JOIN keys USING (fork_key) LEFT JOIN sessions s USING (session_id)
        ),
        flagged AS (
            SELECT message_id, session_id <> first_value(session_id) OVER (
                PARTITION BY fork_key
                ORDER BY is_deleted, EXISTS (
                    SELECT 1 FROM members origin
                    WHERE origin.fork_key = members.fork_key AND origin.session_id = members.fork_session_id
                ), created_at NULLS LAST, session_id
            ) AS is_copy
            FROM members
        )
        UPDATE messages SET is_fork_copy = flagged.is_copy
        FROM flagged
        WHERE messages.message_id = flagged.message_id AND messages.is_fork_copy <> flagged.is_copy
        RETURNING messages.message_id, messages.session_id
        """,
        {"keys": [key for (key,) in shared]},
    ).fetchall()
    return dict(changed)


# --- writing


def _write(con: duckdb.DuckDBPyConnection, differences: Sequence[Difference]) -> None:
    """Bring what follows from the messages of sessions up to date.

    A live change adds a few rows to a session that may have thousands: only what differs is written, for every written
    row costs its place in two indexes, in the log, and in the copy of it that every reader replays.
    """
    _apply(con, Trace, [difference.traces for difference in differences])
    _apply(con, Exchange, [difference.exchanges for difference in differences])
    _apply(con, ToolCall, [difference.calls for difference in differences])
    _apply(con, Failure, [difference.failures for difference in differences])
    _apply(con, ChainLink, [difference.links for difference in differences])
    _write_slices(con, {difference.session_id: difference.slices for difference in differences})


def _write_slices(con: duckdb.DuckDBPyConnection, changes: Mapping[str, SliceChanges]) -> None:
    """Write the slices of sessions that are different."""
    for session_id, change in changes.items():
        if change.stale:
            quarters = ", ".join(str(-1 if quarter_at is None else quarter_at) for quarter_at in change.stale)
            con.execute(
                "DELETE FROM usage_slices "
                f"WHERE session_id = {sql.text(session_id)} AND coalesce(epoch_ms(quarter_at), -1) IN ({quarters})"
            )
    if rows := [row for change in changes.values() for row in change.rows]:
        sql.insert(con, "usage_slices", tuple_table(UsageSlice, rows))


def _apply(con: duckdb.DuckDBPyConnection, row_type: type[_EventRow], changes: Sequence[RowChanges[_EventRow]]) -> None:
    """Write what is different in one table."""
    stale = [key for change in changes for key in change.stale]
    _replace(con, row_type, stale, [row for change in changes for row in change.rows])


def _replace(
    con: duckdb.DuckDBPyConnection,
    row_type: type[_KeyedRow],
    stale: Collection[str],
    rows: Sequence[_KeyedRow],
) -> None:
    """Remove rows by key, and add others.

    Args:
        con: The index, inside a transaction.
        row_type: Of the table.
        stale: Keys of the rows to remove.
        rows: New rows.
    """
    table, key = _TABLES[row_type]
    if stale:
        con.execute(f"DELETE FROM {table} WHERE {key} IN {sql.texts(stale)}")
    if rows:
        sql.insert(con, table, tuple_table(row_type, rows))


def _write_numbers(
    con: duckdb.DuckDBPyConnection, states: dict[str, SessionState], trees: Trees, hot: HotSessions
) -> None:
    """Bring the numbers of sessions up to date, and those of all above them, where they differ."""
    named = {*states, *(member for members in trees.subtrees.values() for member in members)}
    if unknown := named - hot.numbers.keys():
        rows = _read(con, SessionNumbers, "session_stats", f"session_id IN {sql.texts(unknown)}")
        hot.numbers.update((row.session_id, row) for row in rows)
    held = {session_id: hot.numbers[session_id] for session_id in named & hot.numbers.keys()}
    numbers = held | {session_id: state.numbers() for session_id, state in states.items()}
    wanted = {  # a backfill has not come to all of them yet
        top: with_subtree(
            numbers[top], [numbers[member] for member in members if member in numbers], trees.child_counts[top]
        )
        for top, members in trees.subtrees.items()
        if top in numbers
    }
    differing = [session_id for session_id in {*states, *wanted} if wanted.get(session_id) != held.get(session_id)]
    stale = [session_id for session_id in differing if session_id in held]
    new = {session_id: wanted[session_id] for session_id in differing if session_id in wanted}
    _replace(con, SessionNumbers, stale, list(new.values()))
    for session_id in stale:
        del hot.numbers[session_id]
    hot.numbers.update(new)


_TABLES = {
    Trace: ("exchange_traces", "trace_id"),
    Exchange: ("exchanges", "exchange_id"),
    ToolCall: ("tool_calls", "part_id"),
    Failure: ("failures", "failure_id"),
    ChainLink: ("request_chain", "request_id"),
    SessionNumbers: ("session_stats", "session_id"),
}
