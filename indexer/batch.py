"""One batch of rows into the index: the only path by which a row gets there, first scan, restart or live."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb

from indexer import derive, prices, sql
from indexer.arrow_tables import arrow_table, select_list
from indexer.database import Database
from indexer.documents import Generation
from indexer.hot_sessions import HotSessions, PartVersion
from indexer.rows import (
    DocumentRow,
    EpochMs,
    MessageRow,
    PartBodyRow,
    PartRow,
    ProjectRow,
    RowType,
    SessionRow,
    StampRow,
)

if TYPE_CHECKING:  # loaded where something is written: a start with nothing to write is quicker without
    import pyarrow

# Some forty statements write a batch, whatever is in it: with half the text in one, all took an eighth longer. The next
# is read meanwhile, so that two are in memory, and one of them as columns, too.
MAX_ROWS = 16_000
MAX_TEXT_BYTES = 20_000_000
_FEW_PARTS = 200  # that are looked up one by one

KEPT = "The version read before is kept; it is read again when it changes, and at the next start."
LEFT_OUT = "It is left out; it is read again when it changes, and at the next start."
ELSEWHERE = "Another copy of it counts; it is read again when it changes, and at the next start."
THE_REST = "The rest of it counts; it is read again when it changes, and at the next start."
TWIN = "part "  # begins the ledger key of a part that no path names alone


class HeldMessage(NamedTuple):
    """What a message of the index counts for, until it is rewritten or gone."""

    session_id: str
    fork_key: int | None


@dataclass(slots=True)
class Batch:
    """What one transaction writes.

    Attributes:
        rewritten: Messages that the index had in another version: parts they no longer have are gone.
        held_messages: What the index has of those of them, and of those that are gone, that it has a row of.
        superseded: Those of them that come from another generation now: its parts take the place of the old ones.
        moved: Messages that the index has, with the number of the source that holds them now.
        mended: Owners, with their source, of documents that failed before and were read again: their entries are
            replaced by `failures`.
        documents_done: Messages looked at, changed or not.
        part_owners: Message of every part: an id that two messages claim would spoil the batch.
        part_sources: Source of every message with parts.
        gone_projects: Projects that no storage has any more; so with sessions and messages.
        stamps: What everything that was looked at looked like.
        looked: Kind and id of what was looked at: earlier stamps are void, but for those of other sources than
            `looked_sources`.
        missing: Ids of what no storage that can be read has: stamps of all others are void, too, so that it is read
            where one turns out to have it.
    """

    projects: list[ProjectRow] = field(default_factory=list)
    sessions: list[SessionRow] = field(default_factory=list)
    messages: list[MessageRow] = field(default_factory=list)
    parts: list[PartRow] = field(default_factory=list)
    bodies: list[PartBodyRow] = field(default_factory=list)
    failures: list[DocumentRow] = field(default_factory=list)
    rewritten: list[str] = field(default_factory=list)
    held_messages: dict[str, HeldMessage] = field(default_factory=dict)
    superseded: list[str] = field(default_factory=list)
    moved: dict[str, int] = field(default_factory=dict)
    mended: list[tuple[int, str]] = field(default_factory=list)
    documents_done: int = 0
    text_bytes: int = 0
    part_owners: dict[str, str] = field(default_factory=dict)
    part_sources: dict[str, int] = field(default_factory=dict)
    gone_projects: list[str] = field(default_factory=list)
    gone_sessions: list[str] = field(default_factory=list)
    gone_messages: list[str] = field(default_factory=list)
    stamps: list[StampRow] = field(default_factory=list)
    looked: list[tuple[str, str]] = field(default_factory=list)
    looked_sources: set[int] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Tell whether it is time to write: small transactions bound the memory."""
        return max(len(self.parts), len(self.messages)) >= MAX_ROWS or self.text_bytes >= MAX_TEXT_BYTES

    @property
    def is_visible(self) -> bool:
        """Tell whether it changes anything that readers see; stamps are for the indexer alone."""
        rows = (self.projects, self.sessions, self.messages, self.parts, self.failures, self.rewritten, self.moved)
        return any((*rows, self.mended, self.gone_projects, self.gone_sessions, self.gone_messages))

    def looked_at(self, kind: str, document_id: str, source_ids: set[int]) -> None:
        """Note that a document was looked at in some sources."""
        self.looked.append((kind, document_id))
        self.looked_sources |= source_ids


