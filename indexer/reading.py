"""Messages read and parsed: the part of a look at documents that needs no index, so that other processes can do it.

One interpreter does one thing at a time: while the main process derives and writes, others read ahead.
"""

import logging
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from types import TracebackType

from indexer.documents import MessageDocuments
from indexer.exceptions import SourceUnusable
from indexer.parsers import ParsedMessage, content_hash, parse_message
from indexer.session_messages import parse_session_message
from indexer.sources import Source
from indexer.sources.json_tree import JsonTree
from indexer.sources.sqlite_v1 import SqliteV1
from indexer.sources.sqlite_v2 import SqliteV2

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
            len(copies) == 1
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
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(processors - 1, MOST_PROCESSES)


class ReadingProcesses:
    """Processes that read and parse messages, a few chunks ahead. Use it as a context manager."""

    def __init__(self, sources: Iterable[Source], places: Iterable[Place], count: int) -> None:
        """Describe the processes; each starts when there is something to read.

        Args:
            sources: Every storage, newest generation first in each data folder.
            places: Of each.
            count: How many processes.
        """
        readers = [
            (type(source), (source.data_dir,) if isinstance(source, JsonTree) else (source.data_dir, source.path))
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
        """End the processes, each after the chunk that it reads."""
        self._pool.shutdown(cancel_futures=True)

    def each(self, chunks: Iterable[tuple[Ids, Versions]]) -> Iterator[tuple[Ids, FoundMessages | None]]:
        """Read chunks of messages, and hand them over in their order.

        Args:
            chunks: Messages, and what the index has of them.

        Yields:
            The messages, and what was found of them. None: the caller has to read them, and will see why.
        """
        waiting: deque[tuple[Ids, Future[FoundMessages] | None]] = deque()
        for ids, versions in chunks:
            waiting.append((ids, self._submit(ids, versions)))
            if len(waiting) > self._most_waiting:
                yield _outcome(*waiting.popleft())
        while waiting:
            yield _outcome(*waiting.popleft())

    def _submit(self, ids: Ids, versions: Versions) -> "Future[FoundMessages] | None":
        """Let a process read a chunk; None if there is none any more."""
        try:
            return self._pool.submit(_read, ids, versions)
        except BrokenProcessPool:
            return None


def _outcome(ids: Ids, future: "Future[FoundMessages] | None") -> tuple[Ids, FoundMessages | None]:
    """Wait for what a process found; None if it could not read."""
    try:
        return ids, future.result() if future else None
    except SourceUnusable as error:
        log.debug("read again in the main process: %s", error)
    except BrokenProcessPool as error:  # somebody killed it, or it got no memory
        log.warning("a process that reads ahead ended (%s); the main process reads by itself", error)
    return ids, None


_SOURCES: list[tuple[Place, Source]] = []  # of a process that reads


def _begin(readers: Iterable[tuple[Callable[..., Source], tuple[Path, ...]]], places: Iterable[Place]) -> None:
    """Prepare a process that reads."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the main process ends the others
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    _SOURCES.extend((place, reader(*paths)) for place, (reader, paths) in zip(places, readers, strict=True))


def _end_with_parent() -> None:
    """End this process with its parent, whatever ends that: it would wait for work for ever."""
    parent = parent_process()
    assert parent is not None, "it was spawned"
    parent.join()
    os._exit(1)


def _read(ids: Ids, versions: Versions) -> FoundMessages:
    """Read and parse a chunk in a process of its own."""
    read = ((place, documents) for place, source in _SOURCES for documents in source.messages(ids, place.source_id))
    return parse_copies(read, versions)
