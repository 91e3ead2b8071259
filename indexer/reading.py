"""Messages read and parsed: the part of a look at documents that needs no index, so that other processes can do it.

One interpreter does one thing at a time: while the main process derives and writes, others read ahead.
"""

import logging
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar, cast

from indexer import processors
from indexer.arrow_tables import arrow_table
from indexer.documents import MessageDocuments
from indexer.exceptions import SourceUnusable
from indexer.exchanges import Message
from indexer.parsers import ParsedMessage, content_hash, parse_message
from indexer.resolve import best_parse
from indexer.rows import MessageRow, PartRow
from indexer.session_messages import parse_session_message
from indexer.sources import PlainSource, Source
from indexer.sources.json_tree import JsonTree
from indexer.sources.sqlite_v1 import SqliteV1
from indexer.sources.sqlite_v2 import SqliteV2

if TYPE_CHECKING:
    import pyarrow  # see rows.py

log = logging.getLogger(__name__)

MOST_PROCESSES = 3  # one process writes what they read: more would wait for it
CHUNKS_AHEAD = 2  # of each process; a chunk is read by one of them at once

# Message id to session id, as `Source.messages` takes them.
Ids = Mapping[str, str | None]
# Of messages that the index has: fingerprint and place among the rows of the third generation.
Versions = Mapping[str, tuple[int, int | None]]


@dataclass(frozen=True, slots=True)
class Place:
    """A storage that messages are read from.

    Attributes:
        source_id: Its number in the index.
        newer: Numbers of the newer storages of the same data folder.
        is_beside_newer: One of these is in use.
        held: Number of a storage that cannot be read right now to the documents that it held.
    """

    source_id: int
    newer: tuple[int, ...]
    is_beside_newer: bool
    held: Mapping[int, set[str]]

    def is_missing(self, document_id: str, holders: Collection[int]) -> bool:
        """Tell whether a document exists only in this older storage, beside a newer one that is in use.

        Args:
            document_id: Of a message or session.
            holders: Numbers of the storages that have it.
        """
        return self.is_beside_newer and not any(
            newer in holders or document_id in self.held.get(newer, ()) for newer in self.newer
        )


@dataclass(frozen=True, slots=True)
class FoundMessage:
    """A copy of a message, or of parts whose message does not exist.

    Attributes:
        source_id: Number of its storage.
        has_message: There is a message document, readable or not.
        seq: Its place among the rows of the third generation.
        stamp: What it looked like right before it was read; see `stamps.py`.
        parts: How many parts it has where these are documents of their own; else None.
        parsed: Its rows. None: it is the only copy, and the version that the index has.
    """

    source_id: int
    session_id: str | None
    has_message: bool
    seq: int | None
    stamp: int | None
    parts: int | None
    parsed: ParsedMessage | None


# Message id to its copies, newest generation first in each data folder.
FoundMessages = dict[str, list[FoundMessage]]


# What spend follows from: exchanges.Message, but for what only the index knows, and what the view `requests` reads.
MESSAGE_COLUMNS = [
    *(name for name in Message._fields if name != "deleted_at"),
    *("step_count", "reasoning_in_output_tokens"),
]
PART_COLUMNS = [
    *("part_id", "message_id", "part_type", "cost_recorded_usd"),
    *("input_tokens", "output_tokens", "reasoning_tokens", "cache_read_tokens", "cache_write_tokens"),
    "reasoning_in_output_tokens",
]


@dataclass(frozen=True, slots=True)
class Usage:
    """What some messages used.

    Attributes:
        messages: Of their rows `MESSAGE_COLUMNS`.
        parts: Of the rows of their parts that may record usage, `PART_COLUMNS`.
    """

    messages: "pyarrow.Table"
    parts: "pyarrow.Table"


