"""First generation: `storage/{project,session,message,part}/`, one JSON file a row (OpenCode before 1.2)."""

import os
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from indexer import stamps
from indexer.documents import Document, Generation, MessageDocuments
from indexer.exceptions import SourceUnusable
from indexer.json_values import clean
from indexer.sources import NEXT, USAGE_MARK, Inventory

SUFFIX = ".json"
FEW_MESSAGES = 10
# Several threads read together where one would mostly wait: for a disk, or after every call to the system until another
# thread, which computes, makes room: 5 ms each time, and a file needs four calls. Of files in memory one thread of a
# process that does nothing else reads four times as many as four, which wait for each other.
READERS = 4
_WAITED_S = 0.02  # a process that others push aside for a moment does not wait for a disk
_WAITS = 3.0  # times the processor time that reading took

_TO_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe would wait for its writer

_Read = Callable[[str, str | None], MessageDocuments | None]  # of a message and its session


class JsonTree:
    """Reader of one JSON tree. Path components are authoritative for ids; nothing but the four folders is read."""

    kind = "json_tree"
    generation = Generation.JSON_TREE

    def __init__(self, data_dir: Path) -> None:
        """Point at a data folder; nothing is opened yet."""
        self.data_dir = data_dir
        self.path = data_dir / "storage"
        self._root = str(self.path)
        self._key_start = len(os.path.join(data_dir, ""))

    @staticmethod
    def exists(data_dir: Path) -> bool:
        """Tell whether the folder holds a JSON tree. `storage/` alone does not: newer clients have one, too.

        A tree that cannot be listed exists: its reader says what is wrong with it.
        """
        folders = [data_dir / "storage" / name for name in ("session", "message")]
        return any(_may_hold_documents(folder, depth=2) for folder in folders)

    def inventory(self, *, with_stamps: bool = False) -> Inventory:
        """List the files by id. Only folders are read, no file is opened."""
        self._require()
        found = Inventory()
        found.projects = self._stamped_files(found, "project", with_stamps)
        found.sessions = [
            session_id
            for project_id, _ in self._folders(found, "session")
            for session_id in self._stamped_files(found, "session", with_stamps, project_id)
        ]
        for session_id, _ in self._folders(found, "message"):
            self._list_messages(found, session_id, with_stamps)
        found.orphans = [name for name, _ in self._folders(found, "part") if name not in found.messages]
        if with_stamps:
            for message_id in found.messages:
                self._add_part_stamps(found, message_id)
            # a deleted session leaves thousands of empty folders
            found.orphans = [name for name in found.orphans if self._add_part_stamps(found, name)]
        if not found.is_complete and not (found.sessions or found.messages):
            problem = found.problems[0]
            raise SourceUnusable(
                f"Nothing in {self.path} can be listed: {problem.key}: the {problem.kind} {problem.problem}. {NEXT}"
            )
        return found

    def messages_of(self, session_ids: Collection[str]) -> Inventory:
        """List the message files of some sessions with their stamps."""
        self._require()
        found = Inventory()
        for session_id in session_ids:
            self._list_messages(found, session_id, with_stamps=True)
        for message_id in found.messages:
            self._add_part_stamps(found, message_id)
        return found

    def renewed(self, session_id: str, doubtful: Collection[str]) -> None:
        """Only a list of the files tells which changed."""

    def projects(self, ids: Collection[str] | None = None) -> Iterator[Document]:
        """Read project files."""
        self._require()
        if ids is None:
            ids = [project_id for project_id, _ in self._files(Inventory(), "project")]
        for project_id in ids:
            if document := self._read("project", project_id, self._folder("project", project_id + SUFFIX)):
                yield document

    def sessions(self, ids: Collection[str] | None = None) -> Iterator[Document]:
        """Read session files."""
        self._require()
        for project_id, _ in self._folders(Inventory(), "session"):
            names = ids
            if names is None:
                names = [session_id for session_id, _ in self._files(Inventory(), "session", project_id)]
            for session_id in names:
                path = self._folder("session", project_id, session_id + SUFFIX)
                if document := self._read("session", session_id, path, project_id):
                    yield document

    def messages(self, ids: Mapping[str, str | None], source_id: int) -> list[MessageDocuments]:
        """Read message files with the part files of each, in the order of their ids."""
        return self._each(ids, lambda message_id, session_id: self._message(message_id, session_id, source_id))

    def usage(self, ids: Mapping[str, str | None], source_id: int) -> list[MessageDocuments]:
        """Read messages with the parts that may record usage. To know which, all files have to be read."""

        def read(message_id: str, session_id: str | None) -> MessageDocuments | None:
            """Read one of them, and let go of what was attached to it at once."""
            found = self._message(message_id, session_id, source_id)
            if found is None:
                return None
            kept = tuple(part for part in found.parts if USAGE_MARK in (part.body or b""))
            return replace(found, parts=kept, stamp=None)

        return self._each(ids, read)

    def _each(self, ids: Mapping[str, str | None], read: _Read) -> list[MessageDocuments]:
        """Read messages in their order; what is not there is left out."""
        self._require()
        return [documents for documents in _read_each(read, list(ids.items())) if documents]

    def _message(self, message_id: str, session_id: str | None, source_id: int) -> MessageDocuments | None:
        """Read one message with its parts; None if there is neither."""
        trouble = Inventory()
        message = None
        if session_id is None:
            session_id = self._find_session(message_id)
        if session_id:
            message = self._read_message(message_id, session_id)
        files = sorted(self._files(trouble, "part", message_id))
        if session_id and message is None and files and (found := self._find_session(message_id)):
            session_id, message = found, self._read_message(message_id, found)  # another storage has it elsewhere
        parts = [part for part_id, path in files if (part := self._read("part", part_id, path))]
        if not (message or parts or trouble.problems):
            return None
        every = [message, *parts] if message else parts
        # a file that could not be read may become readable without looking different
        is_known = not trouble.problems and all(document.stamp is not None for document in every)
        return MessageDocuments(
            message_id,
            session_id if message else None,
            source_id,
            self.generation,
            message,
            (*parts, *trouble.problems),
            stamp=stamps.combined(document.stamp or 0 for document in every) if is_known else None,
        )

    def _read_message(self, message_id: str, session_id: str) -> Document | None:
        """Read the file of a message."""
        return self._read("message", message_id, self._folder("message", session_id, message_id + SUFFIX))

    def _find_session(self, message_id: str) -> str | None:
        """Look in which session a message is; of two the smaller id counts."""
        sessions = sorted(name for name, _ in self._folders(Inventory(), "message"))
        paths = ((found, self._folder("message", found, message_id + SUFFIX)) for found in sessions)
        return next((found for found, path in paths if os.path.lexists(path)), None)

    def file_stamp(self) -> None:
        """Nothing tells at once whether anything in a tree changed."""

    def close(self) -> None:
        """Nothing is kept open."""

    def _require(self) -> None:
        """Refuse a tree that is not there, or of which only the root is left: that tells nothing of its documents."""
        try:
            names = os.listdir(self.path)
        except OSError as error:
            raise SourceUnusable(
                f"{self.path} cannot be listed ({error.strerror}). Check the path, its permissions and that its disk "
                f"is there. {NEXT}"
            ) from error
        if not {"session", "message"} & set(names):
            raise SourceUnusable(f"{self.path} holds no sessions and no messages any more. {NEXT}")

    def _list_messages(self, found: Inventory, session_id: str, with_stamps: bool) -> None:
        """List the message files of a session."""
        for entry in self._entries(found, "message", session_id):
            message_id = entry.name[: -len(SUFFIX)]
            other = found.messages.setdefault(message_id, session_id)
            if other != session_id:
                self._note_twin(found, message_id, entry.path, other)
                found.stamps["message"].pop(message_id, None)
            elif with_stamps:
                _add_stamp(found, "message", message_id, entry)

    def _stamped_files(self, found: Inventory, kind: str, with_stamps: bool, *folders: str) -> list[str]:
        """List the documents of a folder by id, with their stamps if asked for."""
        names = []
        for entry in self._entries(found, kind, *folders):
            names.append(entry.name[: -len(SUFFIX)])
            if with_stamps:
                _add_stamp(found, kind, names[-1], entry)
        return names

    def _add_part_stamps(self, found: Inventory, message_id: str) -> bool:
        """Add what the parts of a message look like; if any does not tell, the message has no stamp.

        Returns:
            Whether there is any part, or something that hides whether there is.
        """
        every: list[int | None] | None = _plain_stamps(self._folder("part", message_id))
        problems: list[Document] = []
        if every is None:
            trouble = Inventory()
            every = [_stamp(entry.stat, "") for entry in self._entries(trouble, "part", message_id)]
            problems = trouble.problems
        has_parts = bool(every or problems)
        if message_id in found.messages:
            every.append(found.stamps["message"].pop(message_id, None))
        known = [stamp for stamp in every if stamp is not None]
        if len(known) == len(every) and not problems:
            found.stamps["message"][message_id] = stamps.combined(known)
        return has_parts

    def _folder(self, *names: str) -> str:
        """Join names to a path inside the tree, as text: 190,000 Path objects would cost more than the reading."""
        return os.path.join(self._root, *names)

    def _folders(self, found: Inventory, kind: str) -> Iterator[tuple[str, str]]:
        """List the folders inside the folder of a kind of document as (name, path)."""
        for entry in self._scan(found, kind, self._folder(kind)):
            if _is(entry.is_dir):
                yield entry.name, entry.path
            elif entry.is_symlink() or "." not in entry.name:  # other files are the work of file managers and editors
                self._note(found, kind, entry.name, entry.path, "folder is none, or a symbolic link that leads nowhere")

    def _files(self, found: Inventory, kind: str, *folders: str) -> Iterator[tuple[str, str]]:
        """List the JSON files inside a folder as (name without suffix, path)."""
        for entry in self._entries(found, kind, *folders):
            yield entry.name[: -len(SUFFIX)], entry.path

    def _entries(self, found: Inventory, kind: str, *folders: str) -> Iterator[os.DirEntry[str]]:
        """List the JSON files inside a folder."""
        for entry in self._scan(found, kind, self._folder(kind, *folders)):
            if not entry.name.endswith(SUFFIX):
                continue
            if not _is(entry.is_file):  # a folder, a broken link, or a pipe, which would wait for ever
                self._note(found, kind, entry.name, entry.path, "is no file, or a symbolic link that leads nowhere")
            elif entry.name == SUFFIX:
                self._note(found, kind, entry.name, entry.path, "has no id: its name is empty")
            else:
                yield entry

    def _scan(self, found: Inventory, kind: str, path: str) -> list[os.DirEntry[str]]:
        """List a folder without the names that are no text; empty if it does not exist or cannot be listed."""
        try:
            with os.scandir(path) as scanned:
                entries = list(scanned)
        except FileNotFoundError:
            return []
        except NotADirectoryError as error:
            if os.path.lexists(path):  # else it is inside something that is no folder, which is told once
                self._note_unlisted(found, kind, path, error)
            return []
        except OSError as error:
            self._note_unlisted(found, kind, path, error)
            return []
        if all(entry.name.isascii() for entry in entries):
            return entries
        for entry in entries:
            if clean(entry.name) != entry.name:
                self._note(found, kind, entry.name, entry.path, "has a name that is not UTF-8 text")
        return [entry for entry in entries if clean(entry.name) == entry.name]

    def _note_unlisted(self, found: Inventory, kind: str, path: str, error: OSError) -> None:
        """Note a folder that cannot be listed: what is inside may still be there."""
        found.is_complete = False
        self._note(found, kind, os.path.basename(path), path, f"folder cannot be listed ({error.strerror})")

    def _note_twin(self, found: Inventory, message_id: str, path: str, other: str) -> None:
        """Note the second file of a message: the one of the smaller session id counts, in whatever order they come."""
        session_id = os.path.basename(os.path.dirname(path))
        counts, twin = sorted((session_id, other))
        found.messages[message_id] = counts
        twin_path = self._folder("message", twin, message_id + SUFFIX)
        self._note(found, "message", f"{twin}/{message_id}", twin_path, f"has the id of a message of {counts}")

    def _note(self, found: Inventory, kind: str, document_id: str, path: str, problem: str) -> None:
        """Note something that is there and gives no document."""
        key = clean(os.path.relpath(path, self.data_dir))
        found.problems.append(Document(kind, clean(document_id), key, None, problem))

    def _read(self, kind: str, document_id: str, path: str, project_id: str | None = None) -> Document | None:
        """Read one file; None if it is gone or no file, a document without a body if it cannot be read."""
        key = path[self._key_start :]
        try:
            file = os.open(path, _TO_READ)
            try:
                status = os.fstat(file)
                if not stat.S_ISREG(status.st_mode):
                    return None  # named by an event; a list tells what it is
                # before the content: a later write looks different
                stamp = _settled_stamp(status, _owner(kind, path))
                body = _content(file, status.st_size)
            finally:
                os.close(file)
        except FileNotFoundError:
            return None  # deleted since it was listed
        except OSError as error:
            return Document(kind, document_id, key, None, f"cannot be read ({error.strerror})", project_id)
        return Document(kind, document_id, key, body, "", project_id, stamp)


