"""First generation: `storage/{project,session,message,part}/`, one JSON file a row (OpenCode before 1.2)."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from indexer.documents import Document, Generation, MessageDocuments
from indexer.exceptions import SourceUnusable
from indexer.json_values import clean
from indexer.sources import Inventory

SUFFIX = ".json"


class JsonTree:
    """Reader of one JSON tree. Path components are authoritative for ids; nothing but the four folders is read."""

    kind = "json_tree"
    generation = Generation.JSON_TREE

    def __init__(self, data_dir: Path) -> None:
        """Point at a data folder; nothing is opened yet."""
        self.data_dir = data_dir
        self.path = data_dir / "storage"
        self._session_files: list[tuple[str, str, str]] = []
        self._session_of: dict[str, str] = {}

    @staticmethod
    def exists(data_dir: Path) -> bool:
        """Tell whether the folder holds a JSON tree. `storage/` alone does not: newer clients have one, too.

        A tree that cannot be listed exists: its reader says what is wrong with it.
        """
        folders = [data_dir / "storage" / name for name in ("session", "message")]
        return any(_may_hold_documents(folder, depth=2) for folder in folders)

    def inventory(self) -> Inventory:
        """List the files by id. Only folders are read, no file is opened."""
        found = Inventory()
        try:
            os.scandir(self.path).close()
        except OSError as error:
            raise SourceUnusable(
                f"{self.path} cannot be listed ({error.strerror}). Check the path, its permissions and that its disk "
                "is there. Other sources are not affected, rows read before stay; it is read again at the next start."
            ) from error
        found.projects = [project_id for project_id, _ in self._files(found, "project")]
        self._session_files = [
            (project_id, session_id, path)
            for project_id, _ in self._folders(found, "session")
            for session_id, path in self._files(found, "session", project_id)
        ]
        found.sessions = [session_id for _, session_id, _ in self._session_files]
        for session_id, _ in self._folders(found, "message"):
            for message_id, path in self._files(found, "message", session_id):
                other = found.messages.setdefault(message_id, session_id)
                if other != session_id:
                    self._note_twin(found, message_id, path, other)
        self._session_of = found.messages
        found.orphans = [name for name, _ in self._folders(found, "part") if name not in found.messages]
        if not found.is_complete and not (found.sessions or found.messages):
            problem = found.problems[0]
            raise SourceUnusable(
                f"Nothing in {self.path} can be listed: {problem.key}: the {problem.kind} {problem.problem}. Other "
                "sources are not affected, rows read before stay; it is read again at the next start."
            )
        return found

    def projects(self) -> Iterator[Document]:
        """Read every project file."""
        for project_id, path in self._files(Inventory(), "project"):
            if document := self._read("project", project_id, path):
                yield document

    def sessions(self) -> Iterator[Document]:
        """Read every session file that the inventory found."""
        for project_id, session_id, path in self._session_files:
            if document := self._read("session", session_id, path, project_id):
                yield document

    def messages(self, message_ids: Sequence[str], source_id: int) -> list[MessageDocuments]:
        """Read message files with the part files of each, in the order of their ids."""
        found = []
        trouble = Inventory()
        for message_id in message_ids:
            session_id = self._session_of.get(message_id)
            message = None
            if session_id is not None:
                message = self._read("message", message_id, self._folder("message", session_id, message_id + SUFFIX))
            files = sorted(self._files(trouble, "part", message_id))
            parts = [part for part_id, path in files if (part := self._read("part", part_id, path))]
            if trouble.problems:
                parts += trouble.problems
                trouble = Inventory()
            if message or parts:
                found.append(
                    MessageDocuments(message_id, session_id, source_id, self.generation, message, tuple(parts))
                )
        return found

    def close(self) -> None:
        """Nothing is kept open."""

    def _folder(self, *names: str) -> str:
        """Join names to a path inside the tree, as text: 190,000 Path objects would cost more than the reading."""
        return os.path.join(self.path, *names)

    def _folders(self, found: Inventory, kind: str) -> Iterator[tuple[str, str]]:
        """List the folders inside the folder of a kind of document as (name, path)."""
        for entry in self._scan(found, kind, self._folder(kind)):
            if _is(entry.is_dir):
                yield entry.name, entry.path
            elif entry.is_symlink() or "." not in entry.name:  # other files are the work of file managers and editors
                self._note(found, kind, entry.name, entry.path, "folder is none, or a symbolic link that leads nowhere")

    def _files(self, found: Inventory, kind: str, *folders: str) -> Iterator[tuple[str, str]]:
        """List the JSON files inside a folder as (name without suffix, path)."""
        for entry in self._scan(found, kind, self._folder(kind, *folders)):
            if not entry.name.endswith(SUFFIX):
                continue
            if not _is(entry.is_file):  # a folder, a broken link, or a pipe, which would wait for ever
                self._note(found, kind, entry.name, entry.path, "is no file, or a symbolic link that leads nowhere")
            elif entry.name == SUFFIX:
                self._note(found, kind, entry.name, entry.path, "has no id: its name is empty")
            else:
                yield entry.name[: -len(SUFFIX)], entry.path

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
        """Read one file; None if it is gone, a document without a body if it cannot be read."""
        key = os.path.relpath(path, self.data_dir)
        try:
            with open(path, "rb", buffering=0) as file:
                body = file.read()
        except FileNotFoundError:
            return None  # deleted since it was listed
        except OSError as error:
            return Document(kind, document_id, key, None, f"cannot be read ({error.strerror})", project_id)
        return Document(kind, document_id, key, body, "", project_id)


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
