"""First generation: `storage/{project,session,message,part}/`, one JSON file a row (OpenCode before 1.2)."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from indexer.documents import Document, Generation, MessageDocuments
from indexer.exceptions import SourceUnusable
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
        """Tell whether the folder holds a JSON tree. `storage/` alone does not: newer clients have one, too."""
        return any((data_dir / "storage").glob("session/*/*.json")) or any(
            (data_dir / "storage").glob("message/*/*.json")
        )

    def inventory(self) -> Inventory:
        """List the files by id. Only folders are read, no file is opened."""
        found = Inventory(projects=[name for name, _ in _json_files(self._folder("project"))])
        self._session_files = [
            (project_id, session_id, path)
            for project_id, folder in _folders(self._folder("session"))
            for session_id, path in _json_files(folder)
        ]
        found.sessions = [session_id for _, session_id, _ in self._session_files]
        for session_id, folder in _folders(self._folder("message")):
            for message_id, _ in _json_files(folder):
                found.messages[message_id] = session_id
        self._session_of = found.messages
        found.orphans = [name for name, _ in _folders(self._folder("part")) if name not in found.messages]
        return found

    def projects(self) -> Iterator[Document]:
        """Read every project file."""
        for project_id, path in _json_files(self._folder("project")):
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
        for message_id in message_ids:
            session_id = self._session_of.get(message_id)
            message = None
            if session_id is not None:
                message = self._read("message", message_id, self._folder("message", session_id, message_id + SUFFIX))
            files = sorted(_json_files(self._folder("part", message_id)))
            parts = [part for part_id, path in files if (part := self._read("part", part_id, path))]
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

    def _read(self, kind: str, document_id: str, path: str, project_id: str | None = None) -> Document | None:
        """Read one file; None if it is gone, a document without a body if it cannot be read."""
        key = os.path.relpath(path, self.data_dir)
        try:
            with open(path, "rb", buffering=0) as file:
                body = file.read()
        except FileNotFoundError:
            return None  # deleted since it was listed
        except OSError as error:
            problem = (
                f"cannot be read: {error.strerror}. Check the file's permissions; it is tried again at every start"
            )
            return Document(kind, document_id, key, None, problem, project_id)
        return Document(kind, document_id, key, body, "", project_id)


def _folders(path: str) -> list[tuple[str, str]]:
    """List the folders inside a folder as (name, path); none if it does not exist.

    Raises:
        SourceUnusable: The folder cannot be listed.
    """
    return [(entry.name, entry.path) for entry in _scan(path) if entry.is_dir()]


def _json_files(path: str) -> list[tuple[str, str]]:
    """List the JSON files inside a folder as (name without suffix, path); none if it does not exist."""
    return [(entry.name[: -len(SUFFIX)], entry.path) for entry in _scan(path) if entry.name.endswith(SUFFIX)]


def _scan(path: str) -> list[os.DirEntry[str]]:
    """List a folder; empty if it does not exist."""
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise SourceUnusable(f"Cannot list {path}: {error.strerror}. Check its permissions.") from error