def write_batch(database: Database, batch: Batch, now: EpochMs) -> bool:
    """Write a batch and everything that is derived from it in one transaction.

    Args:
        database: The index.
        batch: Rows of whole messages: a message is never split over two batches.
        now: Time of the write, for what is gone.

    Returns:
        Whether it changed anything that readers see; else there is no new revision.
    """
    is_visible = batch.is_visible or (database.phase == "bulk" and batch.documents_done > 0)
    with database.transaction(is_visible=is_visible) as con:
        _write_stamps(database, batch)
        if database.phase == "bulk":
            con.execute(  # what is looked at twice is done once
                "UPDATE sync_state SET documents_done = least(documents_done + $done, coalesce(documents_total, 0))",
                {"done": batch.documents_done},
            )
        if not batch.is_visible:
            return is_visible
        held = _held_parts(con, batch)
        stale = _stale(con, batch, held, database.hot)
        stale.sessions.update(_leave_out_twins(batch, held, now))
        _price(database, batch)
        held, same = _leave_out_same(database, batch, held)
        if stale.is_regrouped or _is_delegating(batch, held):
            database.hot.trees.clear()
        replace_table_rows(database, ProjectRow, batch.projects)
        replace_table_rows(database, SessionRow, batch.sessions)
        replace_table_rows(database, MessageRow, batch.messages)
        _remove_replaced_parts(con, batch, held)
        is_text_gone = _flag_gone_parts(con, batch, held, now)
        _move_held_parts(con, batch, held)
        _add_table_rows(database, PartRow, batch.parts)
        _add_texts(con, batch)
        if batch.mended:
            con.execute(
                """
                DELETE FROM documents WHERE (source_id, owner_id) IN (
                    SELECT (unnest($sources::INTEGER[]), unnest($owners::VARCHAR[]))
                )
                """,
                {"sources": [source for source, _ in batch.mended], "owners": [owner for _, owner in batch.mended]},
            )
        replace_table_rows(database, DocumentRow, batch.failures)
        if batch.moved:
            con.execute(
                """
                UPDATE messages SET source_id = moved.source_id
                FROM (SELECT unnest($messages::VARCHAR[]) AS message_id, unnest($sources::INTEGER[]) AS source_id) moved
                WHERE messages.message_id = moved.message_id
                """,
                {"messages": list(batch.moved), "sources": list(batch.moved.values())},
            )
        touched = {row.session_id for row in batch.sessions} | {row.session_id for row in batch.messages}
        touched |= {row.session_id for row in batch.parts if row.session_id} | stale.sessions
        if batch.gone_messages or batch.gone_sessions or is_text_gone:
            _mark_gone(con, batch, now)
        _settle_placeholders(con, batch, touched - database.hot.trees.keys(), now)
        derive.refresh(
            con,
            touched,
            message_ids=_changed_messages(batch, held),
            part_ids={row.part_id for row in batch.parts} | {part.part_id for part in held},
            fork_keys=stale.fork_keys | {row.fork_key for row in batch.messages if row.fork_key is not None},
            resorted=stale.resorted,
            parents=stale.parents,
            hot=database.hot,
            written=derive.Written.of(batch.messages, batch.parts + same) if _is_all(batch, held) else None,
        )
        if database.hot.doubtful is not None:
            database.hot.doubtful.update(row.owner_id for row in batch.failures)
            database.hot.doubtful.update(row.message_id for row in batch.parts if row.is_orphan)
    return is_visible


