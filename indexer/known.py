"""What the index holds of some documents when they are looked at again."""

from dataclasses import dataclass

import duckdb

from indexer import parsers, sql
from indexer.batch import TWIN, HeldMessage
from indexer.changes import Changes
from indexer.hot_sessions import HotSessions
from indexer.resolve import MessageCopy
from indexer.rows import DocumentRow, EpochMs

_FEW_NAMES = 500

# by kind (project, session, message, orphan) and id
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class KnownCopy:
    """The copy of a project or session that the index holds.

    Attributes:
        source_id: None for one that is only named by other rows.
        updated_at: In ms; -1 if it records none.
    """

    source_id: int | None
    updated_at: int
    generation: int
    content_hash: int
    is_deleted: bool


@dataclass(frozen=True, slots=True)
class Known:
    """What the index holds of some documents.

    Attributes:
        held: Messages as they count in the index.
        orphaned: Messages of which the index has parts and no row.
        failures: Time of the first failure of a document that failed.
        twins: Message to the ledger rows of its parts that were left out for the same parts of other messages.
        released: Messages with parts that were left out so, and that no other message has any more.
        failed_owners: Projects, sessions and messages of which documents failed.
    """

    projects: dict[str, KnownCopy]
    sessions: dict[str, KnownCopy]
    messages: dict[str, MessageCopy]
    held: dict[str, HeldMessage]
    deleted_messages: set[str]
    orphaned: set[str]
    failures: dict[tuple[int, str], EpochMs]
    twins: dict[str, list[DocumentRow]]
    released: set[str]
    failed_owners: set[str]


def stored_stamp(stamp: int | None) -> int | None:
    """Put the parser's version into the lowest byte of a stamp: what an older parser read is read again."""
    return None if stamp is None else stamp & ~0xFF | parsers.PARSER_VERSION


def read_known(con: duckdb.DuckDBPyConnection, changes: Changes, hot: HotSessions) -> Known:
    """Read what the index holds of the documents that are named.

    Args:
        con: The index.
        changes: Names projects, sessions and messages.
        hot: Tells of which few documents more is to be read.
    """
    import pyarrow

    messages: dict[str, MessageCopy] = {}
    held: dict[str, HeldMessage] = {}
    deleted: set[str] = set()
    # of a full pass all, which only Arrow holds in a few MB
    named = pyarrow.table({"id": pyarrow.array(changes.messages, pyarrow.string())})
    is_long = named.num_rows > _FEW_NAMES
    wanted = "(SELECT id FROM named)" if is_long else sql.texts(changes.messages)
    for message_id, session_id, fork_key, is_deleted, *copy in con.execute(
        f"""
        SELECT message_id, session_id, fork_key, deleted_at IS NOT NULL,
               source_id, generation, completed_at IS NOT NULL OR error_name IS NOT NULL,
               coalesce(epoch_ms(recorded_until), -1), content_hash, seq
        FROM messages WHERE message_id IN {wanted}
        """
    ).fetchall():
        messages[message_id] = MessageCopy(*copy)
        held[message_id] = HeldMessage(session_id, fork_key)
        if is_deleted:
            deleted.add(message_id)
    orphaned: set[str] = set()
    failures: dict[tuple[int, str], EpochMs] = {}
    twins: dict[str, list[DocumentRow]] = {}
    owners = [*changes.projects, *changes.sessions, *changes.messages]
    ledger: list[DocumentRow] = []
    if is_long or not _doubtful(con, hot).isdisjoint(owners):
        rows = con.execute(
            f"""
            SELECT DISTINCT message_id FROM parts
            WHERE is_orphan AND deleted_at IS NULL AND message_id IN {wanted}
            """
        ).fetchall()
        orphaned = {message_id for (message_id,) in rows}
        ledger = _ledger(con, owners)
    for row in ledger:
        failures[row.source_id, row.key] = row.first_seen_at
        if row.key.startswith(TWIN):
            twins.setdefault(row.owner_id, []).append(row)
    return Known(
        projects=_copies(con, "project", changes.projects),
        sessions=_copies(con, "session", changes.sessions),
        messages=messages,
        held=held,
        deleted_messages=deleted,
        orphaned=orphaned,
        failures=failures,
        twins=twins,
        released=released_twins(con, hot) & twins.keys() if twins else set(),
        failed_owners={row.owner_id for row in ledger},
    )


def _copies(con: duckdb.DuckDBPyConnection, kind: str, ids: set[str]) -> dict[str, KnownCopy]:
    """Read the rows of projects or sessions."""
    if not ids:
        return {}
    rows = con.execute(
        f"""
        SELECT {kind}_id, source_id, coalesce(epoch_ms(updated_at), -1), generation, content_hash,
               deleted_at IS NOT NULL
        FROM {kind}s WHERE {kind}_id IN {sql.texts(ids)}
        """
    ).fetchall()
    return {document_id: KnownCopy(*values) for document_id, *values in rows}


def _doubtful(con: duckdb.DuckDBPyConnection, hot: HotSessions) -> set[str]:
    """Return the messages that may have orphaned parts, and whose documents may be in the ledger: most have neither."""
    if hot.doubtful is None:
        rows = con.execute(
            "SELECT owner_id FROM documents UNION SELECT message_id FROM parts WHERE is_orphan AND deleted_at IS NULL"
        ).fetchall()
        hot.doubtful = {owner_id for (owner_id,) in rows}
    return hot.doubtful


def released_twins(con: duckdb.DuckDBPyConnection, hot: HotSessions) -> set[str]:
    """List the messages of which a part was left out as the part of another message that does not have it any more.

    Args:
        con: The index.
        hot: Tells whether anything at all is in the ledger.
    """
    if hot.doubtful is not None and not hot.doubtful:
        return set()
    rows = con.execute(
        """
        SELECT DISTINCT owner_id FROM documents
        WHERE starts_with(key, $twin) AND ends_with(key, ' of ' || owner_id) AND NOT EXISTS (
            FROM parts
            WHERE part_id = substr(key, length($twin) + 1, length(key) - length($twin || ' of ' || owner_id))
              AND message_id <> owner_id AND deleted_at IS NULL AND NOT is_orphan
        )
        """,
        {"twin": TWIN},
    ).fetchall()
    return {owner_id for (owner_id,) in rows}


def _ledger(con: duckdb.DuckDBPyConnection, owners: list[str]) -> list[DocumentRow]:
    """Read the entries of documents that could not be read, or only in part."""
    rows = con.execute(
        """
        SELECT source_id, key, owner_id, document_kind, state, reason, size_bytes,
               epoch_ms(first_seen_at), epoch_ms(last_seen_at)
        FROM documents WHERE owner_id IN (SELECT unnest($owners::VARCHAR[]))
        """,
        {"owners": owners},
    ).fetchall()
    return [DocumentRow(*values) for values in rows]
