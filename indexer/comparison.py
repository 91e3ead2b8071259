"""Whether the index holds what OpenCode's storages hold: by ids, and for some messages by their content."""

import logging
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import duckdb

from indexer.documents import MessageDocuments
from indexer.exceptions import SourceUnusable
from indexer.json_values import clean
from indexer.parsers import PARSER_VERSION, content_hash, parse_message
from indexer.resolve import best_parse
from indexer.session_messages import parse_session_message
from indexer.sources import Inventory, Source

log = logging.getLogger(__name__)

SAMPLE = 500
_MESSAGES_PER_READ = 100
_VERSION_BITS = 0xFF  # of a content hash: the version of the parser


@dataclass(slots=True)
class Differences:
    """Ids by what is wrong with them in the index. All empty: it holds what the storages hold.

    Attributes:
        missing: Sessions and messages that it lacks, or has as deleted.
        gone: Sessions and messages that no storage has any more.
        changed: Messages with another content.
        outdated: Messages that an older version of the program read.
    """

    missing: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    outdated: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        """Tell whether there is any."""
        return len(self) > 0

    def __len__(self) -> int:
        """Count them."""
        return len(self.missing) + len(self.gone) + len(self.changed) + len(self.outdated)

    def __and__(self, other: "Differences") -> "Differences":
        """Keep what both name: what did not go away by itself in between."""
        return Differences(
            self.missing & other.missing,
            self.gone & other.gone,
            self.changed & other.changed,
            self.outdated & other.outdated,
        )


@dataclass(slots=True)
class Comparison:
    """What a comparison found.

    Attributes:
        unusable: Why storages could not be read.
        absent: Storages of the same folders that the index has rows from and that were not found.
        sessions: Distinct ones in the storages.
        messages: Distinct ones in the storages.
        read: Messages whose content was compared.
    """

    differences: Differences
    unusable: list[str]
    absent: list[str]
    sessions: int
    messages: int
    read: int


@dataclass(slots=True)
class _Listed:
    """A storage that can be read.

    Attributes:
        source_id: Its number in the index; None if the index does not know it.
        newer: The newer ones of its folder that hold any session; None if one of them cannot be read.
    """

    source: Source
    source_id: int | None
    inventory: Inventory
    newer: list[Inventory] | None = None


@dataclass(frozen=True, slots=True)
class _Indexed:
    """What the index holds, by id.

    Attributes:
        sources: Kind and path to number, of the folders that are compared.
        sessions: Number of the storage of every living session that has a document.
        messages: Number of the storage and content hash of every living message.
        failed: Owners of documents that could not be read, or only in part: their versions may differ.
    """

    sources: dict[tuple[str, str], int]
    sessions: dict[str, int]
    messages: dict[str, tuple[int, int]]
    failed: set[str]


def compare(
    con: duckdb.DuckDBPyConnection, sources: Sequence[Source], *, sample: int | Collection[str] | None = SAMPLE
) -> Comparison:
    """Compare the index with storages. Only ids are listed; documents are read for the sample alone.

    Args:
        con: The index, open for reading.
        sources: The storages of the folders to compare, closed afterwards.
        sample: Number of messages whose content is compared, picked at random, or their ids. None: all.

    Returns:
        What was found.
    """
    indexed = _read_indexed(con, {clean(str(source.data_dir)) for source in sources})
    unusable: list[str] = []
    try:
        listed = _list(sources, indexed, unusable)
        differences = Differences()
        _compare_ids(differences, listed, indexed)
        messages = {message_id for each in listed for message_id in each.inventory.messages}
        picked = _pick(messages - differences.missing - indexed.failed, sample)
        read = _compare_content(differences, picked, listed, indexed, unusable)
    finally:
        for source in sources:
            source.close()
    found = {_identity(source) for source in sources}
    return Comparison(
        differences,
        unusable,
        absent=[path for (kind, path) in indexed.sources if (kind, path) not in found],
        sessions=len({session_id for each in listed for session_id in each.inventory.sessions}),
        messages=len(messages),
        read=read,
    )


def _read_indexed(con: duckdb.DuckDBPyConnection, folders: set[str]) -> _Indexed:
    """Read what the index holds."""
    sources = con.execute("SELECT kind, path, source_id, data_dir FROM sources ORDER BY source_id").fetchall()
    sessions = con.execute(
        "SELECT session_id, source_id FROM sessions WHERE NOT is_placeholder AND deleted_at IS NULL"
    ).fetchall()
    messages = con.execute("SELECT message_id, source_id, content_hash FROM messages WHERE deleted_at IS NULL")
    known = {message_id: (source_id, digest) for message_id, source_id, digest in messages.fetchall()}
    failed = con.execute("SELECT DISTINCT owner_id FROM documents").fetchall()
    return _Indexed(
        {(kind, path): source_id for kind, path, source_id, data_dir in sources if data_dir in folders},
        dict(sessions),
        known,
        {owner_id for (owner_id,) in failed},
    )


