"""Third generation: `session_message` rows in the same file (OpenCode 2.0, and the second API of 1.18).

The layout of 2.0 is known from its source only; the rows of 1.18's second API are in the real data and nearly the same.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from indexer.documents import Document, Generation, MessageDocuments
from indexer.sources import Inventory
from indexer.sources.sqlite_file import DAMAGE, Row, SqliteFile, name_of

NEEDED_COLUMNS = {"session_message": {"id", "session_id", "type", "seq", "time_created", "time_updated", "data"}}


class SqliteV2:
    """Reader of `session_message` with the sessions it belongs to.

    Sessions are in `session_v2` (2.0) and in `session`, which the reader of the second generation reads where the file
    holds that one, too.
    """

    kind = "sqlite_v2"
    generation = Generation.SESSION_MESSAGE_ROWS

    def __init__(self, data_dir: Path, path: Path) -> None:
        """Point at a database file; it is opened by the first call."""
        self.data_dir = data_dir
        self.path = path
        self._file = SqliteFile(path)
        self._session_tables: list[str] = []
        self._has_projects = False

    def inventory(self) -> Inventory:
        """List the ids of every table."""
        self._file.require(NEEDED_COLUMNS)
        tables = self._file.tables()
        is_alone = not {"message", "part"} <= tables  # else the reader of these has the table session
        names = ("session", "session_v2") if is_alone else ("session_v2",)
        self._session_tables = [name for name in names if name in tables]
        self._has_projects = "project" in tables
        found = Inventory()
        found.projects = self._file.ids(found, "project", "project") if self._has_projects else []
        for table in self._session_tables:
            found.sessions += self._file.ids(found, "session", table)
        rows = self._file.owned_ids(found, "message", "session_message", "session_id", "ORDER BY session_id, seq")
        found.messages = dict(rows)
        return found

    def projects(self) -> Iterable[Document]:
        """Read every project row."""
        return self._file.projects() if self._has_projects else []

    def sessions(self) -> Iterable[Document]:
        """Read every session row."""
        return [document for table in self._session_tables for document in self._file.sessions(table)]

    def messages(self, message_ids: Sequence[str], source_id: int) -> list[MessageDocuments]:
        """Read rows; the parts of an answer are inside its document."""
        marks = ", ".join("?" * len(message_ids))
        sql = f"SELECT id, session_id, type, seq, data FROM session_message WHERE id IN ({marks})"
        return [self._message(message_id, row, source_id) for message_id, row in self._file.each(sql, message_ids)]

    def close(self) -> None:
        """Close the database."""
        self._file.close()

    def _message(self, message_id: str, row: Row | None, source_id: int) -> MessageDocuments:
        """Take one row; None lies in a damaged place."""
        if row is None:
            lost = self._file.problem("message", "session_message", message_id, DAMAGE)
            return MessageDocuments(message_id, None, source_id, self.generation, lost, (), row_type="")
        return MessageDocuments(
            message_id=message_id,
            session_id=name_of(row["session_id"]),
            source_id=source_id,
            generation=self.generation,
            message=self._file.stored("message", "session_message", row),
            parts=(),
            row_type=name_of(row["type"]),
            seq=row["seq"] if isinstance(row["seq"], int) else 0,
        )