def _price(database: Database, batch: Batch) -> None:
    """Tell what the messages of a batch cost at list prices."""
    prices.ensure_known(database.con, database.hot, database.price_sources, prices.models_of(batch.messages))
    costs = prices.costs_of(database.con, batch.messages, batch.parts, database.hot.priced)
    batch.messages = [replace(row, cost_list_usd=costs.get(row.message_id)) for row in batch.messages]


def _write_stamps(database: Database, batch: Batch) -> None:
    """Note what was looked at; of a message, parts without it may have been before, or be now."""
    if not batch.looked:
        return
    kinds = {kind for kind, _ in batch.looked}
    kinds |= {"orphan"} if "message" in kinds else set()
    looked, values = sql.among([document_id for _, document_id in batch.looked])
    database.con.execute(
        f"""
        DELETE FROM read_stamps
        WHERE document_id IN {looked}
          AND document_kind IN {sql.texts(kinds)} AND list_contains($sources::INTEGER[], source_id)
        """,
        {**values, "sources": sorted(batch.looked_sources)},
    )
    if batch.missing:
        missing, values = sql.among(batch.missing)
        database.con.execute(f"DELETE FROM read_stamps WHERE document_id IN {missing}", values)
    unique = {(row.source_id, row.document_kind, row.document_id): row for row in batch.stamps}
    database.add_rows(StampRow.TABLE, arrow_table(StampRow, list(unique.values())))


@dataclass(frozen=True, slots=True)
class _HeldPart:
    """A part of the index that a batch may replace.

    Attributes:
        place: Its row, as long as the transaction lasts.
    """

    place: int
    part_id: str
    message_id: str
    session_id: str | None
    is_orphan: bool
    is_deleted: bool
    is_delegating: bool


def _held_parts(con: duckdb.DuckDBPyConnection, batch: Batch) -> list[_HeldPart]:
    """Read which parts of the index have the ids of new ones, or belong to messages that are rewritten or gone."""
    rows = _parts_where(con, "message_id", [*batch.rewritten, *batch.gone_messages])  # OR would read all parts
    found = {part_id for _, part_id, *_ in rows}
    rows += _parts_where(con, "part_id", [row.part_id for row in batch.parts if row.part_id not in found])
    return [_HeldPart(*row) for row in sorted(rows)]


def _parts_where(con: duckdb.DuckDBPyConnection, column: str, ids: Collection[str]) -> list[tuple[Any, ...]]:
    """Read the places of parts, and what they are of."""
    if not ids:
        return []
    wanted, values = sql.among(ids)
    return con.execute(
        f"""
        SELECT rowid, part_id, message_id, session_id, is_orphan, deleted_at IS NOT NULL, child_session_id IS NOT NULL
        FROM parts WHERE {column} IN {wanted}
        """,
        values,
    ).fetchall()


def _changed_messages(batch: Batch, held: Sequence[_HeldPart]) -> set[str]:
    """List the messages that a batch writes, removes, or takes parts from."""
    changed = {row.message_id for row in batch.messages} | {row.message_id for row in batch.parts}
    return changed | {part.message_id for part in held} | {*batch.rewritten, *batch.gone_messages}


@dataclass(frozen=True, slots=True)
class _Stale:
    """What rows counted for until now, and has to be derived anew without them.

    Attributes:
        sessions: Sessions that messages or parts leave.
        fork_keys: Keys that messages give up: their copies may be copies no more.
        resorted: Sessions that may come before or after their copies now.
        parents: Sessions that lose a child session.
        is_regrouped: Sessions come, go, or are below others now.
    """

    sessions: set[str]
    fork_keys: set[int]
    resorted: set[str]
    parents: list[str]
    is_regrouped: bool


