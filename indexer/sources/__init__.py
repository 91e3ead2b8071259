"""Polite readers of OpenCode's storage. Each yields the same documents, whatever the generation."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from indexer.documents import Document, Generation, MessageDocuments

# What becomes of a storage that cannot be read, for messages to the user.
NEXT = "Other sources are not affected, rows read before stay; it is tried again by itself, and at the next start."

# In every part that may record usage, as OpenCode writes it: one document in six, and those are short.
USAGE_MARK = b"step-finish"


@dataclass(slots=True)
class Inventory:
    """What a source holds, by id, without any content.

    Attributes:
        messages: Message id to session id. Messages that only have parts are in `orphans`.
        orphans: Message ids that parts name and no message document has.
        stamps: By kind (project, session, message, the last with orphans), id to stamp (see `indexer/stamps.py`), where
            they were asked for; what has none has to be read to know whether it changed.
        problems: What cannot be listed, as documents without a body.
        is_complete: Everything there is was listed; else what is missing here may still be there.
    """

    projects: list[str] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    messages: dict[str, str] = field(default_factory=dict)
    orphans: list[str] = field(default_factory=list)
    stamps: dict[str, dict[str, int]] = field(default_factory=lambda: {"project": {}, "session": {}, "message": {}})
    problems: list[Document] = field(default_factory=list)
    is_complete: bool = True


class Source(Protocol):
    """One storage of one data folder. Every method that reads raises SourceUnusable: what is wrong, and what to do."""

    kind: str
    generation: Generation
    data_dir: Path
    path: Path

    def inventory(self, *, with_stamps: bool = False) -> Inventory:
        """List what there is."""

    def messages_of(self, session_ids: Collection[str]) -> Inventory:
        """List the messages of some sessions with their stamps; what their parts belong to, too."""

    def renewed(self, session_id: str, doubtful: Collection[str]) -> dict[str, int | None] | None:
        """Tell which messages of a session may look different since `messages_of` listed it, or since this was asked.

        Args:
            session_id: Of the session.
            doubtful: Other messages to look at.

        Returns:
            Messages, with their stamps; None for what changed only just now. A doubtful one that is not there has none.
            None instead of all: only a list of everything tells.
        """

    def projects(self, ids: Collection[str] | None = None) -> Iterable[Document]:
        """Read project documents: those with these ids, or all."""

    def sessions(self, ids: Collection[str] | None = None) -> Iterable[Document]:
        """Read session documents: those with these ids, or all."""

    def messages(self, ids: Mapping[str, str | None], source_id: int) -> list[MessageDocuments]:
        """Read messages with their parts, orphaned parts too. What is not there is left out.

        What cannot be read is a document without a body; only what concerns the whole storage raises SourceUnusable.

        Args:
            ids: Message id to session id. None: not known; empty: there are only parts.
            source_id: Number of this source.
        """

    def file_stamp(self) -> str | None:
        """Return what changes with every write to the storage; None where nothing tells."""

    def close(self) -> None:
        """Let go of files and connections."""


class PlainSource(Source, Protocol):
    """A storage as it is, with nothing left out."""

    def usage(self, ids: Mapping[str, str | None], source_id: int) -> list[MessageDocuments]:
        """Read messages like `messages`, of their parts only those that may record usage, and without stamps."""
