"""Look at documents that may have changed, choose the copies that count, and write what is new: the one way in.

A first load, a restart and a live change differ only in how many documents they name (`changes.py`).
"""

import logging
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TypeVar

from indexer import sql
from indexer.batch import ELSEWHERE, KEPT, LEFT_OUT, THE_REST, Batch, twin_failure, write_batch
from indexer.changes import Changes
from indexer.database import Database
from indexer.documents import Document, Generation, MessageDocuments
from indexer.exceptions import SourceUnusable
from indexer.hot_sessions import Listings
from indexer.json_values import printable
from indexer.known import KnownCopy, read_known, released_twins, stored_stamp
from indexer.parsers import (
    ParsedMessage,
    ParsedProject,
    ParsedSession,
    ParseFailure,
    parse_project,
    parse_session,
    unreadable,
)
from indexer.purge import purge
from indexer.reading import (
    FoundMessage,
    FoundMessages,
    Ids,
    ReadingProcesses,
    Versions,
    chunks_of,
    parse_copies,
    process_count,
)
from indexer.resolve import MessageCopy, best_parse, is_newer, newest_message
from indexer.rows import DocumentRow, EpochMs, ProjectRow, SessionRow, StampRow
from indexer.sources import Inventory
from indexer.sources.json_tree import JsonTree
from indexer.storages import Storage, held_by_lost, now_ms

log = logging.getLogger(__name__)

MESSAGES_PER_READ = 50
MESSAGES_FOR_PROCESSES = 2_000  # from which on it pays to start other processes
SESSIONS_FIRST = 1_000  # messages from which on sessions are written before them; each write derives them anew

ProjectOrSession = TypeVar("ProjectOrSession", ProjectRow, SessionRow)


@dataclass(slots=True)
class Applied:
    """What became of changes.

    Attributes:
        written: Messages that were new or changed.
        deleted: Messages and sessions that OpenCode deleted.
        unreadable: Documents without a row.
        is_visible: Anything that readers see was written.
        postponed: Documents that are being written right now, to look at again in a moment.
        is_everything_due: A storage came into use, which changes what is told of all others.
    """

    written: int = 0
    deleted: int = 0
    unreadable: int = 0
    is_visible: bool = False
    postponed: Changes = field(default_factory=Changes)
    is_everything_due: bool = False

    def add(self, other: "Applied") -> None:
        """Add what became of further changes."""
        self.written += other.written
        self.deleted += other.deleted
        self.unreadable += other.unreadable
        self.is_visible |= other.is_visible
        self.postponed.add(other.postponed)
        self.is_everything_due |= other.is_everything_due


def apply(
    database: Database,
    storages: Sequence[Storage],
    changes: Changes,
    *,
    may_postpone: bool,
    on_batch: Callable[[int], None] | None = None,
) -> Applied:
    """Bring the index up to date with documents that may have changed.

    Every named document is read in every storage that has it. What exists in several is taken from one of them, never
    summed. Unchanged documents cost a read and no write.

    Args:
        database: The index.
        storages: All of them. One that cannot be read says so from then on; its rows stay.
        changes: What to look at.
        may_postpone: Leave out files that cannot be read while they are being written. Else they count as unreadable.
        on_batch: Called after every transaction with the number of messages that were looked at in it.

    Returns:
        What was found.
    """
    done = _apply(database, storages, changes, may_postpone, on_batch)
    # a part that has moved to another message may be found there before it is missed where it was
    if done.is_visible and (released := released_twins(database.con, database.hot)):
        done.add(_apply(database, storages, Changes(messages=dict.fromkeys(released)), may_postpone, on_batch))
    return done