def chunks_of(
    message_ids: Iterable[str], session_of: Callable[[str], str | None], rank: Callable[[str], int], size: int
) -> Iterator[Ids]:
    """Cut messages into pieces, session by session; those of which no session is known come last.

    Args:
        message_ids: The messages.
        session_of: Returns the session of a message.
        rank: Returns what sessions are sorted by, lowest first; equal ones by id.
        size: Messages in a piece at most.
    """
    of_session: dict[str, list[str]] = {}  # to sort pairs of all messages at once would take 40 MB of 260,000
    for message_id in message_ids:
        of_session.setdefault(session_of(message_id) or "", []).append(message_id)
    sessions = sorted(of_session, key=lambda session_id: (not session_id, rank(session_id), session_id))
    ordered = (message_id for session_id in sessions for message_id in sorted(of_session[session_id]))
    while chunk := {message_id: session_of(message_id) for message_id in islice(ordered, size)}:
        yield chunk


def parse_copies(read: Iterable[tuple[Place, MessageDocuments]], versions: Versions) -> FoundMessages:
    """Parse every copy of some messages.

    Args:
        read: Their documents in each storage that has them, newest generation first in each data folder.
        versions: What the index has; a message that is left out here is parsed in any case.
    """
    copies: dict[str, list[tuple[Place, MessageDocuments]]] = {}
    for place, documents in read:
        copies.setdefault(documents.message_id, []).append((place, documents))
    return {message_id: _parse(found, versions.get(message_id)) for message_id, found in copies.items()}


def _parse(
    copies: Sequence[tuple[Place, MessageDocuments]], version: tuple[int, int | None] | None
) -> list[FoundMessage]:
    """Parse the copies of one message."""
    # parts alone are no message
    holders = {place.source_id for place, documents in copies if documents.message is not None}
    found = []
    for place, documents in copies:
        is_missing = place.is_missing(documents.message_id, holders)
        is_known = (
            version is not None
            and len(copies) == 1
            and documents.message is not None
            and version == (content_hash(documents, is_missing_in_newer=is_missing), documents.seq)
        )
        parse = parse_message if documents.row_type is None else parse_session_message
        found.append(
            FoundMessage(
                source_id=place.source_id,
                session_id=documents.session_id,
                has_message=documents.message is not None,
                seq=documents.seq,
                stamp=documents.stamp,
                parts=len(documents.parts) if documents.row_type is None else None,
                parsed=None if is_known else parse(documents, is_missing_in_newer=is_missing),
            )
        )
    return found


# --- other processes


# A source of another type learns something while it reads, which no other process would hear of.
_PLAIN = (JsonTree, SqliteV1, SqliteV2)


def process_count(sources: Iterable[Source]) -> int:
    """Tell how many processes may read some sources: as many as the main one leaves processors for, or none."""
    if not all(type(source) in _PLAIN for source in sources):
        return 0
    return min(processors.usable() - 1, MOST_PROCESSES)


_Found = TypeVar("_Found")


