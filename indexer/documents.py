"""What the sources hand over: one kind of document for every storage generation."""

from dataclasses import dataclass
from enum import IntEnum


class Generation(IntEnum):
    """Storage generations of OpenCode, oldest first."""

    NONE = 0
    JSON_TREE = 1
    MESSAGE_ROWS = 2
    SESSION_MESSAGE_ROWS = 3


@dataclass(frozen=True, slots=True)
class Document:
    """One record of OpenCode's storage.

    Attributes:
        kind: project, session, message or part.
        document_id: Its id. Path and key column are authoritative, not the id inside the text.
        key: Where it is inside its source, for messages to the user.
        body: Its JSON text as stored, or None if it could not be read.
        problem: Why `body` is None.
        project_id: Of a session, where the path names it.
        stamp: See `stamps.py`. Of a part None: the stamp of its message covers it.
    """

    kind: str
    document_id: str
    key: str
    body: bytes | None
    problem: str = ""
    project_id: str | None = None
    stamp: int | None = None


@dataclass(frozen=True, slots=True)
class MessageDocuments:
    """A message with its parts, all from one source: generations are never mixed inside a message.

    Attributes:
        message: None for parts whose message does not exist.
        session_id: None where nothing names the session.
        parts: In document order.
        is_restamped: The rows were written by OpenCode's own migration from the JSON tree.
        row_type: Type of a `session_message` row.
        seq: Its order inside the session.
        stamp: What message and parts looked like right before they were read; see `stamps.py`.
    """

    message_id: str
    session_id: str | None
    source_id: int
    generation: Generation
    message: Document | None
    parts: tuple[Document, ...]
    is_restamped: bool = False
    row_type: str | None = None
    seq: int | None = None
    stamp: int | None = None