def _apply(
    database: Database,
    storages: Sequence[Storage],
    changes: Changes,
    may_postpone: bool,
    on_batch: Callable[[int], None] | None,
) -> Applied:
    """Do so once."""
    is_used = [storage.is_used for storage in storages]
    named, listings = _with_touched_sessions(database, storages, changes)
    # nothing is remembered in a full pass, which names them all
    by_name = changes.messages.keys() if listings or database.hot.listings else set[str]()
    update = _Update(database, storages, named, may_postpone=may_postpone)
    coming = update.batches()
    batches = _read_ahead(coming) if len(named.messages) > MESSAGES_PER_READ else coming
    done = Applied()
    written, gone = dict[str, str](), set[str]()
    for batch in batches:
        written |= {row.message_id: row.session_id for row in batch.messages if row.message_id in by_name}
        gone |= by_name & set(batch.gone_messages)
        done.is_visible |= write_batch(database, batch, now_ms())
        done.written += len(batch.messages)
        done.deleted += len(batch.gone_messages) + len(batch.gone_sessions)
        done.unreadable += sum(row.state == "unreadable" for row in batch.failures)
        if on_batch:
            on_batch(batch.documents_done)
    if not any(storage.problem for storage in storages):
        database.hot.listings |= listings
    database.hot.doubt(written, gone)
    purge(database)  # sessions that have moved to where nothing is indexed
    done.postponed = update.postponed
    done.is_everything_due = is_used != [storage.is_used for storage in storages]
    return done


def _with_touched_sessions(
    database: Database, storages: Sequence[Storage], changes: Changes
) -> tuple[Changes, Listings]:
    """Find out which messages of touched sessions look different, or are gone.

    Returns:
        What to look at, without touched sessions; how the messages of these sessions look now.
    """
    if not changes.touched_sessions:  # as in a full pass: of 260,000 messages a copy takes 20 MB
        return changes, {}
    named = Changes()
    named.add(changes)
    named.touched_sessions.clear()
    before = database.hot.take_listings(changes)
    renewed = _renewed(storages, changes.touched_sessions, before)
    inventories = _listed(storages, changes.touched_sessions, renewed)
    is_any_orphaned = any(found.orphans for _, found in inventories)
    if is_any_orphaned and renewed:  # everything is compared
        inventories = _listed(storages, changes.touched_sessions, ())
    listings: Listings = {
        (storage.source_id, session_id): {} for storage, _ in inventories for session_id in changes.touched_sessions
    }
    for storage, found in inventories:
        stamps = found.stamps["message"]
        for message_id, session_id in found.messages.items():
            if (storage.source_id, session_id) in listings:
                listings[storage.source_id, session_id][message_id] = stored_stamp(stamps.get(message_id))
    if is_any_orphaned:  # of which session they are is not told
        listings.clear()
    # of every storage: each may hold another copy
    remembered = {key[1] for key in listings} - {key[1] for key in listings.keys() - before.keys()}
    for key in [key for key in listings if key[1] in remembered]:
        if key in renewed:
            listings[key], differing = before[key], renewed[key]
        else:
            differing = _differing(listings[key], before[key])
        named.add(Changes(messages=dict.fromkeys(differing, key[1])))
    if unknown := changes.touched_sessions - remembered:
        named.add(_compared(database, inventories, unknown))
    return named, listings


def _renewed(
    storages: Sequence[Storage], session_ids: Collection[str], before: Listings
) -> dict[tuple[int, str], list[str]]:
    """Ask storages what looks different in sessions that are remembered, as far as they can tell without a list.

    Args:
        storages: All of them.
        session_ids: The sessions.
        before: How their messages looked; where a storage can tell, brought up to date.

    Returns:
        By storage and session: the messages that `_differing` lists.
    """
    renewed: dict[tuple[int, str], list[str]] = {}
    usable = [storage for storage in storages if not storage.problem]
    for session_id in session_ids:
        if all((storage.source_id, session_id) in before for storage in usable):
            for storage in usable:
                key = storage.source_id, session_id
                doubtful = [message_id for message_id, stamp in before[key].items() if stamp is None]
                if (found := storage.source.renewed(session_id, doubtful)) is not None:
                    renewed[key] = _bring_up_to_date(before[key], doubtful, found)
    return renewed


def _listed(
    storages: Sequence[Storage], session_ids: Collection[str], renewed: Collection[tuple[int, str]]
) -> list[tuple[Storage, Inventory]]:
    """List the messages of sessions in every storage that can be read, but for those of which is known what changed."""
    inventories: list[tuple[Storage, Inventory]] = []
    for storage in storages:
        if not storage.problem:
            wanted = {session_id for session_id in session_ids if (storage.source_id, session_id) not in renewed}
            try:
                inventories.append((storage, storage.source.messages_of(wanted)))
            except SourceUnusable as error:
                storage.lose(error)
    return inventories


