"""Second generation: `opencode.db` with message and part rows (OpenCode since 1.2)."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import orjson

from indexer.documents import Document, Generation, MessageDocuments
from indexer.sources import Inventory
from indexer.sources.sqlite_file import Row, SqliteFile, name_of

RESTAMP_GAP_MS = 60_000  # a live row is stamped within seconds of the times it records
NEEDED_COLUMNS = {
    "session": {"id", "project_id", "title", "version", "time_created", "time_updated"},
    "message": {"id", "session_id", "time_created", "time_updated", "data"},
    "part": {"id", "message_id", "session_id", "time_created", "time_updated", "data"},
    "project": {"id", "worktree"},
}


class SqliteV1:
    """Reader of the tables project, session, message and part. No other table is ever named."""

    kind = "sqlite_v1"
    generation = Generation.MESSAGE_ROWS

    def __init__(self, data_dir: Path, path: Path) -> None:
        """Point at a database file; it is opened by the first call."""
        self.data_dir = data_dir
        self.path = path
        self._file = SqliteFile(path)

    def inventory(self) -> Inventory:
        """List the ids of every table."""
        self._file.require(NEEDED_COLUMNS)
        rows = self._file.rows("SELECT id, session_id FROM message")
        orphans = "SELECT DISTINCT message_id AS id FROM part WHERE message_id NOT IN (SELECT id FROM message)"
        return Inventory(
            projects=self._file.ids("project"),
            sessions=self._file.ids("session"),
            messages={name_of(row["id"]): name_of(row["session_id"]) for row in rows},
            orphans=[name_of(row["id"]) for row in self._file.rows(orphans)],
        )

    def projects(self) -> Iterable[Document]:
        """Read every project row."""
        return self._file.projects()

    def sessions(self) -> Iterable[Document]:
        """Read every session row."""
        return self._file.sessions("session")

    def messages(self, message_ids: Sequence[str], source_id: int) -> list[MessageDocuments]:
        """Read message rows with their part rows, in the order they were written."""
        marks = ", ".join("?" * len(message_ids))
        rows = self._file.rows(
            "SELECT m.id, m.session_id, m.time_updated, m.data, s.version FROM message m "
            f"LEFT JOIN session s ON s.id = m.session_id WHERE m.id IN ({marks})",
            message_ids,
        )
        part_rows = self._file.rows(
            "SELECT id, message_id, session_id, time_created, data FROM part "
            f"WHERE message_id IN ({marks}) ORDER BY rowid",
            message_ids,
        )
        messages = {name_of(row["id"]): row for row in rows}
        parts: dict[str, list[Row]] = {}
        for row in part_rows:
            parts.setdefault(name_of(row["message_id"]), []).append(row)
        return [
            self._message(message_id, messages.get(message_id), parts.get(message_id, []), source_id)
            for message_id in message_ids
            if message_id in messages or message_id in parts
        ]

    def close(self) -> None:
        """Close the database."""
        self._file.close()

    def _message(self, message_id: str, row: Row | None, parts: Sequence[Row], source_id: int) -> MessageDocuments:
        """Put the rows of one message together."""
        owner = row or parts[0]
        is_restamped = row is not None and _is_restamped(row, parts)
        if is_restamped:  # the migration inserted parts in no order
            parts = sorted(parts, key=lambda part: name_of(part["id"]))
        return MessageDocuments(
            message_id=message_id,
            session_id=name_of(owner["session_id"]) if owner["session_id"] is not None else None,
            source_id=source_id,
            generation=self.generation,
            message=self._file.stored("message", "message", row) if row else None,
            parts=tuple(self._file.stored("part", "part", part) for part in parts),
            is_restamped=is_restamped,
        )


def _is_restamped(message: Row, parts: Sequence[Row]) -> bool:
    """Tell whether OpenCode's migration wrote this row from the JSON tree of a client before 1.2.

    The migration stamps the rows of messages and parts with the moment it ran; the documents keep their own times.
    """
    stamp, version = message["time_updated"], message["version"]
    if not isinstance(stamp, int) or not isinstance(version, bytes) or not _is_before_1_2(version):
        return False
    body = message["data"]
    try:
        times = orjson.loads(body)["time"] if isinstance(body, bytes) else {}
        recorded = times.get("completed") or times["created"]
        late_ms = stamp - recorded
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return False
    return bool(late_ms > RESTAMP_GAP_MS or (late_ms > 0 and any(part["time_created"] == stamp for part in parts)))


def _is_before_1_2(version: bytes) -> bool:
    """Compare a client version such as 1.1.65 with 1.2; an unreadable one is not before."""
    numbers = version.split(b".")[:2]
    return len(numbers) == 2 and all(number.isdigit() for number in numbers) and tuple(map(int, numbers)) < (1, 2)