def _stale(con: duckdb.DuckDBPyConnection, batch: Batch, held: Sequence[_HeldPart], hot: HotSessions) -> _Stale:
    """Read what the rows of a batch replace."""
    replaced = {*batch.rewritten, *batch.gone_messages}
    # parts without their message may be of another session
    orphaned = {part.session_id for part in held if part.is_orphan and part.session_id and part.message_id in replaced}
    # messages may turn a deleted session into nothing but a name, without a parent
    named = {row.session_id for row in batch.messages} - hot.trees.keys()
    named |= {row.session_id for row in batch.sessions} | {*batch.gone_sessions}
    sessions = _held_sessions(con, named)
    return _Stale(
        {*(message.session_id for message in batch.held_messages.values()), *orphaned, *batch.gone_sessions},
        {message.fork_key for message in batch.held_messages.values() if message.fork_key is not None},
        {
            row.session_id
            for row in batch.sessions
            if sessions.get(row.session_id, ())[:2] != (row.created_at, row.fork_session_id)
        },
        sorted({parent_id for _, _, parent_id, _ in sessions.values() if parent_id is not None}),
        any((batch.gone_projects, batch.gone_sessions, batch.gone_messages))
        or any(
            sessions.get(row.session_id) != (row.created_at, row.fork_session_id, row.parent_id, row.project_id)
            for row in batch.sessions
        ),
    )


def _held_sessions(
    con: duckdb.DuckDBPyConnection, session_ids: Collection[str]
) -> dict[str, tuple[EpochMs | None, str | None, str | None, str | None]]:
    """Read when sessions were created, what they were forked from, their parents and projects."""
    if not session_ids:
        return {}
    rows = con.execute(
        f"""
        SELECT session_id, epoch_ms(created_at), fork_session_id, parent_id, project_id
        FROM sessions WHERE session_id IN {sql.texts(session_ids)}
        """
    ).fetchall()
    return {session_id: (*values,) for session_id, *values in rows}


def _is_delegating(batch: Batch, held: Sequence[_HeldPart]) -> bool:
    """Tell whether parts that run other sessions come or go."""
    return any(part.is_delegating for part in held) or any(row.child_session_id is not None for row in batch.parts)


def _leave_out_twins(batch: Batch, held: Sequence[_HeldPart], now: EpochMs) -> set[str]:
    """Take parts out of a batch whose id a living part of another message has; of a message, not of an orphan.

    Returns:
        Sessions that lose a part to the batch: an orphan, or one that was deleted there.
    """
    rewritten, messages = set(batch.rewritten), {row.part_id: row.message_id for row in batch.parts}
    taken = [
        part
        for part in held
        if part.message_id != messages.get(part.part_id, part.message_id) and part.message_id not in rewritten
    ]
    owners = {part.part_id: part.message_id for part in taken if not part.is_orphan and not part.is_deleted}
    batch.failures += [
        twin_failure(row.part_id, row.message_id, owners[row.part_id], batch.part_sources[row.message_id], now)
        for row in batch.parts
        if row.part_id in owners
    ]
    batch.parts = [row for row in batch.parts if row.part_id not in owners]
    batch.bodies = [row for row in batch.bodies if row.part_id not in owners]
    return {part.session_id for part in taken if part.part_id not in owners and part.session_id}


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


def _leave_out_same(database: Database, batch: Batch, held: list[_HeldPart]) -> tuple[list[_HeldPart], list[PartRow]]:
    """Take parts out of a live batch that the index has as they are: messages grow part by part, and are read whole.

    A new text costs 15 ms: to log it, DuckDB reads the 2,000 texts before it.

    Returns:
        Parts of the index that the batch may replace, without these; what was taken out.
    """
    if database.phase != "real-time":
        return held, []
    written = _with_texts(batch.parts, batch.bodies)
    kept = {row.message_id for row in batch.messages if row.generation != Generation.SESSION_MESSAGE_ROWS}
    kept &= set(batch.rewritten) - set(batch.superseded)
    places = {part.part_id for part in held if part.message_id in kept and not part.is_deleted} & written.keys()
    known = database.hot.parts
    unknown = places - known.keys()
    if len(unknown) <= _FEW_PARTS:
        known |= _stored_parts(database.con, unknown)
    same = {part_id for part_id in places if known.get(part_id) == written[part_id]}
    known |= written
    left_out = [row for row in batch.parts if row.part_id in same]
    batch.parts = [row for row in batch.parts if row.part_id not in same]
    batch.bodies = [row for row in batch.bodies if row.part_id not in same]
    return [part for part in held if part.part_id not in same], left_out


