"""What the settings leave out: sessions of some projects and folders. Their documents never leave the readers.

A session is left out if any copy of it, in any storage, names a project that is, or lies in a folder that is.
"""

import os
import re
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePath

import duckdb

from indexer.documents import Document, Generation, MessageDocuments
from indexer.exceptions import SourceUnusable
from indexer.json_values import clean, text_of
from indexer.parsers import ParseFailure, load_document, parse_project, parse_session
from indexer.sources import Inventory, Source


@dataclass(frozen=True, slots=True)
class Rule:
    """What is left out, as the settings say it.

    Attributes:
        names: Ids and names of projects, with or without wildcards.
        folders: Paths with or without wildcards; what lies below one is left out, too.
    """

    names: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()

    @classmethod
    def of(cls, patterns: Iterable[str]) -> "Rule":
        """Tell paths from names: they have a slash in them, or are `~`."""
        every = tuple(patterns)
        folders = [pattern for pattern in every if "/" in pattern or pattern == "~"]
        return cls(
            names=tuple(pattern for pattern in every if pattern not in folders),
            folders=tuple(os.path.expanduser(pattern).rstrip("/") or "/" for pattern in folders),
        )

    def names_project(self, project_id: str, name: str | None, worktree: str | None) -> bool:
        """Tell whether a project is left out: by its id, its name, else the name of its folder, or its path."""
        words = (project_id, name or PurePath(worktree or "").name)
        return any(fnmatchcase(word, pattern) for word in words for pattern in self.names) or self.holds(worktree)

    def holds(self, folder: str | None) -> bool:
        """Tell whether a folder, or one above it, is left out."""
        if not folder or not self.folders:
            return False
        path = PurePath(folder)
        return any(fnmatchcase(str(each), pattern) for each in (path, *path.parents) for pattern in self.folders)


class Exclusion:
    """Which projects and sessions are left out, as far as documents were seen. Any thread may use it.

    What is left out once stays so as long as the process runs.

    Attributes:
        projects: Ids of projects that are left out.
        sessions: Ids of sessions that are left out.
        orphans: Messages without a document whose parts name such a session.
        rule: What the settings say.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        """Begin with no documents.

        Args:
            patterns: Of the settings. None of them: nothing is left out.
        """
        self.projects: set[str] = set()
        self.sessions: set[str] = set()
        self.orphans: set[str] = set()
        self.rule = Rule.of(patterns)
        self._known_projects: set[str] = set()
        self._projects_of: dict[str, set[str]] = {}
        self._new_projects: set[str] = set()
        self._new_sessions: set[str] = set()
        self._lock = threading.Lock()

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing is left out, whatever there is."""
        return self.rule == Rule()

    def knows_project(self, project_id: str) -> bool:
        """Tell whether a document of a project was seen."""
        return project_id in self._known_projects

    def knows_session(self, session_id: str) -> bool:
        """Tell whether a document of a session was seen."""
        return session_id in self._projects_of

    def note_project(self, project_id: str, name: str | None, worktree: str | None) -> None:
        """Note what a project says of itself."""
        with self._lock:
            self._known_projects.add(project_id)
            self._judge_project(project_id, name, worktree)

    def note_session(self, session_id: str, project_id: str | None, directory: str | None) -> None:
        """Note what a session says of itself; note its project before."""
        with self._lock:
            projects = self._projects_of.setdefault(session_id, set())
            if project_id is not None:
                projects.add(project_id)
                self._judge_project(project_id, None, None)
            if projects & self.projects or self.rule.holds(directory):
                self._leave_out([session_id])

    def take_news(self) -> tuple[set[str], set[str]]:
        """Return the projects and sessions that turned out to be left out since the last call."""
        with self._lock:
            news = self._new_projects, self._new_sessions
            self._new_projects, self._new_sessions = set(), set()
            return news

    def _judge_project(self, project_id: str, name: str | None, worktree: str | None) -> None:
        """Leave a project out, with all its sessions, if the rule says so."""
        if project_id in self.projects or not self.rule.names_project(project_id, name, worktree):
            return
        self.projects.add(project_id)
        self._new_projects.add(project_id)
        self._leave_out(session_id for session_id, projects in self._projects_of.items() if project_id in projects)

    def _leave_out(self, session_ids: Iterable[str]) -> None:
        """Leave sessions out."""
        new = set(session_ids) - self.sessions
        self.sessions |= new
        self._new_sessions |= new