class ReadingProcesses:
    """Processes that read and parse messages, a few chunks ahead. Use it as a context manager."""

    def __init__(self, sources: Iterable[Source], places: Iterable[Place], count: int) -> None:
        """Describe the processes; each starts when there is something to read.

        Args:
            sources: Every storage, newest generation first in each data folder; such as `process_count` is for.
            places: Of each.
            count: How many processes.
        """
        from concurrent.futures import ProcessPoolExecutor  # a start with nothing to read is quicker without
        from multiprocessing import get_context

        readers = [
            (
                cast("type[PlainSource]", type(source)),
                (source.data_dir,) if isinstance(source, JsonTree) else (source.data_dir, source.path),
            )
            for source in sources
        ]
        # spawned: a copy of this process would hold the locks of its threads as they are at that moment
        self._pool = ProcessPoolExecutor(count, get_context("spawn"), _begin, (readers, list(places)))
        self._most_waiting = count * CHUNKS_AHEAD

    def __enter__(self) -> "ReadingProcesses":
        """Return the processes."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes."""
        self.end()

    def end(self) -> None:
        """End the processes, each after the chunk that it reads."""
        self._pool.shutdown(cancel_futures=True)

    def each(self, chunks: Iterable[tuple[Ids, Versions]]) -> Iterator[tuple[Ids, FoundMessages | None]]:
        """Read chunks of messages, and hand them over in their order.

        Args:
            chunks: Messages, and what the index has of them.

        Yields:
            The messages, and what was found of them. None: the caller has to read them, and will see why.
        """
        return self._outcomes((ids, partial(_read, ids, versions)) for ids, versions in chunks)

    def usages(self, chunks: Iterable[Ids]) -> Iterator[tuple[Ids, Usage | None]]:
        """Read what chunks of messages used, and hand it over in their order.

        Args:
            chunks: Messages.

        Yields:
            The messages, and what they used. None: they could not be read.
        """
        return self._outcomes((ids, partial(_read_usage, ids)) for ids in chunks)

    def _outcomes(self, tasks: Iterator[tuple[Ids, Callable[[], _Found]]]) -> Iterator[tuple[Ids, _Found | None]]:
        """Do what is to be done with chunks of messages, and hand it over in their order.

        A few are begun at once, and one more for each that is handed over.
        """
        begun = deque((ids, self._submit(task)) for ids, task in islice(tasks, self._most_waiting))

        def outcomes() -> Iterator[tuple[Ids, _Found | None]]:
            """Wait for one after the other."""
            while begun:
                found = _outcome(*begun.popleft())
                begun.extend((ids, self._submit(task)) for ids, task in islice(tasks, 1))
                yield found

        return outcomes()

    def _submit(self, task: Callable[[], _Found]) -> Future[_Found] | None:
        """Let a process do something; None if there is no process any more."""
        try:
            return self._pool.submit(task)
        except BrokenExecutor:
            return None


def _outcome(ids: Ids, future: Future[_Found] | None) -> tuple[Ids, _Found | None]:
    """Wait for what a process found; None if it could not read."""
    try:
        return ids, future.result() if future else None
    except SourceUnusable as error:
        log.debug("read again in the main process: %s", error)
    except BrokenExecutor as error:  # somebody killed it, or it got no memory
        log.warning("a process that reads ahead ended (%s); the main process reads by itself", error)
    return ids, None


_SOURCES: list[tuple[Place, PlainSource]] = []  # of a process that reads


def _begin(readers: Iterable[tuple[Callable[..., PlainSource], tuple[Path, ...]]], places: Iterable[Place]) -> None:
    """Prepare a process that reads."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the main process ends the others
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    _SOURCES.extend((place, reader(*paths)) for place, (reader, paths) in zip(places, readers, strict=True))


def _end_with_parent() -> None:
    """End this process with its parent, whatever ends that: it would wait for work for ever."""
    from multiprocessing import parent_process

    parent = parent_process()
    assert parent is not None, "it was spawned"
    parent.join()
    os._exit(1)


def _read(ids: Ids, versions: Versions) -> FoundMessages:
    """Read and parse a chunk in a process of its own."""
    return parse_copies(_documents(ids), versions)


def _documents(ids: Ids) -> Iterator[tuple[Place, MessageDocuments]]:
    """Read messages in every storage that has them."""
    return ((place, each) for place, source in _SOURCES for each in source.messages(ids, place.source_id))


def _read_usage(ids: Ids) -> Usage:
    """Read what a chunk of messages used, in a process of its own."""
    read = [(place, each) for place, source in _SOURCES for each in source.usage(ids, place.source_id)]
    copies = Counter(documents.message_id for _, documents in read)
    # which of several copies counts is told by all of their parts
    several = {message_id: ids[message_id] for message_id, count in copies.items() if count > 1}
    alone = [(place, documents) for place, documents in read if documents.message_id not in several]
    found = parse_copies([*alone, *_documents(several)], {})
    best = [best_parse([copy.parsed for copy in every if copy.parsed]) for every in found.values()]
    # parts without their message are orphans, which count nothing
    counted = [(parsed.message, parsed.parts) for parsed in best if parsed.message is not None]
    return Usage(
        arrow_table(MessageRow, [message for message, _ in counted]).select(MESSAGE_COLUMNS),
        arrow_table(PartRow, [part for _, parts in counted for part in parts]).select(PART_COLUMNS),
    )