def _bring_up_to_date(
    listing: dict[str, int | None], doubtful: Collection[str], stamps: Mapping[str, int | None]
) -> list[str]:
    """Note how messages look that may have changed; list those of them that `_differing` lists."""
    now = {message_id: stored_stamp(stamp) for message_id, stamp in stamps.items()}
    differing = _differing(now, {message_id: listing.get(message_id) for message_id in {*now, *doubtful}})
    for message_id in differing:
        listing.pop(message_id, None)
    listing |= now
    return differing


def _differing(stamps: Mapping[str, int | None], before: Mapping[str, int | None]) -> list[str]:
    """List the messages that look different, may have changed since, or are gone."""
    changed = [key for key, stamp in stamps.items() if stamp is None or stamp != before.get(key)]
    return changed + [key for key in before if key not in stamps]


def _compared(
    database: Database, inventories: Sequence[tuple[Storage, Inventory]], session_ids: Collection[str]
) -> Changes:
    """Compare the messages of sessions with what the index has of them."""
    named = Changes()
    ids = sql.texts(session_ids)
    rows = database.con.execute(
        f"""
        SELECT message_id FROM messages WHERE session_id IN {ids} AND deleted_at IS NULL
        UNION ALL
        SELECT message_id FROM parts WHERE session_id IN {ids} AND is_orphan AND deleted_at IS NULL
        """
    ).fetchall()
    held = {message_id for (message_id,) in rows}
    unlisted = set(held)
    for storage, found in inventories:
        listed = {key for key, session_id in found.messages.items() if session_id in session_ids} | {*found.orphans}
        unlisted -= listed
        looked_up, values = sql.among(listed | held)
        stored = dict(
            database.con.execute(
                f"""
                SELECT document_id, stamp FROM read_stamps
                WHERE source_id = $source_id AND document_kind IN ('message', 'orphan') AND document_id IN {looked_up}
                """,
                {"source_id": storage.source_id, **values},
            ).fetchall()
        )
        for message_id in listed:
            stamp = stored_stamp(found.stamps["message"].get(message_id))
            if stamp is None or stamp != stored.get(message_id):
                named.add(Changes(messages={message_id: found.messages.get(message_id)}))
        # another storage may have it still: then that copy counts from now on
        named.add(Changes(messages=dict.fromkeys(stored.keys() - listed)))
    named.add(Changes(messages=dict.fromkeys(unlisted)))
    return named


