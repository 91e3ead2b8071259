"""One batch of rows into the index: the only path by which a row gets there, first scan, restart or live."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter

import duckdb

from indexer import derive
from indexer.database import Database
from indexer.rows import (
    DocumentRow,
    EpochMs,
    MessageRow,
    PartBodyRow,
    PartRow,
    ProjectRow,
    RowType,
    SessionRow,
    arrow_table,
)

MAX_ROWS = 5_000
MAX_TEXT_BYTES = 8_000_000

LEFT_OUT = "It is left out; it is read again at the next start."
TWIN = "part "  # begins the ledger key of a part that no path names alone


@dataclass(slots=True)
class Batch:
    """What one transaction writes.

    Attributes:
        rewritten: Messages that the index had in another version: parts they no longer have are gone.
        superseded: Those of them that come from another generation now: its parts take the place of the old ones.
        moved: Messages that the index has, with the number of the source that holds them now.
        mended: Owners, with their source, of documents that failed before and were read again: their entries are
            replaced by `failures`.
        documents_done: Messages looked at, changed or not.
        part_owners: Message of every part: an id that two messages claim would spoil the batch.
        part_sources: Source of every message with parts.
    """

    projects: list[ProjectRow] = field(default_factory=list)
    sessions: list[SessionRow] = field(default_factory=list)
    messages: list[MessageRow] = field(default_factory=list)
    parts: list[PartRow] = field(default_factory=list)
    bodies: list[PartBodyRow] = field(default_factory=list)
    failures: list[DocumentRow] = field(default_factory=list)
    rewritten: list[str] = field(default_factory=list)
    superseded: list[str] = field(default_factory=list)
    moved: dict[str, int] = field(default_factory=dict)
    mended: list[tuple[int, str]] = field(default_factory=list)
    documents_done: int = 0
    text_bytes: int = 0
    part_owners: dict[str, str] = field(default_factory=dict)
    part_sources: dict[str, int] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        """Tell whether it is time to write: small transactions bound the memory."""
        return max(len(self.parts), len(self.messages)) >= MAX_ROWS or self.text_bytes >= MAX_TEXT_BYTES


def write_batch(database: Database, batch: Batch, now: EpochMs) -> None:
    """Write a batch and everything that is derived from it in one transaction.

    Args:
        database: The index.
        batch: Rows of whole messages: a message is never split over two batches.
        now: Time of the write, for what is gone.
    """
    with database.transaction() as con:
        stale = _stale(con, batch)
        stale.sessions.update(_leave_out_twins(con, batch, now))
        _replace(database, ProjectRow, batch.projects)
        _replace(database, SessionRow, batch.sessions)
        _replace(database, MessageRow, batch.messages)
        _drop_gone_parts(con, batch, now)
        _replace(database, PartRow, batch.parts)
        _replace(database, PartBodyRow, batch.bodies)
        if batch.mended:
            con.execute(
                """
                DELETE FROM documents WHERE (source_id, owner_id) IN (
                    SELECT (unnest($sources::INTEGER[]), unnest($owners::VARCHAR[]))
                )
                """,
                {"sources": [source for source, _ in batch.mended], "owners": [owner for _, owner in batch.mended]},
            )
        _replace(database, DocumentRow, batch.failures)
        if batch.moved:
            con.execute(
                """
                UPDATE messages SET source_id = moved.source_id
                FROM (SELECT unnest($messages::VARCHAR[]) AS message_id, unnest($sources::INTEGER[]) AS source_id) moved
                WHERE messages.message_id = moved.message_id
                """,
                {"messages": list(batch.moved), "sources": list(batch.moved.values())},
            )
        con.execute("UPDATE sync_state SET documents_done = documents_done + $done", {"done": batch.documents_done})
        touched = {row.session_id for row in batch.sessions} | {row.session_id for row in batch.messages}
        touched |= {row.session_id for row in batch.parts if row.session_id}
        derive.refresh(con, touched | stale.sessions, fork_keys=stale.fork_keys, parents=stale.parents)


@dataclass(frozen=True, slots=True)
class _Stale:
    """What rows counted for until now, and has to be derived anew without them.

    Attributes:
        sessions: Sessions that messages or parts leave.
        fork_keys: Keys that messages give up: their copies may be copies no more.
        parents: Sessions that lose a child session.
    """

    sessions: set[str]
    fork_keys: list[int]
    parents: list[str]


def _stale(con: duckdb.DuckDBPyConnection, batch: Batch) -> _Stale:
    """Read what the rows of a batch replace."""
    known = con.execute(
        """
        SELECT DISTINCT session_id, fork_key FROM messages
        WHERE message_id IN (SELECT unnest($messages::VARCHAR[]))
        """,
        {"messages": batch.rewritten},
    ).fetchall()
    parents = con.execute(
        """
        SELECT DISTINCT parent_id FROM sessions
        WHERE session_id IN (SELECT unnest($sessions::VARCHAR[])) AND parent_id IS NOT NULL
        """,
        {"sessions": [row.session_id for row in batch.sessions]},
    ).fetchall()
    return _Stale(
        {session_id for session_id, _ in known},
        sorted({key for _, key in known if key is not None}),
        sorted(parent_id for (parent_id,) in parents),
    )


def _leave_out_twins(con: duckdb.DuckDBPyConnection, batch: Batch, now: EpochMs) -> set[str]:
    """Take parts out of a batch whose id a part of another message has; of a message, not of an orphan.

    Returns:
        Sessions that lose an orphan to the batch.
    """
    taken = con.execute(
        """
        SELECT p.part_id, p.message_id, p.session_id, p.is_orphan
        FROM parts p
        JOIN (SELECT unnest($parts::VARCHAR[]) AS part_id, unnest($messages::VARCHAR[]) AS message_id) n USING (part_id)
        WHERE p.message_id <> n.message_id AND p.deleted_at IS NULL
          AND p.message_id NOT IN (SELECT unnest($rewritten::VARCHAR[]))
        """,
        {
            "parts": [row.part_id for row in batch.parts],
            "messages": [row.message_id for row in batch.parts],
            "rewritten": batch.rewritten,
        },
    ).fetchall()
    owners = {part_id: owner for part_id, owner, _, is_orphan in taken if not is_orphan}
    batch.failures += [
        twin_failure(row.part_id, row.message_id, owners[row.part_id], batch.part_sources[row.message_id], now)
        for row in batch.parts
        if row.part_id in owners
    ]
    batch.parts = [row for row in batch.parts if row.part_id not in owners]
    batch.bodies = [row for row in batch.bodies if row.part_id not in owners]
    return {session_id for _, _, session_id, is_orphan in taken if is_orphan and session_id}


def twin_failure(part_id: str, message_id: str, owner_id: str, source_id: int, now: EpochMs) -> DocumentRow:
    """Tell that a part was left out because a part of another message has its id.

    Args:
        part_id: Of both.
        message_id: Message of the part that was left out.
        owner_id: Message of the part that counts.
        source_id: Where the part was found.
        now: When.
    """
    return DocumentRow(
        source_id=source_id,
        key=f"{TWIN}{part_id} of {message_id}",
        owner_id=message_id,
        document_kind="part",
        state="unreadable",
        reason=f"The part has the id of a part of {owner_id}. {LEFT_OUT}",
        size_bytes=None,
        first_seen_at=now,
        last_seen_at=now,
    )


def mark_deleted(
    database: Database, *, messages: Sequence[str] = (), sessions: Sequence[str] = (), now: EpochMs
) -> None:
    """Record that OpenCode deleted rows: numbers stay, as the money is spent; titles and texts go.

    Args:
        database: The index.
        messages: Ids of messages that are gone, with or without a document of their own, and all their parts.
        sessions: Ids of sessions that are gone.
        now: When it was noticed.
    """
    if not (messages or sessions):
        return
    with database.transaction() as con:
        gone = {"messages": list(messages), "now": now}
        con.execute(
            """
            UPDATE messages SET deleted_at = make_timestamp_ms($now), error_data = NULL
            WHERE message_id IN (SELECT unnest($messages::VARCHAR[])) AND deleted_at IS NULL
            """,
            gone,
        )
        con.execute(
            """
            UPDATE parts SET deleted_at = make_timestamp_ms($now), error_data = NULL, title = NULL
            WHERE message_id IN (SELECT unnest($messages::VARCHAR[])) AND deleted_at IS NULL
            """,
            gone,
        )
        con.execute(
            "DELETE FROM part_bodies WHERE message_id IN (SELECT unnest($messages::VARCHAR[]))",
            {"messages": list(messages)},
        )
        con.execute(
            """
            UPDATE exchange_traces SET title = NULL
            WHERE message_id IN (SELECT unnest($messages::VARCHAR[])) AND title IS NOT NULL
            """,
            {"messages": list(messages)},
        )
        con.execute(
            """
            UPDATE sessions SET deleted_at = make_timestamp_ms($now), title = NULL, slug = NULL
            WHERE session_id IN (SELECT unnest($sessions::VARCHAR[])) AND deleted_at IS NULL
            """,
            {"sessions": list(sessions), "now": now},
        )


def _replace(database: Database, row_type: type[RowType], rows: Sequence[RowType]) -> None:
    """Write the rows of one table over those with the same keys.

    Of rows with one key the last counts: two would spoil the batch.
    """
    if rows:
        unique = dict(zip(map(attrgetter(*row_type.KEYS), rows), rows, strict=True))
        database.replace_rows(row_type.TABLE, row_type.KEYS, arrow_table(row_type, list(unique.values())))


def _drop_gone_parts(con: duckdb.DuckDBPyConnection, batch: Batch, now: EpochMs) -> None:
    """Flag the parts that rewritten messages no longer have, and remove their texts."""
    if not batch.rewritten:
        return
    con.execute(
        "DELETE FROM parts WHERE message_id IN (SELECT unnest($messages::VARCHAR[]))", {"messages": batch.superseded}
    )
    con.execute(
        """
        UPDATE parts SET deleted_at = make_timestamp_ms($now), error_data = NULL, title = NULL
        WHERE message_id IN (SELECT unnest($messages::VARCHAR[]))
          AND part_id NOT IN (SELECT unnest($parts::VARCHAR[])) AND deleted_at IS NULL
        """,
        {"messages": batch.rewritten, "parts": [row.part_id for row in batch.parts], "now": now},
    )
    con.execute(
        "DELETE FROM part_bodies WHERE message_id IN (SELECT unnest($messages::VARCHAR[]))",
        {"messages": batch.rewritten},
    )