def _list(sources: Sequence[Source], indexed: _Indexed, unusable: list[str]) -> list[_Listed]:
    """List what the storages hold; those that cannot be read say why instead."""
    listed = []
    lost: list[Source] = []
    for source in sources:
        try:
            listed.append(_Listed(source, indexed.sources.get(_identity(source)), source.inventory()))
        except SourceUnusable as error:
            unusable.append(str(error))
            lost.append(source)
    for each in listed:
        if not any(_is_newer(source, each.source) for source in lost):
            each.newer = [
                other.inventory for other in listed if _is_newer(other.source, each.source) and other.inventory.sessions
            ]
    return listed


def _compare_ids(differences: Differences, listed: Sequence[_Listed], indexed: _Indexed) -> None:
    """Compare which sessions and messages there are."""
    messages = {message_id for each in listed for message_id in each.inventory.messages}
    sessions = {session_id for each in listed for session_id in each.inventory.sessions}
    complete = {each.source_id for each in listed if each.inventory.is_complete}
    differences.missing = (messages - indexed.messages.keys()) | (sessions - indexed.sessions.keys())
    differences.missing -= indexed.failed
    differences.gone = {
        message_id
        for message_id, (source_id, _) in indexed.messages.items()
        if source_id in complete and message_id not in messages
    }
    differences.gone |= {
        session_id
        for session_id, source_id in indexed.sessions.items()
        if source_id in complete and session_id not in sessions
    }


def _pick(message_ids: set[str], sample: int | Collection[str] | None) -> list[str]:
    """Choose the messages to read; a number of others at every call."""
    if isinstance(sample, Collection):
        return sorted(message_ids.intersection(sample))
    ordered = sorted(message_ids)
    return ordered if sample is None or sample >= len(ordered) else sorted(random.sample(ordered, sample))


def _compare_content(
    differences: Differences,
    message_ids: Sequence[str],
    listed: Sequence[_Listed],
    indexed: _Indexed,
    unusable: list[str],
) -> int:
    """Read messages again and compare what they are made of; return how many were compared."""
    compared = 0
    readable = {each.source_id for each in listed if each.newer is not None}
    for start in range(0, len(message_ids), _MESSAGES_PER_READ):
        chunk = [
            message_id
            for message_id in message_ids[start : start + _MESSAGES_PER_READ]
            if indexed.messages[message_id][0] in readable
        ]
        try:
            digests = dict(_digests(chunk, listed))
        except SourceUnusable as error:
            unusable.append(str(error))
            break
        compared += len(digests)
        for message_id, digest in digests.items():
            known = indexed.messages[message_id][1]
            if known == digest:
                continue
            is_outdated = known & _VERSION_BITS != PARSER_VERSION
            (differences.outdated if is_outdated else differences.changed).add(message_id)
    return compared


def _digests(message_ids: Sequence[str], listed: Sequence[_Listed]) -> Iterator[tuple[str, int]]:
    """Read some messages in every storage, and fingerprint the copy of each that counts."""
    copies: dict[str, list[tuple[_Listed, MessageDocuments]]] = {}
    for each in listed:
        messages = each.inventory.messages
        wanted = {message_id: messages[message_id] for message_id in message_ids if message_id in messages}
        for documents in each.source.messages(wanted, each.source_id or 0) if wanted else ():
            copies.setdefault(documents.message_id, []).append((each, documents))
    for message_id, found in copies.items():
        if len(found) == 1:
            each, documents = found[0]
            yield message_id, content_hash(documents, is_missing_in_newer=_is_missing(each, message_id))
            continue
        parsed = [
            (parse_session_message if documents.row_type is not None else parse_message)(
                documents, is_missing_in_newer=_is_missing(each, message_id)
            )
            for each, documents in found
        ]
        message = best_parse(parsed).message
        if message is not None:
            yield message_id, message.content_hash


def _is_missing(each: _Listed, message_id: str) -> bool:
    """Tell whether a message exists only in this older storage, beside a newer one."""
    return bool(each.newer) and not any(message_id in newer.messages for newer in each.newer or ())


def _is_newer(source: Source, other: Source) -> bool:
    """Tell whether a storage is a newer one of the same folder."""
    return source.data_dir == other.data_dir and source.generation > other.generation


def _identity(source: Source) -> tuple[str, str]:
    """Name a storage as the index does: kind and path."""
    return source.kind, clean(str(source.path))
