"""Compare everything that the storages hold with the index, without reading any content.

It finds what is new, gone or looks different (`stamps.py`); what it names is looked at by `update.py` like any change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from indexer import parsers
from indexer.changes import Changes
from indexer.database import Database
from indexer.documents import Document
from indexer.json_values import clean
from indexer.known import stored_stamp
from indexer.sources import Inventory
from indexer.sources.json_tree import JsonTree
from indexer.storages import Storage, take_inventory

Stamps = dict[tuple[int, str], dict[str, int | None]]

_HOW = " read by "  # between what a file looked like and how it was read


@dataclass(slots=True)
class Survey:
    """What a comparison found.

    Attributes:
        changes: What to look at.
        problems: What cannot be listed, by number of the storage.
        file_stamps: What changes with every write to a storage, by its number; None where nothing tells.
        sessions: In all storages that could be read.
        messages: In all storages that could be read.
    """

    changes: Changes = field(default_factory=Changes)
    problems: dict[int, list[Document]] = field(default_factory=dict)
    file_stamps: dict[int, str | None] = field(default_factory=dict)
    sessions: int = 0
    messages: int = 0


@dataclass(frozen=True, slots=True)
class Indexed:
    """What the index holds, by id.

    Attributes:
        stamps: By number of the storage and kind of document.
        sessions: Living sessions: number of their storage, and whether they are flagged as missing in a newer one.
        messages: The same of messages.
        orphans: Messages of which only parts are there.
        failed: Kind and id of what could not be read, or only in part.
    """

    stamps: Stamps
    file_stamps: dict[int, str]
    projects: set[str]
    sessions: dict[str, tuple[int, bool]]
    messages: dict[str, tuple[int, bool]]
    orphans: set[str]
    failed: list[tuple[str, str]]


def survey(indexed: Indexed, storages: Sequence[Storage], *, is_trusting: bool, with_failed: bool) -> Survey:
    """Find what to look at. It uses no database, so it may run in a thread of its own.

    Args:
        indexed: What the index holds.
        storages: What to list. One that cannot be read says so from then on, and nothing of it counts as gone.
        is_trusting: Take rows of a database with the same update times for unchanged. Else they are read again unless
            the whole file is unchanged: whoever edits a database by hand need not touch these.
        with_failed: Name what could not be read before, too.

    Returns:
        What was found.
    """
    found = Survey()
    inventories: list[tuple[Storage, Inventory]] = []
    for storage in storages:
        found.file_stamps[storage.source_id] = storage.source.file_stamp()  # before it is listed: later writes differ
        with_stamps = any((storage.source_id, kind) in indexed.stamps for kind in ("message", "orphan", "session"))
        inventory = take_inventory(storage, with_stamps=with_stamps)
        if storage.problem:
            continue
        if not (is_trusting or storage.source.kind == JsonTree.kind or _is_same_file(storage, found, indexed)):
            inventory.stamps["message"].clear()
        inventories.append((storage, inventory))
        found.problems[storage.source_id] = inventory.problems
    for storage, inventory in inventories:
        _compare(found.changes, storage, inventory, indexed)
    _add_gone(found.changes, inventories, indexed)
    _add_wrong_flags(found.changes, inventories, indexed)
    if with_failed:
        _add_failed(found.changes, indexed.failed, inventories)
    _name_folders(found.changes, inventories)
    found.sessions = len({session_id for _, inventory in inventories for session_id in inventory.sessions})
    found.messages = len({message_id for _, inventory in inventories for message_id in inventory.messages})
    return found


def held_unwritten(database: Database, storages: Sequence[Storage]) -> tuple[int, int] | None:
    """Tell that no storage was written since everything in it was read, so that nothing needs to be compared.

    To list 150,000 rows, and what the index has of them, took most of the time of a start.

    Args:
        database: The index.
        storages: All of them.

    Returns:
        The number of sessions and messages that the index holds of them. None if a storage may have been written, or
        was read by another version of the parser, with other settings or beside other storages; also if a document
        could not be read, or only in part, as every start tries those again.
    """
    if not database.exclusion.is_empty:  # what is left out is told by documents
        return None
    stamps = {storage.source_id: storage.source.file_stamp() for storage in storages}
    if not stamps or None in stamps.values() or _complete(database, storages) != noted_stamps(database, stamps):
        return None
    return database.con.execute(
        """
        SELECT (SELECT count(*) FROM sessions
                WHERE NOT is_placeholder AND deleted_at IS NULL AND source_id IN (SELECT unnest($ids::INTEGER[]))),
               (SELECT count(*) FROM messages
                WHERE deleted_at IS NULL AND source_id IN (SELECT unnest($ids::INTEGER[])))
        WHERE NOT EXISTS (FROM documents)
        """,
        {"ids": list(stamps)},
    ).fetchone()


def noted_stamps(database: Database, stamps: Mapping[int, str | None]) -> dict[int, str | None]:
    """Return what the index notes of storages that were read: their files, and how they were read.

    Args:
        database: The index.
        stamps: Of all storages that were read together, by number.
    """
    how = blake2b(repr((parsers.PARSER_VERSION, database.exclusion.rule, sorted(stamps))).encode(), digest_size=8)
    return {
        source_id: None if stamp is None else f"{stamp}{_HOW}{how.hexdigest()}" for source_id, stamp in stamps.items()
    }


def _complete(database: Database, storages: Sequence[Storage]) -> dict[int, str | None]:
    """Return what the index notes of all storages in some folders; None of one that could not be read."""
    rows = database.con.execute(
        """
        SELECT source_id, CASE WHEN state <> 'unreadable' THEN file_stamp END FROM sources
        WHERE data_dir IN (SELECT unnest($folders::VARCHAR[]))
        """,
        {"folders": [clean(str(storage.source.data_dir)) for storage in storages]},
    ).fetchall()
    return dict(rows)


def failed_documents(database: Database) -> Changes:
    """Name everything that could not be read, or only in part."""
    changes = Changes()
    _add_failed(changes, _failed(database))
    return changes


def _failed(database: Database) -> list[tuple[str, str]]:
    """Return kind and id of everything that could not be read, or only in part."""
    return database.con.execute(
        "SELECT DISTINCT document_kind, owner_id FROM documents WHERE owner_id <> ''"
    ).fetchall()


def read_indexed(database: Database) -> Indexed:
    """Read what the index holds."""
    con = database.con
    stamps: Stamps = {}
    for source_id, kind, document_id, stamp in con.execute(
        "SELECT source_id, document_kind, document_id, stamp FROM read_stamps"
    ).fetchall():
        stamps.setdefault((source_id, kind), {})[document_id] = stamp
    projects = con.execute("SELECT project_id FROM projects WHERE source_id IS NOT NULL AND deleted_at IS NULL")
    project_ids = {project_id for (project_id,) in projects.fetchall()}
    sessions = con.execute(
        "SELECT session_id, source_id, is_missing_in_newer FROM sessions "
        "WHERE NOT is_placeholder AND deleted_at IS NULL"
    ).fetchall()
    messages = con.execute(
        "SELECT message_id, source_id, is_missing_in_newer FROM messages WHERE deleted_at IS NULL"
    ).fetchall()
    orphans = con.execute("SELECT DISTINCT message_id FROM parts WHERE is_orphan AND deleted_at IS NULL").fetchall()
    files = con.execute("SELECT source_id, file_stamp FROM sources WHERE file_stamp IS NOT NULL").fetchall()
    return Indexed(
        stamps=stamps,
        file_stamps=dict(files),
        projects=project_ids,
        sessions={found: (source_id, is_missing) for found, source_id, is_missing in sessions},
        messages={found: (source_id, is_missing) for found, source_id, is_missing in messages},
        orphans={found for (found,) in orphans},
        failed=_failed(database),
    )


def _is_same_file(storage: Storage, found: Survey, indexed: Indexed) -> bool:
    """Tell whether a database file was not written since the last complete pass."""
    stamp = found.file_stamps[storage.source_id]
    return stamp is not None and stamp == indexed.file_stamps.get(storage.source_id, "").partition(_HOW)[0]


def _compare(changes: Changes, storage: Storage, inventory: Inventory, indexed: Indexed) -> None:
    """Name what is new in a storage, looks different, or is not there any more."""
    of_kind = {
        kind: indexed.stamps.get((storage.source_id, kind), {}) for kind in ("project", "session", "message", "orphan")
    }
    for kind, listed, named in (
        ("project", inventory.projects, changes.projects),
        ("session", inventory.sessions, changes.sessions),
    ):
        stamps = inventory.stamps[kind]
        named |= {found for found in listed if _is_changed(of_kind[kind].get(found), stamps.get(found))}
        if inventory.is_complete:
            named |= of_kind[kind].keys() - set(listed)
    stamps = inventory.stamps["message"]
    for message_id, session_id in inventory.messages.items():
        if _is_changed(of_kind["message"].get(message_id), stamps.get(message_id)):
            changes.messages[message_id] = session_id
    orphans = set(inventory.orphans)
    for message_id in inventory.orphans:
        if _is_changed(of_kind["orphan"].get(message_id), stamps.get(message_id)):
            changes.messages.setdefault(message_id, "")
    if inventory.is_complete:
        for message_id in (of_kind["message"].keys() - inventory.messages.keys()) | (
            of_kind["orphan"].keys() - orphans
        ):
            changes.messages.setdefault(message_id, None)


def _is_changed(stored: int | None, stamp: int | None) -> bool:
    """Tell whether a document has to be looked at."""
    return stored is None or stored_stamp(stamp) != stored


def _add_gone(changes: Changes, inventories: Sequence[tuple[Storage, Inventory]], indexed: Indexed) -> None:
    """Name what the index holds and no storage lists: whether it is gone is told when it is looked at."""
    changes.projects |= indexed.projects.difference(*(inventory.projects for _, inventory in inventories))
    changes.sessions |= indexed.sessions.keys() - {
        session_id for _, inventory in inventories for session_id in inventory.sessions
    }
    listed: set[str] = set().union(*(inventory.messages for _, inventory in inventories))
    for message_id in indexed.messages.keys() - listed:
        changes.messages.setdefault(message_id, None)
    for message_id in indexed.orphans.difference(listed, *(inventory.orphans for _, inventory in inventories)):
        changes.messages.setdefault(message_id, None)


def _add_wrong_flags(changes: Changes, inventories: Sequence[tuple[Storage, Inventory]], indexed: Indexed) -> None:
    """Name what should be flagged as missing in a newer storage and is not, or the other way round."""
    for storage, inventory in inventories:
        newer = [other for found, other in inventories if found in storage.newer]
        if len(newer) < len(storage.newer):
            continue  # one that cannot be read right now changes no flags
        newer_sessions = {session_id for other in newer for session_id in other.sessions}
        is_beside = storage.is_beside_newer
        for session_id in inventory.sessions:
            is_missing = is_beside and session_id not in newer_sessions
            if indexed.sessions.get(session_id) == (storage.source_id, not is_missing):
                changes.sessions.add(session_id)
        for message_id, session_id in inventory.messages.items():
            is_missing = is_beside and not any(message_id in other.messages for other in newer)
            if indexed.messages.get(message_id) == (storage.source_id, not is_missing):
                changes.messages[message_id] = session_id


def _name_folders(changes: Changes, inventories: Sequence[tuple[Storage, Inventory]]) -> None:
    """Name the session in which a tree has a message, whatever a database says: it alone needs that to find it."""
    for storage, inventory in inventories:
        if storage.source.kind == JsonTree.kind:
            for message_id in changes.messages.keys() & inventory.messages.keys():
                changes.messages[message_id] = inventory.messages[message_id]


def _add_failed(
    changes: Changes, failed: Sequence[tuple[str, str]], inventories: Sequence[tuple[Storage, Inventory]] = ()
) -> None:
    """Name what could not be read, or only in part."""
    for kind, owner_id in failed:
        if kind == "project":
            changes.projects.add(owner_id)
        elif kind == "session":
            changes.sessions.add(owner_id)
        else:
            listed = [inventory.messages[owner_id] for _, inventory in inventories if owner_id in inventory.messages]
            changes.add(Changes(messages={owner_id: min(listed, default=None)}))