def note_indexed(exclusion: Exclusion, con: duckdb.DuckDBPyConnection) -> None:
    """Note what an index holds: sessions that OpenCode deleted have no document any more."""
    for project in con.execute("SELECT project_id, name, worktree FROM projects").fetchall():
        exclusion.note_project(*project)
    sessions = con.execute("SELECT session_id, project_id, directory FROM sessions WHERE NOT is_placeholder")
    for session in sessions.fetchall():
        exclusion.note_session(*session)


def narrowed(sources: Sequence[Source], exclusion: Exclusion) -> list[Source]:
    """Return readers that hand nothing over that is left out.

    Args:
        sources: All storages: what one says of a session holds for its messages in the others.
        exclusion: Learns what their documents say.
    """
    if exclusion.is_empty:
        return list(sources)
    unlisted, ahead = list(sources), list[Source]()
    return [_NarrowedSource(source, sources, exclusion, unlisted, ahead) for source in sources]


class _NarrowedSource:
    """A source without what is left out."""

    def __init__(
        self,
        source: Source,
        every: Sequence[Source],
        exclusion: Exclusion,
        unlisted: list[Source],
        ahead: list[Source],
    ) -> None:
        """Stand in for a source.

        Args:
            source: The source.
            every: All sources, to look sessions and projects up in.
            exclusion: What is left out.
            unlisted: Those of all sources whose projects and sessions were not read yet; all of them share it.
            ahead: Those whose projects and sessions were just read for another one's list; alike.
        """
        self.kind: str = source.kind
        self.generation: Generation = source.generation
        self.data_dir = source.data_dir
        self.path = source.path
        self._source = source
        self._every = every
        self._exclusion = exclusion
        self._unlisted = unlisted
        self._ahead = ahead

    def inventory(self, *, with_stamps: bool = False) -> Inventory:
        """List what there is. Projects and sessions are read, to know what they say of themselves.

        Those of the other sources as well, once: a copy there may be what leaves a session out.
        """
        found = self._source.inventory(with_stamps=with_stamps)
        if self._source in self._ahead:
            self._ahead.remove(self._source)
        else:
            self._note_all(self._source)
        while self._unlisted:
            other = self._unlisted.pop()
            if other is not self._source:
                with suppress(SourceUnusable):  # whoever lists it says so
                    self._note_all(other)
                    self._ahead.append(other)
        found.projects = [each for each in found.projects if clean(each) not in self._exclusion.projects]
        found.sessions = [each for each in found.sessions if clean(each) not in self._exclusion.sessions]
        return self._without_messages(found)

    def messages_of(self, session_ids: Collection[str]) -> Inventory:
        """List the messages of some sessions."""
        asked = [session_id for session_id in session_ids if not self._is_out(session_id)]
        return self._without_messages(self._source.messages_of(asked))

    def renewed(self, session_id: str, doubtful: Collection[str]) -> dict[str, int | None] | None:
        """Tell which messages of a session may look different since it was listed, unless only a list tells."""
        return None if self._is_out(session_id) else self._source.renewed(session_id, doubtful)

    def projects(self, ids: Collection[str] | None = None) -> Iterator[Document]:
        """Read project documents."""
        for document in self._source.projects(ids):
            self._note_project(document)
            if clean(document.document_id) not in self._exclusion.projects:
                yield document

    def sessions(self, ids: Collection[str] | None = None) -> Iterator[Document]:
        """Read session documents."""
        for document in self._source.sessions(ids):
            self._note_session(document)
            if clean(document.document_id) not in self._exclusion.sessions:
                yield document

    def messages(self, ids: Mapping[str, str | None], source_id: int) -> list[MessageDocuments]:
        """Read messages with their parts."""
        asked = {key: session_id for key, session_id in ids.items() if not (session_id and self._is_out(session_id))}
        found = self._source.messages(asked, source_id) if asked else []
        return [documents for documents in found if not self._is_of_out(documents)]

    def file_stamp(self) -> str | None:
        """Return what changes with every write to the storage."""
        return self._source.file_stamp()

    def close(self) -> None:
        """Let go of files and connections."""
        self._source.close()

    def _without_messages(self, found: Inventory) -> Inventory:
        """Take messages of sessions that are left out from a list, and what names these or their messages."""
        out = {session_id for session_id in {*found.messages.values()} if session_id and self._is_out(session_id)}
        left_out = {key for key, session_id in found.messages.items() if session_id in out}
        left_out |= self._exclusion.projects | self._exclusion.sessions
        found.problems = [each for each in found.problems if left_out.isdisjoint(_words_of(each))]
        found.messages = {key: session_id for key, session_id in found.messages.items() if session_id not in out}
        found.orphans = [key for key in found.orphans if key not in self._exclusion.orphans]
        return found

    def _is_out(self, session_id: str) -> bool:
        """Tell whether a session is left out; one that was not seen yet is looked up in all storages."""
        known = clean(session_id)
        if not self._exclusion.knows_session(known):
            for source in self._every:
                with suppress(SourceUnusable):  # whoever lists it says so
                    for document in source.sessions([session_id]):
                        self._note_session(document)
        return known in self._exclusion.sessions

    def _is_of_out(self, documents: MessageDocuments) -> bool:
        """Tell whether a message, or parts without one, are of a session that is left out.

        Parts of which none can be read, and so of whose session nobody knows, may be: nothing is told of them, either.
        """
        if documents.message is not None:
            return documents.session_id is not None and self._is_out(documents.session_id)
        named = {documents.session_id, *map(_session_named_by, documents.parts)} - {None, ""}
        if not named:
            return True
        if not any(session_id and self._is_out(session_id) for session_id in named):
            return False
        self._exclusion.orphans.add(documents.message_id)
        return True

    def _note_all(self, source: Source) -> None:
        """Note what all projects and sessions of a source say of themselves."""
        for project in source.projects():
            self._note_project(project)
        for session in source.sessions():
            self._note_session(session)

    def _note_project(self, document: Document) -> None:
        """Note what a project says of itself."""
        row = parse_project(document, 0, self.generation).row
        if row is not None:
            self._exclusion.note_project(row.project_id, row.name, row.worktree)

    def _note_session(self, document: Document) -> None:
        """Note what a session says of itself, and the project that it names."""
        row = parse_session(document, 0, self.generation, is_missing_in_newer=False).row
        project_id = row.project_id if row is not None else document.project_id
        if row is None and project_id is None:
            return  # unreadable: it is looked at again
        if project_id is not None and not self._exclusion.knows_project(project_id):
            for source in self._every:
                with suppress(SourceUnusable):
                    for project in source.projects([project_id]):
                        self._note_project(project)
        directory = row.directory if row is not None else None
        self._exclusion.note_session(clean(document.document_id), project_id, directory)


def _words_of(problem: Document) -> Iterator[str]:
    """Return what may be an id in what is said of something that cannot be listed."""
    for word in re.split(r"[/:\s]+", f"{problem.key} {problem.problem}"):
        yield word.removesuffix(".json")


def _session_named_by(part: Document) -> str | None:
    """Return the session that a part names."""
    loaded = load_document(part)
    return None if isinstance(loaded, ParseFailure) else text_of(loaded, "sessionID")