def _is_all(batch: Batch, held: Iterable[_HeldPart]) -> bool:
    """Tell whether a batch has its messages as the index has them from now on, with all their parts.

    Args:
        batch: As it is written.
        held: Parts of the index that it may replace, without those that stay as they are.
    """
    owners = {row.part_id: row.message_id for row in batch.parts}
    return (
        not (batch.gone_messages or batch.gone_sessions)
        and {row.message_id for row in batch.messages}.issuperset(batch.rewritten)
        and all(owners.get(part.part_id) == part.message_id and not part.is_orphan for part in held)
    )


def _stored_parts(con: duckdb.DuckDBPyConnection, part_ids: Collection[str]) -> dict[str, PartVersion]:
    """Read parts and their texts by id."""
    if not part_ids:
        return {}
    columns, wanted = select_list(PartRow), sql.texts(part_ids)
    parts = con.execute(f"SELECT {columns} FROM parts WHERE part_id IN {wanted}").fetchall()
    texts = con.execute(
        f"SELECT part_id, session_id, text, input, output FROM part_bodies WHERE part_id IN {wanted}"
    ).fetchall()
    return _versions((PartRow(*values) for values in parts), texts)


def _with_texts(parts: Iterable[PartRow], bodies: Iterable[PartBodyRow]) -> dict[str, PartVersion]:
    """Put every part beside a hash of its text, by id."""
    texts = ((body.part_id, body.session_id, body.text, body.input, body.output) for body in bodies)
    return _versions(parts, texts)


def _versions(parts: Iterable[PartRow], texts: Iterable[tuple[Any, ...]]) -> dict[str, PartVersion]:
    """Put every part beside a hash of its text, by id.

    Args:
        parts: The parts.
        texts: Part id, session id, text, input and output. The rest of a text's row follows from these and the part.
    """
    hashes = {part_id: hash(tuple(values)) for part_id, *values in texts}
    return {part.part_id: (part, hashes.get(part.part_id)) for part in parts}


def _remove_replaced_parts(con: duckdb.DuckDBPyConnection, batch: Batch, held: Sequence[_HeldPart]) -> None:
    """Make room for the parts and texts of a batch."""
    new, superseded = {row.part_id for row in batch.parts}, set(batch.superseded)
    replaced = [part for part in held if part.part_id in new or part.message_id in superseded]
    if replaced:
        con.execute(
            "DELETE FROM parts WHERE rowid IN (SELECT unnest($places::BIGINT[]))",
            {"places": [part.place for part in replaced]},
        )
    rewritten = set(batch.rewritten)
    # the text of a part that a rewritten message no longer has goes, too
    if stale := [part.part_id for part in held if part.part_id in new or part.message_id in rewritten]:
        wanted, values = sql.among(stale)
        con.execute(f"DELETE FROM part_bodies WHERE part_id IN {wanted}", values)
    # a row of the third generation has a body and no part
    third = {row.message_id for row in batch.messages if row.generation == Generation.SESSION_MESSAGE_ROWS} | superseded
    if bodies := third & rewritten:
        con.execute(f"DELETE FROM part_bodies WHERE message_id IN {sql.texts(bodies)}")


