"""Polite readers of OpenCode's storage. Each yields the same documents, whatever the generation."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from indexer.documents import Document, Generation, MessageDocuments


@dataclass(slots=True)
class Inventory:
    """What a source holds, by id, without any content.

    Attributes:
        messages: Message id to session id. Messages that only have parts are in `orphans`.
        orphans: Message ids that parts name and no message document has.
        problems: What cannot be listed, as documents without a body.
        is_complete: Everything there is was listed; else what is missing here may still be there.
    """

    projects: list[str] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    messages: dict[str, str] = field(default_factory=dict)
    orphans: list[str] = field(default_factory=list)
    problems: list[Document] = field(default_factory=list)
    is_complete: bool = True


class Source(Protocol):
    """One storage of one data folder."""

    kind: str
    generation: Generation
    data_dir: Path
    path: Path

    def inventory(self) -> Inventory:
        """List what there is.

        Raises:
            SourceUnusable: The storage cannot be read; the message says why and what to do.
        """

    def projects(self) -> Iterable[Document]:
        """Read every project document. Raises SourceUnusable like every method that reads."""

    def sessions(self) -> Iterable[Document]:
        """Read every session document."""

    def messages(self, message_ids: Sequence[str], source_id: int) -> list[MessageDocuments]:
        """Read messages with their parts, orphaned parts too. What is gone by now is left out.

        What cannot be read is a document without a body; only what concerns the whole storage raises SourceUnusable.
        """

    def close(self) -> None:
        """Let go of files and connections."""
