"""One full pass over every source: newest sessions first; one thread reads and parses, the caller's thread writes."""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from indexer.batch import LEFT_OUT, TWIN, Batch, mark_deleted, twin_failure, write_batch
from indexer.database import Database
from indexer.documents import MessageDocuments
from indexer.exceptions import SourceUnusable
from indexer.json_values import clean, printable
from indexer.parsers import (
    ParsedMessage,
    ParseFailure,
    content_hash,
    parse_message,
    parse_project,
    parse_session,
    unreadable,
)
from indexer.publish import Publisher
from indexer.resolve import MessageCopy, best_parse, is_newer, newest_message
from indexer.rows import DocumentRow, EpochMs, ProjectRow, SessionRow
from indexer.session_messages import parse_session_message
from indexer.settings import database_files
from indexer.sources import Inventory, Source
from indexer.sources.json_tree import JsonTree
from indexer.sources.sqlite_file import SqliteFile
from indexer.sources.sqlite_v1 import SqliteV1, Unprobed
from indexer.sources.sqlite_v2 import SqliteV2

log = logging.getLogger(__name__)

KEPT = "The version read before is kept; it is read again at the next start."
GONE = "It held sessions before and was not found now. Rows read before stay; it is looked for again at the next start."
ELSEWHERE = "Another copy of it counts; it is read again at the next start."
THE_REST = "The rest of it counts; it is read again at the next start."

MESSAGES_PER_READ = 100
BATCHES_AHEAD = 2  # read while one is written; each holds up to 8 MB of text

Progress = Callable[[int, int], None]
ProjectOrSession = TypeVar("ProjectOrSession", ProjectRow, SessionRow)


@dataclass(slots=True)
class OpenSource:
    """A source with its number in the index and what it holds.

    Attributes:
        orphans: Messages that only have parts.
        newer_sessions: Sessions that the databases beside a JSON tree hold; None if there is none with any session.
        newer_messages: Their messages.
        parts: Part documents that were read in this pass.
    """

    source: Source
    source_id: int
    inventory: Inventory = field(default_factory=Inventory)
    orphans: set[str] = field(default_factory=set)
    problem: str = ""
    newer_sessions: set[str] | None = None
    newer_messages: set[str] = field(default_factory=set)
    parts: int = 0

    def is_missing_in_newer(self, session_id: str) -> bool:
        """Tell whether a session exists only in this older storage, beside a newer one."""
        return self.newer_sessions is not None and session_id not in self.newer_sessions

    def is_message_missing_in_newer(self, message_id: str) -> bool:
        """Tell whether a message exists only in this older storage, beside a newer one."""
        return self.newer_sessions is not None and message_id not in self.newer_messages