def _flag_gone_parts(con: duckdb.DuckDBPyConnection, batch: Batch, held: Sequence[_HeldPart], now: EpochMs) -> bool:
    """Flag the parts that rewritten messages no longer have; tell whether there are any."""
    new, rewritten = {row.part_id for row in batch.parts}, set(batch.rewritten) - set(batch.superseded)
    gone = [
        part.place for part in held if part.part_id not in new and part.message_id in rewritten and not part.is_deleted
    ]
    if gone:
        con.execute(
            """
            UPDATE parts SET deleted_at = make_timestamp_ms($now), error_data = NULL, title = NULL, target = NULL
            WHERE rowid IN (SELECT unnest($places::BIGINT[]))
            """,
            {"places": gone, "now": now},
        )
    return bool(gone)


def _move_held_parts(con: duckdb.DuckDBPyConnection, batch: Batch, held: Sequence[_HeldPart]) -> None:
    """Let the parts that messages had before follow them into another session, deleted or not."""
    new, superseded = {row.part_id for row in batch.parts}, set(batch.superseded)
    sessions = {row.message_id: row.session_id for row in batch.messages}
    moved = [
        (part.place, sessions[part.message_id])
        for part in held
        if part.part_id not in new
        and part.message_id not in superseded
        and part.session_id != sessions.get(part.message_id, part.session_id)
    ]
    if moved:
        con.execute(
            """
            UPDATE parts SET session_id = moved.session_id
            FROM (SELECT unnest($places::BIGINT[]) AS place, unnest($sessions::VARCHAR[]) AS session_id) moved
            WHERE parts.rowid = moved.place
            """,
            {"places": [place for place, _ in moved], "sessions": [session_id for _, session_id in moved]},
        )


def _mark_gone(con: duckdb.DuckDBPyConnection, batch: Batch, now: EpochMs) -> None:
    """Record that OpenCode deleted rows: numbers stay, as the money is spent; titles and texts go.

    Parts that lie there without their message are orphans, which a batch brings as rows of their own: they stay.
    """
    gone = {"messages": batch.gone_messages, "now": now}
    con.execute(
        """
        UPDATE messages SET deleted_at = make_timestamp_ms($now), error_data = NULL
        WHERE message_id IN (SELECT unnest($messages::VARCHAR[])) AND deleted_at IS NULL
        """,
        gone,
    )
    kept = {"kept": [row.part_id for row in batch.parts]}
    con.execute(
        """
        UPDATE parts SET deleted_at = make_timestamp_ms($now), error_data = NULL, title = NULL, target = NULL
        WHERE message_id IN (SELECT unnest($messages::VARCHAR[])) AND deleted_at IS NULL
          AND part_id NOT IN (SELECT unnest($kept::VARCHAR[]))
        """,
        gone | kept,
    )
    con.execute(
        """
        DELETE FROM part_bodies
        WHERE message_id IN (SELECT unnest($messages::VARCHAR[])) AND part_id NOT IN (SELECT unnest($kept::VARCHAR[]))
        """,
        {"messages": batch.gone_messages} | kept,
    )
    con.execute(
        """
        UPDATE sessions SET deleted_at = make_timestamp_ms($now), title = NULL, slug = NULL
        WHERE session_id IN (SELECT unnest($sessions::VARCHAR[])) AND deleted_at IS NULL
        """,
        {"sessions": batch.gone_sessions, "now": now},
    )
    # the bytes stay in the file until it is compacted
    con.execute(
        "UPDATE sync_state SET texts_deleted_at = coalesce(texts_deleted_at, make_timestamp_ms($now))", {"now": now}
    )