def _read_each(read: _Read, places: Sequence[tuple[str, str | None]]) -> list[MessageDocuments | None]:
    """Read messages in their order: one after another, and by several threads once that means to wait."""
    started, started_cpu = time.monotonic(), time.thread_time()
    found: list[MessageDocuments | None] = []
    for place in places:
        if len(found) >= FEW_MESSAGES:
            taken, used = time.monotonic() - started, time.thread_time() - started_cpu
            if taken - used > _WAITED_S and taken > _WAITS * used:
                break
        found.append(read(*place))
    if rest := places[len(found) :]:
        with ThreadPoolExecutor(READERS, "files") as pool:
            found += pool.map(read, *zip(*rest, strict=True))
    return found


def _content(file: int, size: int) -> bytes:
    """Read a file to its end, by one call if it has the size that it had."""
    body = os.read(file, size + 1)
    if len(body) == size:
        return body
    pieces = [body]
    while piece := os.read(file, 1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def _plain_stamps(path: str) -> list[int | None] | None:
    """Return what the files of a folder look like, where it holds nothing but settled JSON files; else None.

    Of 190,000 files this takes half as long as to ask what else each of them may be.
    """
    found: list[int | None] = []
    now_ms = time.time_ns() // 1_000_000
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if not (name.endswith(SUFFIX) and name != SUFFIX and name.isascii() and entry.is_file()):
                    return None
                status = entry.stat()
                if not stamps.is_settled(status.st_mtime_ns // 1_000_000, now_ms):
                    return None
                found.append(stamps.of_file(status))
    except OSError:
        return None
    return found


def _stamp(status_of: Callable[[], os.stat_result], owner: str) -> int | None:
    """Return what a file looks like; None if that does not tell whether it changes right now."""
    try:
        return _settled_stamp(status_of(), owner)
    except OSError:
        return None


def _settled_stamp(status: os.stat_result, owner: str) -> int | None:
    """Return what a file looks like; None if it may change again without looking different."""
    return stamps.of_file(status, owner) if stamps.is_settled(status.st_mtime_ns // 1_000_000) else None


def _owner(kind: str, path: str) -> str:
    """Return the folder of a document where it tells what the document belongs to, its id being the same elsewhere."""
    return os.path.basename(os.path.dirname(path)) if kind in ("session", "message") else ""


def _add_stamp(found: Inventory, kind: str, document_id: str, entry: os.DirEntry[str]) -> None:
    """Note what the file of a document looks like."""
    stamp = _stamp(entry.stat, _owner(kind, entry.path))
    if stamp is not None:
        found.stamps[kind][document_id] = stamp


def _is(test: Callable[[], bool]) -> bool:
    """Ask for the type of a folder entry; nothing can be said of a link that leads to itself."""
    try:
        return test()
    except OSError:
        return False


def _may_hold_documents(path: Path, depth: int) -> bool:
    """Tell whether there are JSON files so many levels down, or something that hides whether there are."""
    try:
        with os.scandir(path) as entries:
            if depth == 1:
                return any(entry.name.endswith(SUFFIX) for entry in entries)
            return any(_is(entry.is_dir) and _may_hold_documents(Path(entry.path), depth - 1) for entry in entries)
    except FileNotFoundError:
        return False
    except OSError:
        return True