class _Update:
    """One look at some documents."""

    def __init__(
        self, database: Database, storages: Sequence[Storage], changes: Changes, *, may_postpone: bool
    ) -> None:
        """Read what the index holds of them; no document is read yet."""
        self._database = database
        self._storages = storages
        self._changes = changes
        self._may_postpone = may_postpone
        self._started = now_ms()
        self._known = read_known(database.con, changes, database.hot)
        self._held_messages = held_by_lost(database, storages, "message", changes.messages)
        self._held_sessions = held_by_lost(database, storages, "session", changes.sessions)
        self._numbered = {storage.source_id: storage for storage in storages}
        self._session_order: dict[str, int] = {}
        self._unsettled: set[str] = set()  # sessions with messages of which nobody can tell whether they are gone
        self.postponed = Changes()

    @property
    def _usable(self) -> list[Storage]:
        """List the storages that could be read so far."""
        return [storage for storage in self._storages if not storage.problem]

    @property
    def _usable_ids(self) -> set[int]:
        """Number the storages that could be read so far."""
        return {storage.source_id for storage in self._usable}

    @property
    def _complete_ids(self) -> set[int]:
        """Number the storages of which everything can be listed: what they lack is gone."""
        return {storage.source_id for storage in self._usable if storage.is_complete}

    def batches(self) -> Generator[Batch]:
        """Read and parse everything, projects and sessions first, then messages, newest session first.

        Sessions that are gone come last: one with living messages would become nothing but a name (`batch.py`), and
        lose its project and parent for good.
        """
        batch = Batch()
        self._add_projects(batch)
        gone_sessions = self._add_sessions(batch)
        self._name_messages_of(gone_sessions)
        if len(self._changes.messages) > SESSIONS_FIRST:  # pages list sessions before their messages are there
            yield batch
            batch = Batch()
        for message_ids, found in self._found():
            for message_id in message_ids:
                self._resolve(batch, message_id, found.get(message_id, []))
                if batch.is_full:
                    yield batch
                    batch = Batch()
            batch.documents_done += len(message_ids)
        # what is left out is still missing when everything is compared again
        batch.gone_sessions = [session_id for session_id in gone_sessions if session_id not in self._unsettled]
        yield batch

    # --- projects and sessions

    def _add_projects(self, batch: Batch) -> None:
        """Read projects and add those that are new, changed or gone."""
        copies = self._documents(self._changes.projects, lambda storage, ids: storage.source.projects(ids))
        rows: dict[str, ProjectRow] = {}
        for project_id in self._changes.projects:
            found = copies.get(project_id, [])
            parsed = [
                parse_project(document, storage.source_id, storage.source.generation) for storage, document in found
            ]
            if self._note_copies(batch, project_id, found, parsed, self._known.projects.get(project_id)):
                self._stamp(batch, "project", project_id, found)
                _keep_newest(rows, project_id, [each.row for each in parsed])
            else:
                self.postponed.projects.add(project_id)
        batch.projects = [row for row in rows.values() if self._is_news(row, self._known.projects.get(row.project_id))]
        batch.gone_projects = self._gone(self._changes.projects, copies, self._known.projects)
        batch.missing += batch.gone_projects

    def _add_sessions(self, batch: Batch) -> list[str]:
        """Read sessions and add those that are new or changed; return those that are gone."""
        copies = self._documents(self._changes.sessions, lambda storage, ids: storage.source.sessions(ids))
        rows: dict[str, SessionRow] = {}
        for session_id in self._changes.sessions:
            found = copies.get(session_id, [])
            parsed = [self._parsed_session(storage, document, found) for storage, document in found]
            if self._note_copies(batch, session_id, found, parsed, self._known.sessions.get(session_id)):
                self._stamp(batch, "session", session_id, found)
                _keep_newest(rows, session_id, [each.row for each in parsed])
            else:
                self.postponed.sessions.add(session_id)
        batch.sessions = [row for row in rows.values() if self._is_news(row, self._known.sessions.get(row.session_id))]
        self._session_order = {key: -(row.updated_at or row.created_at or 0) for key, row in rows.items()}
        gone = self._gone(self._changes.sessions, copies, self._known.sessions)
        batch.missing += gone
        return gone

    def _parsed_session(
        self, storage: Storage, document: Document, copies: Iterable[tuple[Storage, Document]]
    ) -> ParsedSession:
        """Read one copy of a session."""
        holders = {other.source_id for other, _ in copies}
        is_missing = storage.place(self._held_sessions).is_missing(document.document_id, holders)
        return parse_session(document, storage.source_id, storage.source.generation, is_missing_in_newer=is_missing)

    def _note_copies(
        self,
        batch: Batch,
        document_id: str,
        copies: Sequence[tuple[Storage, Document]],
        parsed: Sequence[ParsedProject | ParsedSession],
        known: KnownCopy | None,
    ) -> bool:
        """Put what could not be read of a project or session into the ledger; tell whether it need not be postponed."""
        if any(
            self._is_postponed(document.stamp, storage, each.failures)
            for (storage, document), each in zip(copies, parsed, strict=True)
        ):
            return False
        otherwise = ELSEWHERE if any(each.row is not None for each in parsed) else _otherwise(known)
        for (storage, _), each in zip(copies, parsed, strict=True):
            self._note(batch, storage, document_id, each.failures, otherwise)
        if not copies:
            self._forget_failures(batch, document_id)
        return True

    def _name_messages_of(self, gone_sessions: Collection[str]) -> None:
        """Name what the index has of sessions that are gone: they may have been deleted after messages were listed."""
        if not gone_sessions:
            return
        with self._database.cursor() as con:
            rows = con.execute(
                f"""
                SELECT message_id FROM messages
                WHERE session_id IN {sql.texts(gone_sessions)} AND deleted_at IS NULL
                """
            ).fetchall()
            missed = {message_id for (message_id,) in rows} - self._changes.messages.keys()
            if not missed:
                return
            changes = Changes(messages=dict.fromkeys(missed))
            changes.add(self._changes)  # which is the caller's
            self._changes = changes
            self._known = read_known(con, self._changes, self._database.hot)
        self._held_messages = held_by_lost(self._database, self._storages, "message", self._changes.messages)

    def _documents(
        self, ids: set[str], read: Callable[[Storage, set[str]], Iterable[Document]]
    ) -> dict[str, list[tuple[Storage, Document]]]:
        """Read every copy of some projects or sessions."""
        copies: dict[str, list[tuple[Storage, Document]]] = {}
        for storage in self._usable if ids else []:
            try:
                for document in read(storage, ids):
                    copies.setdefault(document.document_id, []).append((storage, document))
                    storage.is_used |= document.kind == "session"
            except SourceUnusable as error:
                storage.lose(error)
        return copies

    def _is_news(self, row: ProjectRow | SessionRow, known: KnownCopy | None) -> bool:
        """Tell whether the index lacks a project or session, or has another version that does not come first."""
        if known is None or known.is_deleted or known.source_id is None:
            return True
        is_same = known.content_hash == row.content_hash
        if known.source_id == row.source_id:
            return not is_same
        is_elsewhere = known.source_id not in self._usable_ids
        # the same content elsewhere: the folder was renamed, or this is a copy of it
        return not is_elsewhere or is_same or is_newer(row, known.updated_at, known.generation, known.content_hash)

    def _gone(self, ids: set[str], copies: Mapping[str, Sequence[object]], known: Mapping[str, KnownCopy]) -> list[str]:
        """List what the index holds and no storage has any more."""
        complete = self._complete_ids
        return sorted(
            document_id
            for document_id in ids
            if document_id not in copies
            and document_id in known
            and not known[document_id].is_deleted
            and known[document_id].source_id in complete
        )

    # --- messages

    def _chunks(self) -> Iterator[Ids]:
        """Group the messages, a few at a time: by session, newest session first, orphaned parts last."""
        return chunks_of(
            self._changes.messages, self._session_of, lambda found: self._session_order.get(found, 0), MESSAGES_PER_READ
        )

    def _session_of(self, message_id: str) -> str | None:
        """Return the session of a message, as the index has it where the change does not name it.

        None where both name one, and not the same: a tree then looks in all of its sessions, as either may be that of a
        database alone.
        """
        named, held = self._changes.messages[message_id], self._known.held.get(message_id)
        known = held.session_id if held else None
        if named and known and named != known:
            return None
        return named or known or named

    def _found(self) -> Iterator[tuple[Ids, FoundMessages]]:
        """Read and parse the messages, a few at a time; of many, other processes do it ahead."""
        sources = [storage.source for storage in self._storages]
        count = process_count(sources)
        is_lost = any(storage.problem for storage in self._storages)
        if not count or is_lost or len(self._changes.messages) < MESSAGES_FOR_PROCESSES:
            for message_ids in self._chunks():
                yield message_ids, self._read(message_ids)
            return
        places = [storage.place(self._held_messages) for storage in self._storages]
        with ReadingProcesses(sources, places, count) as processes:
            chunks = ((message_ids, self._versions(message_ids)) for message_ids in self._chunks())
            for message_ids, found in processes.each(chunks):
                yield message_ids, self._read(message_ids) if found is None else found

    def _read(self, message_ids: Ids) -> FoundMessages:
        """Read and parse every copy of some messages."""
        read: list[tuple[Storage, list[MessageDocuments]]] = []
        for storage in self._usable:
            try:
                read.append((storage, storage.source.messages(message_ids, storage.source_id)))
            except SourceUnusable as error:
                storage.lose(error)
                self._held_messages |= held_by_lost(self._database, [storage], "message", self._changes.messages)
        read += self._strayed(message_ids, read)
        # the places after all was read: what is lost on the way counts for all
        places = [(storage.place(self._held_messages), found) for storage, found in read]
        pairs = ((place, documents) for place, found in places for documents in found)
        return parse_copies(pairs, self._versions(message_ids))

    def _strayed(
        self, message_ids: Iterable[str], read: Sequence[tuple[Storage, list[MessageDocuments]]]
    ) -> list[tuple[Storage, list[MessageDocuments]]]:
        """Look for messages that seem gone in the trees that had another copy of them: it may be in another session.

        Args:
            message_ids: The messages.
            read: What was found of them.
        """
        found = {documents.message_id for _, every in read for documents in every if documents.message is not None}
        missed = ({*message_ids} - found - self._known.deleted_messages) & self._known.messages.keys()
        lost = {message_id: self._known.messages[message_id].source_id for message_id in missed}
        strayed: list[tuple[Storage, list[MessageDocuments]]] = []
        for storage in self._usable if lost else []:
            elsewhere = {message_id for message_id, source_id in lost.items() if source_id != storage.source_id}
            if storage.source.kind != JsonTree.kind or not elsewhere:
                continue
            held = dict.fromkeys(self._had(storage, elsewhere))
            try:
                every = storage.source.messages(held, storage.source_id) if held else []
            except SourceUnusable as error:
                storage.lose(error)
            else:
                strayed.append((storage, [documents for documents in every if documents.message is not None]))
        return strayed

    def _had(self, storage: Storage, message_ids: Collection[str]) -> list[str]:
        """List which of some messages a storage had when they were last looked at."""
        listed, values = sql.among(message_ids)
        with self._database.cursor() as con:  # while another thread writes
            rows = con.execute(
                f"""
                SELECT document_id FROM read_stamps
                WHERE source_id = $source_id AND document_kind = 'message' AND document_id IN {listed}
                """,
                {"source_id": storage.source_id, **values},
            ).fetchall()
        return [message_id for (message_id,) in rows]

    def _versions(self, message_ids: Iterable[str]) -> Versions:
        """Tell which versions of messages need not be parsed: those that the index has, where nothing failed."""
        unsettled = self._known.deleted_messages | self._known.failed_owners
        return {
            message_id: (known.content_hash, known.seq)
            for message_id in message_ids
            if (known := self._known.messages.get(message_id)) and message_id not in unsettled
        }

    def _resolve(self, batch: Batch, message_id: str, copies: Sequence[FoundMessage]) -> None:
        """Choose the copy of a message that counts, and add it to the batch unless the index has it already."""
        known = self._known.messages.get(message_id)
        is_deleted = message_id in self._known.deleted_messages
        is_orphaned = not any(copy.has_message for copy in copies)
        if is_orphaned and known is not None and not is_deleted and known.source_id not in self._complete_ids:
            self._unsettled.add(self._known.held[message_id].session_id)
            return  # its storage cannot be read right now
        parsed = [(self._numbered[copy.source_id], copy.parsed) for copy in copies if copy.parsed is not None]
        if len(parsed) < len(copies):
            self._stamp_message(batch, message_id, copies)
            if known is not None and known.source_id not in self._usable_ids:
                batch.moved[message_id] = copies[0].source_id  # the folder was renamed, or this is a copy of it
            return
        for copy, (storage, candidate) in zip(copies, parsed, strict=True):
            if self._is_postponed(copy.stamp, storage, candidate.failures):
                self.postponed.add(Changes(messages={message_id: copy.session_id or self._session_of(message_id)}))
                return
        self._stamp_message(batch, message_id, copies)
        if is_orphaned:
            self._add_orphans(batch, message_id, parsed)
            return
        chosen = best_parse([candidate for _, candidate in parsed])
        is_kept = known is not None and (chosen.message is None or (not is_deleted and self._is_worse(chosen, known)))
        for storage, candidate in parsed:
            otherwise = KEPT if is_kept else LEFT_OUT
            if candidate.message is None and chosen.message is not None:
                otherwise = ELSEWHERE
            self._note(batch, storage, message_id, candidate.failures, otherwise)
        twins = self._known.twins.get(message_id, ())
        if is_kept:
            self._keep_twins(batch, twins)
            return
        if message_id in self._known.released:  # also where they were left out of a storage that is gone by now
            batch.mended += ((row.source_id, row.owner_id) for row in twins)
        if chosen.message is not None:
            best = MessageCopy.of(chosen.message)
            if known is not None and not is_deleted:
                is_elsewhere = known.source_id not in self._usable_ids
                is_same = best.content_hash == known.content_hash and best.seq == known.seq
                if is_same and best.source_id == known.source_id and message_id not in self._known.released:
                    self._keep_twins(batch, twins)
                    return
                if is_elsewhere and newest_message([known, best]) == 0:
                    if is_same:
                        batch.moved[message_id] = best.source_id
                    return
            batch.messages.append(chosen.message)
        if known is not None or message_id in self._known.orphaned:  # its orphans may be gone by now
            self._replace(batch, batch.rewritten, message_id)
            if known is not None and chosen.message is not None and chosen.message.generation != known.generation:
                batch.superseded.append(message_id)
        self._add_parts(batch, copies[0].source_id, message_id, chosen)

    def _keep_twins(self, batch: Batch, twins: Iterable[DocumentRow]) -> None:
        """Leave in the ledger, from which looking at their message takes all, which of its parts were left out."""
        batch.failures += (replace(row, last_seen_at=self._started) for row in twins)

    def _add_orphans(self, batch: Batch, message_id: str, parsed: Sequence[tuple[Storage, ParsedMessage]]) -> None:
        """Add what is left of a message that no storage has: the parts that lie there still, or nothing."""
        is_known = message_id in self._known.messages
        if is_known and message_id not in self._known.deleted_messages:
            self._replace(batch, batch.gone_messages, message_id)
            batch.missing.append(message_id)
        if not parsed:
            # orphans do not tell their storage: only when all can be read, they are gone
            if message_id in self._known.orphaned and self._recorded() <= self._complete_ids:
                self._replace(batch, batch.gone_messages, message_id)
            self._forget_failures(batch, message_id)
            return
        for storage, candidate in parsed:
            self._note(batch, storage, message_id, candidate.failures, LEFT_OUT)
        if is_known or message_id in self._known.orphaned:
            self._replace(batch, batch.rewritten, message_id)
        best = best_parse([candidate for _, candidate in parsed])
        self._add_parts(batch, parsed[0][0].source_id, message_id, best)

    def _replace(self, batch: Batch, replaced: list[str], message_id: str) -> None:
        """Note that a batch rewrites a message, or that it is gone, and what the index has of it."""
        replaced.append(message_id)
        if message_id in self._known.held:
            batch.held_messages[message_id] = self._known.held[message_id]

    def _recorded(self) -> set[int]:
        """Number all storages that the index knows of."""
        with self._database.cursor() as con:  # while another thread writes
            return {source_id for (source_id,) in con.execute("SELECT source_id FROM sources").fetchall()}

    def _is_worse(self, chosen: ParsedMessage, known: MessageCopy) -> bool:
        """Tell whether something of a message is unreadable now, and parts are missing that could be read before.

        The version that the index has stays then until a good one comes, unless the message ended since. What could
        never be read makes no version worse.
        """
        assert chosen.message is not None, "an unreadable message is always worse"
        copy = MessageCopy.of(chosen.message)
        if copy.source_id != known.source_id or (copy.is_finished and not known.is_finished):
            return False
        if all(failure.is_partial for failure in chosen.failures):
            return False
        part_ids = [row.part_id for row in chosen.parts]
        with self._database.cursor() as con:  # while another thread writes
            row = con.execute(
                """
                SELECT EXISTS (
                    FROM parts
                    WHERE message_id = $message_id AND deleted_at IS NULL
                      AND part_id NOT IN (SELECT unnest($part_ids::VARCHAR[]))
                )
                """,
                {"message_id": chosen.message.message_id, "part_ids": part_ids},
            ).fetchone()
        return row is not None and bool(row[0])

    def _add_parts(self, batch: Batch, source_id: int, message_id: str, chosen: ParsedMessage) -> None:
        """Add the parts of a message to a batch, but for those whose id another message of the batch has."""
        owners = {row.part_id: batch.part_owners.setdefault(row.part_id, message_id) for row in chosen.parts}
        twins = {part_id: owner for part_id, owner in owners.items() if owner != message_id}
        batch.failures += (
            twin_failure(part_id, message_id, owner, source_id, self._started) for part_id, owner in twins.items()
        )
        batch.part_sources[message_id] = source_id
        batch.parts += (row for row in chosen.parts if row.part_id not in twins)
        batch.bodies += (row for row in chosen.bodies if row.part_id not in twins)
        batch.text_bytes += sum(row.size_bytes for row in chosen.parts)

    # --- what was looked at, and what could not be read

    def _is_postponed(self, stamp: int | None, storage: Storage, failures: Iterable[ParseFailure]) -> bool:
        """Tell whether a file cannot be read because it is being rewritten right now: 1.x writes in place."""
        is_live = self._may_postpone and stamp is None and storage.source.generation == Generation.JSON_TREE
        return is_live and any(not failure.is_partial and failure.size_bytes is not None for failure in failures)

    def _stamp(self, batch: Batch, kind: str, document_id: str, copies: Iterable[tuple[Storage, Document]]) -> None:
        """Note what a project or session looked like."""
        batch.looked_at(kind, document_id, self._usable_ids)
        batch.stamps += (
            StampRow(storage.source_id, kind, document_id, stored_stamp(document.stamp), None)
            for storage, document in copies
        )

    def _stamp_message(self, batch: Batch, message_id: str, copies: Iterable[FoundMessage]) -> None:
        """Note what a message looked like, and how many parts it has where these are documents of their own."""
        batch.looked_at("message", message_id, self._usable_ids)
        batch.stamps += (
            StampRow(
                copy.source_id,
                "message" if copy.has_message else "orphan",
                message_id,
                stored_stamp(copy.stamp),
                copy.parts,
            )
            for copy in copies
        )

    def _forget_failures(self, batch: Batch, owner_id: str) -> None:
        """Take the entries of a document that was looked at out of the ledger."""
        if owner_id in self._known.failed_owners:
            batch.mended += ((source_id, owner_id) for source_id in sorted(self._usable_ids))

    def _note(
        self, batch: Batch, storage: Storage, owner_id: str, failures: Iterable[ParseFailure], otherwise: str
    ) -> None:
        """Put failures into the ledger, in place of earlier ones of the same owner.

        Args:
            batch: Where they are written with.
            storage: Where the documents are.
            owner_id: The project, session or message that they belong to.
            failures: What could not be read, or not all of it.
            otherwise: What happens next to a document without a row.
        """
        self._forget_failures(batch, owner_id)
        for failure in failures:
            first = self._known.failures.get((storage.source_id, failure.key), self._started)
            batch.failures.append(ledger_row(storage, owner_id, failure, otherwise, first, self._started))