@dataclass(frozen=True, slots=True)
class Known:
    """What the index holds when a pass starts.

    Attributes:
        failures: Time of the first failure of a document that failed.
        kept: Documents that failed and that the index has in an earlier version.
        twins: Message to the ledger rows of its parts that were left out for the same parts of other messages.
    """

    messages: dict[str, MessageCopy]
    deleted_messages: set[str]
    projects: set[str]
    sessions: set[str]
    failures: dict[tuple[int, str], EpochMs]
    kept: set[tuple[int, str]]
    twins: dict[str, list[DocumentRow]]
    failed_owners: set[str]


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What a pass found.

    Attributes:
        problems: Why sources could not be read, one text each.
        written: Messages that were new or changed.
        unreadable: Documents without a row.
    """

    sources: int
    problems: tuple[str, ...]
    sessions: int
    messages: int
    written: int
    unreadable: int


def find_sources(data_dirs: Sequence[Path]) -> list[Source]:
    """List the storages of the data folders, newest generation first in each.

    Args:
        data_dirs: OpenCode data folders, absolute.

    Returns:
        Readers; nothing is opened yet. Empty if no folder holds any storage.
    """
    sources: list[Source] = []
    for data_dir in data_dirs:
        for path in database_files(data_dir):
            sources += _database_sources(data_dir, path)
        dangling = data_dir / "opencode.db"
        if os.path.islink(dangling) and not os.path.exists(dangling):
            sources.append(SqliteV1(data_dir, dangling))
        is_emptied = not database_files(data_dir) and os.path.isdir(data_dir / "storage" / "session")
        # what is wrong with a folder, its reader tells
        if JsonTree.exists(data_dir) or is_emptied or not os.path.isdir(data_dir):
            sources.append(JsonTree(data_dir))
    return sources


def load(
    database: Database, publisher: Publisher, sources: Sequence[Source], progress: Progress | None = None
) -> BulkResult:
    """Bring the index up to date with its sources: a first scan, or a full comparison later.

    What exists in several sources is taken from one of them, never summed. Unchanged messages cost a read and no
    write. A pass that is cut short is taken up by the next one.

    Args:
        database: The index.
        publisher: Makes it visible, every few seconds.
        sources: What to read. One that cannot be read is recorded and left out; its rows stay.
        progress: Called with the number of messages done and to do.

    Returns:
        What was found.
    """
    database.set_phase("bulk", f"reading {len(sources)} source{'' if len(sources) == 1 else 's'}")
    sources = _with_emptied(database, sources)
    try:
        return _Pass(database, publisher, progress or (lambda done, total: None), sources).run()
    finally:
        for source in sources:
            source.close()
        publisher.publish()


def _database_sources(data_dir: Path, path: Path) -> list[Source]:
    """List the generations that a database holds; one that cannot be read is listed, so that its error is told."""
    file = SqliteFile(path)
    try:
        tables = file.tables()
        is_new = "session_message" in tables
        has_old = {"message", "part"} <= tables or not is_new
        # an empty session_message exists in every file since 1.18
        proofs = sorted({"session_message", "session_v2"} & tables)
        has_new = is_new and (
            not has_old or any(file.rows(f"SELECT 1 AS found FROM {table} LIMIT 1") for table in proofs)
        )
    except SourceUnusable as error:
        return [Unprobed(data_dir, path, error)]
    finally:
        file.close()
    newest_first = (has_new and SqliteV2(data_dir, path), has_old and SqliteV1(data_dir, path))
    return [source for source in newest_first if source]


def _with_emptied(database: Database, sources: Sequence[Source]) -> list[Source]:
    """Add storages that held rows before: who deletes the last row leaves an empty table, or an empty tree."""
    rows = database.con.execute("SELECT kind, path, data_dir FROM sources").fetchall()
    known = {(kind, path): data_dir for kind, path, data_dir in rows}
    folders = {clean(str(source.data_dir)) for source in sources}
    emptied: list[Source] = [
        SqliteV2(source.data_dir, source.path)
        for source in sources
        if type(source) is SqliteV1 and (SqliteV2.kind, _identity(source)[1]) in known
    ]
    emptied += (
        JsonTree(Path(data_dir))
        for (kind, path), data_dir in known.items()
        if kind == JsonTree.kind and data_dir in folders and os.path.isdir(os.path.join(path, "session"))
    )
    listed = {_identity(source) for source in sources}
    return [*(source for source in emptied if _identity(source) not in listed), *sources]


def _identity(source: Source) -> tuple[str, str]:
    """Name a storage as the index does: kind and path."""
    return source.kind, clean(str(source.path))


class _Pass:
    """One full pass."""

    def __init__(self, database: Database, publisher: Publisher, progress: Progress, sources: Sequence[Source]) -> None:
        """List what the sources and the index hold; no content is read yet."""
        self._database = database
        self._publisher = publisher
        self._progress = progress
        self._started = _now_ms()
        self._opened = [_open(database, source, self._started) for source in sources]
        _compare_generations(database, self._opened)
        self._known = _read_known(database)
        self._session_order: dict[str, int] = {}
        self._written = self._unreadable = self._done = 0

    @property
    def _usable(self) -> list[OpenSource]:
        """List the sources that could be read so far."""
        return [opened for opened in self._opened if not opened.problem]

    @property
    def _usable_ids(self) -> set[int]:
        """Number the sources that could be read so far."""
        return {opened.source_id for opened in self._usable}

    def run(self) -> BulkResult:
        """Read and write everything, then flag what is gone."""
        total = len({message_id for opened in self._usable for message_id in opened.inventory.messages})
        with self._database.transaction() as con:
            con.execute("UPDATE sync_state SET documents_total = $total, documents_done = 0", {"total": total})
        self._write(self._projects_and_sessions())
        for batch in _read_ahead(self._message_batches()):
            self._write(batch)
            self._progress(self._done, total)
            self._publisher.publish_if_due()
        self._flag_gone()
        self._finish()
        return BulkResult(
            sources=len(self._usable),
            problems=tuple(opened.problem for opened in self._opened if opened.problem),
            sessions=len({session_id for opened in self._usable for session_id in opened.inventory.sessions}),
            messages=total,
            written=self._written,
            unreadable=self._unreadable,
        )

    def _write(self, batch: Batch) -> None:
        """Write one batch."""
        started = time.monotonic()
        write_batch(self._database, batch, _now_ms())
        self._written += len(batch.messages)
        self._unreadable += sum(row.state == "unreadable" for row in batch.failures)
        self._done += batch.documents_done
        duration_ms = 1000 * (time.monotonic() - started)
        log.debug("wrote %d messages, %d parts in %.0f ms", len(batch.messages), len(batch.parts), duration_ms)

    def _projects_and_sessions(self) -> Batch:
        """Read every project and session: they are few, and pages list them before their messages are there."""
        batch = Batch()
        projects: dict[str, ProjectRow] = {}
        sessions: dict[str, SessionRow] = {}
        for opened in self._usable:
            for problem in opened.inventory.problems:
                self._note(batch, opened, problem.document_id, [unreadable(problem, problem.problem)], LEFT_OUT)
            try:
                self._read_projects_and_sessions(batch, opened, projects, sessions)
            except SourceUnusable as error:
                _lose(opened, error)
        batch.projects = self._news("projects", "project_id", projects)
        batch.sessions = self._news("sessions", "session_id", sessions)
        self._session_order = {key: -(row.updated_at or row.created_at or 0) for key, row in sessions.items()}
        return batch

    def _read_projects_and_sessions(
        self, batch: Batch, opened: OpenSource, projects: dict[str, ProjectRow], sessions: dict[str, SessionRow]
    ) -> None:
        """Read every project and session of a source, and keep the copies that come first."""
        source, source_id, generation = opened.source, opened.source_id, opened.source.generation
        for document in source.projects():
            project = parse_project(document, source_id, generation)
            otherwise = KEPT if document.document_id in self._known.projects else LEFT_OUT
            self._note(batch, opened, document.document_id, project.failures, otherwise)
            if project.row is not None:
                _keep_newer(projects, project.row.project_id, project.row)
        for document in source.sessions():
            is_missing = opened.is_missing_in_newer(document.document_id)
            session = parse_session(document, source_id, generation, is_missing_in_newer=is_missing)
            otherwise = KEPT if document.document_id in self._known.sessions else LEFT_OUT
            self._note(batch, opened, document.document_id, session.failures, otherwise)
            if session.row is not None:
                _keep_newer(sessions, session.row.session_id, session.row)

    def _news(self, table: str, key: str, rows: dict[str, ProjectOrSession]) -> list[ProjectOrSession]:
        """Keep the projects or sessions that the index lacks, or has in another version that does not come first."""
        known = {
            str(document_id): values
            for document_id, *values in self._database.con.execute(
                f"SELECT {key}, source_id, coalesce(epoch_ms(updated_at), -1), generation, content_hash FROM {table} "
                "WHERE deleted_at IS NULL"
            ).fetchall()
        }
        news = []
        usable_ids = self._usable_ids
        for document_id, row in rows.items():
            source_id, *copy = known.get(document_id, (None, -1, 0, 0))
            is_same = source_id == row.source_id and copy[-1] == row.content_hash
            is_elsewhere = source_id is not None and source_id not in usable_ids
            # the same content elsewhere: the folder was renamed, or this is a copy of it
            if not is_same and (not is_elsewhere or copy[-1] == row.content_hash or is_newer(row, *copy)):
                news.append(row)
        return news

    def _message_batches(self) -> Iterator[Batch]:
        """Read and parse every message, newest session first, then the parts that have no message."""
        batch = Batch()
        for message_ids in self._chunks():
            for message_id, copies in self._read(message_ids).items():
                self._resolve(batch, message_id, copies)
                if batch.is_full:
                    yield batch
                    batch = Batch()
            batch.documents_done += sum(
                any(found in opened.inventory.messages for opened in self._usable) for found in message_ids
            )
        yield batch

    def _chunks(self) -> Iterator[list[str]]:
        """Group the message ids, a few at a time: by session, newest session first, orphaned parts last."""
        by_session: dict[str, list[str]] = {}
        seen: set[str] = set()
        for opened in self._usable:
            for message_id, session_id in opened.inventory.messages.items():
                if message_id not in seen:
                    seen.add(message_id)
                    by_session.setdefault(session_id, []).append(message_id)
        newest_first = sorted(by_session, key=lambda session_id: (self._session_order.get(session_id, 0), session_id))
        ordered = [message_id for session_id in newest_first for message_id in sorted(by_session[session_id])]
        ordered += sorted({found for opened in self._usable for found in opened.orphans} - seen)
        for start in range(0, len(ordered), MESSAGES_PER_READ):
            yield ordered[start : start + MESSAGES_PER_READ]

    def _read(self, message_ids: Sequence[str]) -> dict[str, list[tuple[OpenSource, MessageDocuments]]]:
        """Read every copy of some messages."""
        copies: dict[str, list[tuple[OpenSource, MessageDocuments]]] = {}
        for opened in self._usable:
            wanted = [found for found in message_ids if found in opened.inventory.messages or found in opened.orphans]
            try:
                found = opened.source.messages(wanted, opened.source_id) if wanted else []
            except SourceUnusable as error:
                _lose(opened, error)
                continue
            for documents in found:
                copies.setdefault(documents.message_id, []).append((opened, documents))
                opened.parts += len(documents.parts)
        return copies

    def _resolve(self, batch: Batch, message_id: str, copies: Sequence[tuple[OpenSource, MessageDocuments]]) -> None:
        """Choose the copy of a message that counts, and add it to the batch unless the index has it already."""
        known = self._known.messages.get(message_id)
        is_deleted = message_id in self._known.deleted_messages
        if len(copies) == 1 and known is not None and not is_deleted and message_id not in self._known.failed_owners:
            opened, documents = copies[0]
            is_missing = opened.is_message_missing_in_newer(message_id)
            is_same = content_hash(documents, is_missing_in_newer=is_missing) == known.content_hash
            if is_same and known.seq == documents.seq:
                if known.source_id not in self._usable_ids:
                    batch.moved[message_id] = opened.source_id  # the folder was renamed, or this is a copy of it
                return
        parsed = []
        for opened, documents in copies:
            is_missing = opened.is_message_missing_in_newer(message_id)
            parse = parse_session_message if documents.row_type is not None else parse_message
            parsed.append(parse(documents, is_missing_in_newer=is_missing))
        chosen = best_parse(parsed)
        is_kept = known is not None and (chosen.message is None or (not is_deleted and self._is_worse(chosen, known)))
        for (opened, _), candidate in zip(copies, parsed, strict=True):
            otherwise = KEPT if is_kept else LEFT_OUT
            if candidate.message is None and chosen.message is not None:
                otherwise = ELSEWHERE
            self._note(batch, opened, message_id, candidate.failures, otherwise)
        if is_kept:
            return
        if chosen.message is not None:
            copy = MessageCopy.of(chosen.message)
            if known is not None and not is_deleted:
                is_elsewhere = known.source_id not in self._usable_ids
                is_same = copy.content_hash == known.content_hash and copy.seq == known.seq
                if is_same and copy.source_id == known.source_id:
                    twins = self._known.twins.get(message_id, ())
                    batch.failures += (replace(row, last_seen_at=self._started) for row in twins)
                    return
                if is_elsewhere and newest_message([known, copy]) == 0:
                    if is_same:
                        batch.moved[message_id] = copy.source_id
                    return
            batch.messages.append(chosen.message)
        if known is not None:
            batch.rewritten.append(message_id)
            if chosen.message is not None and chosen.message.generation != known.generation:
                batch.superseded.append(message_id)
        self._add_parts(batch, copies[0][0], message_id, chosen)

    def _is_worse(self, chosen: ParsedMessage, known: MessageCopy) -> bool:
        """Tell whether parts of a message are unreadable now that could be read before.

        The version that the index has stays then until a good one comes, unless the message ended since. What could
        never be read makes no version worse.
        """
        assert chosen.message is not None, "an unreadable message is always worse"
        copy = MessageCopy.of(chosen.message)
        if copy.source_id != known.source_id or (copy.is_finished and not known.is_finished):
            return False
        lost = {(copy.source_id, failure.key) for failure in chosen.failures if not failure.is_partial}
        return any(document in self._known.kept or document not in self._known.failures for document in lost)

    def _add_parts(self, batch: Batch, opened: OpenSource, message_id: str, chosen: ParsedMessage) -> None:
        """Add the parts of a message to a batch, but for those whose id another message of the batch has."""
        owners = {row.part_id: batch.part_owners.setdefault(row.part_id, message_id) for row in chosen.parts}
        twins = {part_id: owner for part_id, owner in owners.items() if owner != message_id}
        batch.failures += (
            twin_failure(part_id, message_id, owner, opened.source_id, self._started)
            for part_id, owner in twins.items()
        )
        batch.part_sources[message_id] = opened.source_id
        batch.parts += (row for row in chosen.parts if row.part_id not in twins)
        batch.bodies += (row for row in chosen.bodies if row.part_id not in twins)
        batch.text_bytes += sum(row.size_bytes for row in chosen.parts)

    def _note(
        self, batch: Batch, opened: OpenSource, owner_id: str, failures: Iterable[ParseFailure], otherwise: str
    ) -> None:
        """Put failures into the ledger, in place of earlier ones of the same owner.

        Args:
            batch: Where they are written with.
            opened: The source of the documents.
            owner_id: The project, session or message that they belong to.
            failures: What could not be read, or not all of it.
            otherwise: What happens next to a document without a row.
        """
        if owner_id in self._known.failed_owners:
            batch.mended.append((opened.source_id, owner_id))
        for failure in failures:
            if failure.is_partial:
                state, level, reason = "partial", logging.INFO, f"Read in part: {failure.reason}. {THE_REST}"
            else:
                state, level = "unreadable", logging.WARNING
                reason = f"The {failure.document_kind} {failure.reason}. {otherwise}"
            batch.failures.append(
                DocumentRow(
                    source_id=opened.source_id,
                    key=failure.key,
                    owner_id=owner_id,
                    document_kind=failure.document_kind,
                    state=state,
                    reason=reason,
                    size_bytes=failure.size_bytes,
                    first_seen_at=self._known.failures.get((opened.source_id, failure.key), self._started),
                    last_seen_at=self._started,
                )
            )
            log.log(level, "%s: %s", printable(f"{opened.source.data_dir}: {failure.key}"), reason)

    def _flag_gone(self) -> None:
        """Flag what the index has from these sources and none of them holds any more."""
        messages = {found for opened in self._usable for found in opened.inventory.messages}
        sessions = {found for opened in self._usable for found in opened.inventory.sessions}
        complete = {opened.source_id for opened in self._usable if opened.inventory.is_complete}
        con = self._database.con
        gone = [
            message_id
            for message_id, copy in self._known.messages.items()
            if copy.source_id in complete
            and message_id not in messages
            and message_id not in self._known.deleted_messages
        ]
        known_sessions = con.execute(
            """
            SELECT session_id FROM sessions
            WHERE deleted_at IS NULL AND source_id IN (SELECT unnest($ids::INTEGER[]))
            """,
            {"ids": sorted(complete)},
        ).fetchall()
        gone_sessions = [session_id for (session_id,) in known_sessions if session_id not in sessions]
        mark_deleted(
            self._database, messages=gone + self._gone_orphans(complete), sessions=gone_sessions, now=_now_ms()
        )
        with self._database.transaction() as con:  # every document that failed is read in every pass
            con.execute(
                """
                DELETE FROM documents
                WHERE source_id IN (SELECT unnest($ids::INTEGER[])) AND last_seen_at < make_timestamp_ms($started)
                """,
                {"ids": sorted(self._usable_ids), "started": self._started},
            )

    def _gone_orphans(self, complete: set[int]) -> list[str]:
        """List messages that only had parts and have none any more.

        Such parts do not tell their source: only a pass that read every source the index knows can say so.
        """
        con = self._database.con
        if not {source_id for (source_id,) in con.execute("SELECT source_id FROM sources").fetchall()} <= complete:
            return []
        rows = con.execute("SELECT DISTINCT message_id FROM parts WHERE is_orphan AND deleted_at IS NULL").fetchall()
        return [
            message_id
            for (message_id,) in rows
            if not any(
                message_id in opened.inventory.messages or message_id in opened.orphans for opened in self._usable
            )
        ]

    def _finish(self) -> None:
        """Record what each source held, and that the pass is complete."""
        with self._database.transaction() as con:
            for opened in self._opened:
                con.execute(
                    """
                    UPDATE sources SET state = $state, reason = $reason,
                        sessions = coalesce($sessions, sessions), messages = coalesce($messages, messages),
                        newest_at = (SELECT max(recorded_until) FROM messages WHERE messages.source_id = $source_id),
                        parts = coalesce($parts, (
                            SELECT count(*) FROM parts JOIN messages USING (message_id)
                            WHERE messages.source_id = $source_id
                        )),
                        indexed_at = make_timestamp_ms($now)
                    WHERE source_id = $source_id
                    """,
                    {
                        "state": "unreadable" if opened.problem else "ok" if opened.inventory.messages else "empty",
                        "reason": opened.problem or None,
                        "sessions": None if opened.problem else len(opened.inventory.sessions),
                        "messages": None if opened.problem else len(opened.inventory.messages),
                        # rows of the third generation hold their parts: only the index knows how many
                        "parts": None if opened.problem or opened.source.kind == SqliteV2.kind else opened.parts,
                        "source_id": opened.source_id,
                        "now": _now_ms(),
                    },
                )
            folders = {clean(str(opened.source.data_dir)) for opened in self._opened}
            gone = con.execute(
                """
                UPDATE sources SET state = 'unreadable', reason = $reason
                WHERE data_dir IN (SELECT unnest($folders::VARCHAR[]))
                  AND source_id NOT IN (SELECT unnest($ids::INTEGER[]))
                RETURNING kind, path
                """,
                {"reason": GONE, "folders": sorted(folders), "ids": [opened.source_id for opened in self._opened]},
            ).fetchall()
            for kind, path in gone:
                log.info("%s (%s): %s", printable(path), kind, GONE)
            con.execute("UPDATE sync_state SET last_full_pass_at = make_timestamp_ms($now)", {"now": _now_ms()})


def _open(database: Database, source: Source, now: EpochMs) -> OpenSource:
    """Number a source and list what it holds; one that cannot be read keeps its number and says why."""
    opened = OpenSource(source, _source_id(database, source, now))
    try:
        opened.inventory = source.inventory()
        opened.orphans = set(opened.inventory.orphans)
    except SourceUnusable as error:
        _lose(opened, error)
    return opened


def _lose(opened: OpenSource, error: SourceUnusable) -> None:
    """Give a source up for this pass: what the index has from it stays as it is."""
    opened.problem = str(error)
    log.warning("%s", printable(opened.problem))


def _source_id(database: Database, source: Source, now: EpochMs) -> int:
    """Return the number that the index gives a storage, for good."""
    kind, path = _identity(source)
    key = {"kind": kind, "path": path}
    row = database.con.execute("SELECT source_id FROM sources WHERE kind = $kind AND path = $path", key).fetchone()
    if row is None:
        with database.transaction() as con:
            row = con.execute(
                """
                INSERT INTO sources BY NAME
                SELECT (SELECT coalesce(max(source_id), 0) + 1 FROM sources) AS source_id, $data_dir AS data_dir,
                       $kind AS kind, $path AS path, 'empty' AS state, 0 AS sessions, 0 AS messages, 0 AS parts,
                       make_timestamp_ms($now) AS indexed_at
                RETURNING source_id
                """,
                {**key, "data_dir": clean(str(source.data_dir)), "now": now},
            ).fetchone()
    assert row is not None, "INSERT RETURNING has one row"
    return int(row[0])


def _compare_generations(database: Database, every: Sequence[OpenSource]) -> None:
    """Tell each older storage what the newer ones of its data folder hold. An empty database is no newer storage.

    Of a newer one that cannot be read right now, the index knows what it held: nothing changes its flags meanwhile.
    """
    held = {opened.source_id: _held(database, opened) for opened in every}
    for older in every:
        newer = [
            held[opened.source_id]
            for opened in every
            if opened.source.data_dir == older.source.data_dir
            and opened.source.generation > older.source.generation
            and held[opened.source_id][0]
        ]
        if newer:
            older.newer_sessions = {found for sessions, _ in newer for found in sessions}
            older.newer_messages = {found for _, messages in newer for found in messages}


def _held(database: Database, opened: OpenSource) -> tuple[Collection[str], Collection[str]]:
    """List the sessions and messages of a source; of one that cannot be read, those the index has from its file."""
    if not opened.problem:
        return opened.inventory.sessions, opened.inventory.messages
    path = {"path": _identity(opened.source)[1]}
    of_file = "WHERE source_id IN (SELECT source_id FROM sources WHERE path = $path) AND deleted_at IS NULL"
    sessions = database.con.execute(f"SELECT session_id FROM sessions {of_file}", path).fetchall()
    messages = database.con.execute(f"SELECT message_id FROM messages {of_file}", path).fetchall()
    return [found for (found,) in sessions], [found for (found,) in messages]


def _read_known(database: Database) -> Known:
    """Read what the index holds of every message, and what failed before."""
    messages: dict[str, MessageCopy] = {}
    deleted: set[str] = set()
    rows = database.con.execute(
        """
        SELECT message_id, source_id, generation, completed_at IS NOT NULL OR error_name IS NOT NULL,
               coalesce(epoch_ms(recorded_until), -1), content_hash, seq, deleted_at IS NOT NULL
        FROM messages
        """
    ).fetchall()
    for message_id, *copy, is_deleted in rows:
        messages[message_id] = MessageCopy(*copy)
        if is_deleted:
            deleted.add(message_id)
    failed = database.con.execute(
        "SELECT source_id, key, owner_id, epoch_ms(first_seen_at), ends_with(reason, $kept) FROM documents",
        {"kept": KEPT},
    ).fetchall()
    twins: dict[str, list[DocumentRow]] = {}
    for values in database.con.execute(
        """
        SELECT source_id, key, owner_id, document_kind, state, reason, size_bytes,
               epoch_ms(first_seen_at), epoch_ms(last_seen_at)
        FROM documents WHERE starts_with(key, $twin)
        """,
        {"twin": TWIN},
    ).fetchall():
        row = DocumentRow(*values)
        twins.setdefault(row.owner_id, []).append(row)
    projects = database.con.execute("SELECT project_id FROM projects WHERE source_id IS NOT NULL").fetchall()
    sessions = database.con.execute("SELECT session_id FROM sessions WHERE NOT is_placeholder").fetchall()
    return Known(
        messages=messages,
        deleted_messages=deleted,
        projects={project_id for (project_id,) in projects},
        sessions={session_id for (session_id,) in sessions},
        failures={(source_id, key): EpochMs(first) for source_id, key, _, first, _ in failed},
        kept={(source_id, key) for source_id, key, _, _, is_kept in failed if is_kept},
        twins=twins,
        failed_owners={owner for _, _, owner, _, _ in failed},
    )


def _keep_newer(rows: dict[str, ProjectOrSession], key: str, row: ProjectOrSession) -> None:
    """Keep the copy of a project or session that comes first."""
    other = rows.get(key)
    if other is None or is_newer(
        row, -1 if other.updated_at is None else other.updated_at, other.generation, other.content_hash
    ):
        rows[key] = row


def _read_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Run an iterator in a thread of its own, a few batches ahead.

    Its errors are raised here; when the caller stops early, the thread ends before this returns.
    """
    waiting: queue.Queue[Batch | BaseException | None] = queue.Queue(BATCHES_AHEAD)
    stopped = threading.Event()

    def put(item: Batch | BaseException | None) -> bool:
        """Hand an item over; False once nobody wants it."""
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        """Read until the end, an error, or nobody wants more."""
        try:
            for batch in batches:
                if not put(batch):
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 (raised again in the caller's thread)
            put(error)

    reader = threading.Thread(target=read, name="reader", daemon=True)
    reader.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        reader.join()


def _now_ms() -> EpochMs:
    """Return the time in ms since 1970."""
    return EpochMs(time.time_ns() // 1_000_000)