def _settle_placeholders(con: duckdb.DuckDBPyConnection, batch: Batch, touched: set[str], now: EpochMs) -> None:
    """Keep rows that only other rows name in step with these: they are there as long as a living row names them."""
    if touched and (batch.messages or batch.gone_messages or batch.gone_sessions or batch.rewritten):
        _settle_sessions(con, touched, now)
    if batch.gone_projects:
        con.execute(
            """
            UPDATE projects SET name = NULL, worktree = NULL, vcs = NULL, worktrees = NULL, clones = NULL,
                created_at = NULL, updated_at = NULL, source_id = NULL, generation = 0, content_hash = 0
            WHERE project_id IN (SELECT unnest($gone::VARCHAR[]))
            """,
            {"gone": batch.gone_projects},
        )
    if batch.gone_projects or batch.gone_sessions or batch.sessions:
        con.execute(
            """
            UPDATE projects SET deleted_at = CASE
                WHEN project_id NOT IN (
                    SELECT project_id FROM sessions WHERE deleted_at IS NULL AND project_id IS NOT NULL
                ) THEN coalesce(deleted_at, make_timestamp_ms($now))
            END
            WHERE source_id IS NULL
            """,
            {"now": now},
        )


def _settle_sessions(con: duckdb.DuckDBPyConnection, touched: set[str], now: EpochMs) -> None:
    """Keep sessions that are gone, or of which nothing but the name is known, in step with their messages."""
    held = con.execute(
        f"""
        SELECT session_id, is_placeholder FROM sessions
        WHERE session_id IN {sql.texts(touched)} AND (is_placeholder OR deleted_at IS NOT NULL)
        """
    ).fetchall()
    if not held:
        return
    con.execute(  # messages name it still, or again: derive.py adds it anew, as nothing but a name
        """
        DELETE FROM sessions
        WHERE session_id IN (SELECT unnest($gone::VARCHAR[])) AND session_id IN (
            SELECT session_id FROM messages
            WHERE deleted_at IS NULL AND session_id IN (SELECT unnest($gone::VARCHAR[]))
        )
        """,
        {"gone": [session_id for session_id, is_placeholder in held if not is_placeholder]},
    )
    con.execute(
        """
        UPDATE sessions SET deleted_at = CASE
            WHEN session_id NOT IN (
                SELECT session_id FROM messages
                WHERE deleted_at IS NULL AND session_id IN (SELECT unnest($named::VARCHAR[]))
            ) THEN coalesce(deleted_at, make_timestamp_ms($now))
        END
        WHERE session_id IN (SELECT unnest($named::VARCHAR[]))
        """,
        {"named": [session_id for session_id, is_placeholder in held if is_placeholder], "now": now},
    )


def replace_table_rows(database: Database, row_type: type[RowType], rows: Sequence[RowType]) -> None:
    """Write the rows of one table over those with the same keys; to be called inside a transaction.

    Of rows with one key the last counts: two would spoil the batch.
    """
    if rows:
        database.replace_rows(row_type.TABLE, row_type.KEYS, _unique_rows(row_type, rows))


def _add_table_rows(database: Database, row_type: type[RowType], rows: Sequence[RowType]) -> None:
    """Write the rows of one table, in place of those that were removed before."""
    if rows:
        database.add_rows(row_type.TABLE, _unique_rows(row_type, rows))


def _add_texts(con: duckdb.DuckDBPyConnection, batch: Batch) -> None:
    """Write rows of `part_bodies`, in place of those that were removed before, and take them out of the batch."""
    incoming = _unique_rows(PartBodyRow, batch.bodies)
    batch.bodies.clear()  # nothing asks for texts any more, and they would take their memory until the batch is written
    if incoming.num_rows:
        con.execute(
            f"""
            INSERT INTO part_bodies BY NAME
            SELECT * EXCLUDE (searched_text), {sql.searched_columns("searched_text")}
            FROM (SELECT * REPLACE (lower(searched_text) AS searched_text) FROM incoming)
            """
        )


def _unique_rows(row_type: type[RowType], rows: Sequence[RowType]) -> "pyarrow.Table":
    """Make a table of rows; of those with one key the last counts."""
    unique = dict(zip(map(attrgetter(*row_type.KEYS), rows), rows, strict=True))
    return arrow_table(row_type, list(unique.values()))