def listing_rows(storage: Storage, problems: Sequence[Document], now: EpochMs) -> list[DocumentRow]:
    """Describe what a storage holds and cannot list; it belongs to no document."""
    return [ledger_row(storage, "", unreadable(problem, problem.problem), LEFT_OUT, now, now) for problem in problems]


def ledger_row(
    storage: Storage, owner_id: str, failure: ParseFailure, otherwise: str, first_ms: EpochMs, now: EpochMs
) -> DocumentRow:
    """Describe something that could not be read, or only in part, and log it when it is new.

    Args:
        storage: Where it is.
        owner_id: The project, session or message that it belongs to; empty if to none.
        failure: What is wrong.
        otherwise: What happens next to a document without a row.
        first_ms: When it was first seen.
        now: When it was seen now.
    """
    if failure.is_partial:
        state, level, reason = "partial", logging.INFO, f"Read in part: {failure.reason}. {THE_REST}"
    else:
        state, level = "unreadable", logging.WARNING
        reason = f"The {failure.document_kind} {failure.reason}. {otherwise}"
    log.log(level, "%s: %s", printable(f"{storage.source.data_dir}: {failure.key}"), reason)
    return DocumentRow(
        source_id=storage.source_id,
        key=failure.key,
        owner_id=owner_id,
        document_kind=failure.document_kind,
        state=state,
        reason=reason,
        size_bytes=failure.size_bytes,
        first_seen_at=first_ms,
        last_seen_at=now,
    )


def _otherwise(known: KnownCopy | None) -> str:
    """Say what becomes of a project or session that cannot be read."""
    return LEFT_OUT if known is None or known.source_id is None or known.is_deleted else KEPT


def _keep_newest(rows: dict[str, ProjectOrSession], key: str, copies: Iterable[ProjectOrSession | None]) -> None:
    """Keep the copy of a project or session that comes first, of those that could be read."""
    for row in copies:
        other = rows.get(key)
        if row is not None and (
            other is None
            or is_newer(row, -1 if other.updated_at is None else other.updated_at, other.generation, other.content_hash)
        ):
            rows[key] = row


def _read_ahead(batches: Generator[Batch]) -> Iterator[Batch]:
    """Read the next batch in a thread of its own while one is written.

    Its errors are raised here; when the caller stops early, the thread ends before this returns.
    """
    with closing(batches), ThreadPoolExecutor(1, "reader") as reader:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield batch
